"""Cuts: where a film goes on with something else, and nothing of the frame before can be kept."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from nst_jax.errors import ImageError
from nst_jax.images import FloatArray, bounded
from nst_jax.motion import flow as motion
from nst_jax.motion.warp import warped

GLANCE = 80
"""Pixels of the longer side at which two frames are compared."""

UNLIKE = 0.68
"""Flow error above which a frame is not the one before, moved; 0 is equal, about 1 unrelated."""

OTHER_COLOURS = 0.23
"""Histogram distance, from 0 to 1, above which a frame shows other things."""

SLIGHT = 0.03
"""Mean difference of grey values below which no step is a cut, as in a slow fade that begins with black."""


def is_cut(
    before: ArrayLike,
    after: ArrayLike,
    flow: ArrayLike | None = None,
    *,
    unlike: float = UNLIKE,
    other_colours: float = OTHER_COLOURS,
) -> bool:
    """Return whether a film is cut between two frames: if both flow and colours say so.

    It is a cut where `flow_error` and `histogram_distance` are both above their thresholds: fast motion
    that flow fails on keeps its colours, and a flash or fade keeps its shapes, each free of exposure.

    With the thresholds as they are, no pan of up to 20 % of the width a frame is a cut (of 30 %, few are), no
    flash that scales values by 30 % or adds 0.3, and no fade of 25 frames or more to or from black or white.
    Each sample photograph or painting after any other is one, and 293 of 325 pairs of those and other
    photographs: what is missed has much the same colours. A step from black to a picture is a cut.

    A dissolve is none if it takes at least three steps, as each frame keeps enough of the one before: one
    picture is painted into the other. Of two steps it may be one or none.

    Args:
        before: (height, width, 3) or (height, width), in [0, 1].
        after: the same.
        flow: of ``after`` to ``before`` in pixels of theirs; None: it is estimated, see `flow_error`.
        unlike: the threshold of the flow error.
        other_colours: the threshold of the histogram distance.

    Raises:
        ImageError: pictures of different sizes, or a flow of yet another.
        ConfigError: no flow is given, and what estimates it is not installed.
    """
    frames = motion.pair(before, after)
    small = [bounded(each, GLANCE) for each in frames]
    if np.abs(motion.grey(small[0]) - motion.grey(small[1])).mean() < SLIGHT:
        return False
    return histogram_distance(*small) > other_colours and flow_error(before, after, flow) > unlike


def flow_error(before: ArrayLike, after: ArrayLike, flow: ArrayLike | None = None) -> float:
    """Return how little the details of a frame are those of the one before, warped: 1 - their correlation.

    Both are seen at `GLANCE` pixels, and details are what differs from the surroundings relative to the
    contrast there, see `flow.details`: exposure does not change them. The flow is smoothed first, as one
    free to go anywhere finds something alike in any picture. Pictures without any details are alike.

    Args:
        before: (height, width, 3) or (height, width), in [0, 1].
        after: the same.
        flow: of ``after`` to ``before``; None: it is estimated at `GLANCE` pixels.

    Raises:
        ImageError: pictures of different sizes, or a flow of yet another.
        ConfigError: no flow is given, and what estimates it is not installed.
    """
    frames = motion.pair(before, after)
    old, new = (bounded(motion.grey(each), GLANCE) for each in frames)
    if flow is None:
        small = motion.flow(old, new, longest=GLANCE)
    elif np.shape(flow)[:2] != frames[1].shape[:2]:
        raise ImageError(f"a flow of shape {np.shape(flow)} does not belong to a frame of {frames[1].shape}")
    else:
        small = motion.scaled(flow, new.shape)
    smooth = ndimage.gaussian_filter(small, (_STIFF, _STIFF, 0), mode="nearest")
    there, here = motion.details(warped(old, smooth)), motion.details(new)
    spread = float((there**2).mean()), float((here**2).mean())
    if max(spread) < _FLAT:
        return 0.0
    return float(1 - (there * here).mean() / np.sqrt(max(min(spread), _FLAT) * max(spread)))


_STIFF = 4.0
"""Standard deviation in pixels of what smooths the flow."""

_FLAT = 1e-4
"""Mean square of details that are none; those of pictures have about 0.03."""


def histogram_distance(before: ArrayLike, after: ArrayLike) -> float:
    """Return how much of the colours of one picture the other has not: half the L1 distance of histograms.

    Histograms have 8 bins a channel, smoothed by a Gaussian of one bin, of pictures that are brought to the
    same mean brightness.

    Args:
        before: (height, width, 3) or (height, width), in [0, 1].
        after: the same.
    """
    old, new = (_histogram(motion.checked(each)) for each in (before, after))
    return float(np.abs(old - new).sum() / 2)


_BINS, _MIDDLE = 8, 0.4
"""Bins a channel, and the mean brightness that pictures are brought to."""


def _histogram(picture: FloatArray) -> NDArray[np.float64]:
    colours = picture if picture.ndim == 3 else np.stack([picture] * 3, -1)
    exposed = np.clip(colours * (_MIDDLE / max(float(motion.grey(colours).mean()), 0.02)), 0, 1)
    counts, _ = np.histogramdd(exposed.reshape(-1, 3), bins=_BINS, range=[(0, 1)] * 3)
    return np.asarray(ndimage.gaussian_filter(counts / counts.sum(), 1.0, mode="reflect"))
