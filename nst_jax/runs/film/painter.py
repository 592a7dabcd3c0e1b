"""The frames of a film painted one after another, by one compiled program."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from nst_jax.films import opened as films
from nst_jax.films.film import Film
from nst_jax.images import FloatArray
from nst_jax.runs import frames, inputs, records
from nst_jax.settings import LONGEST, Settings
from nst_jax.transfer.pictures import Frames, Pictures, coloured, each_style, sized

if TYPE_CHECKING:
    from nst_jax.pretrained.network import Network
    from nst_jax.transfer.looks import Result
    from nst_jax.transfer.problem import Problem

Past = tuple[FloatArray, FloatArray]
"""An earlier frame as it was painted, moved to where things are now, and how far it can be trusted."""


class Painter:
    """Paints frames; what all of them have in common is computed once."""

    def __init__(self, settings: Settings, network: "Network") -> None:
        from nst_jax.transfer.series import Series

        self.network, self.series = network, Series()
        self.settings = replace(settings, size=settings.size or LONGEST)
        read = [inputs.read_picture(name, settings.max_pixels) for name in inputs.styles_of(settings)]
        self.styles = tuple(inputs.with_alpha(picture) for picture, _ in read)
        self.colours: tuple[ArrayLike, ...] = ()
        """Of the styles, where they are not their own."""
        self.digests = [digest for _, digest in read]
        self.later = frames.later(self.settings)

    def stamp(self, film: Film) -> str:
        """Return what finished frames must have been made by to be gone on with."""
        record = records.record(self.settings, self.network.record(), {})
        of_film = [film.width, film.height, str(film.rate), *films.marks(film)]
        inputs_ = {"styles": self.digests, "film": of_film}
        return records.stamp(record | {"inputs": inputs_}, without=("output.", "film.codec", "film.quality"))

    def painted(
        self, content: FloatArray, past: Sequence[Past] = (), init: FloatArray | None = None
    ) -> "Result":
        """Return a frame painted.

        Args:
            content: the frame.
            past: what it is held to, the nearest first.
            init: what it begins with; None: the nearest of ``past``, or without any it is painted as a
                picture is, at several sizes.
        """
        if init is None and not past:
            return self.series.begun(self.posed(content, past, self.settings))
        return self.series.gone_on(
            self.posed(content, past, self.later, past[0][0] if init is None else init)
        )

    def posed(
        self, content: FloatArray, past: Sequence[Past], settings: Settings, init: FloatArray | None = None
    ) -> "Problem":
        """Return the problem of a frame, see `painted`; settings are those of a whole picture, or `later`."""
        from nst_jax.transfer.problem import posed

        # As many as there may be, so that all frames have one program.
        nowhere = (content, np.zeros(content.shape[:2], np.float32))
        every = [*past, *[nowhere] * (len(settings.film.back) - len(past))]
        images, trust = (np.stack(each) for each in zip(*every, strict=True))
        before = Frames(images, trust[:, :, :, None], settings.film.consistency)
        pictures = Pictures(content, self.styles, init=init, past=before)
        pictures = coloured(sized(pictures, settings), settings)
        if self.colours:
            pictures = replace(pictures, style=self.colours)
        return posed(pictures, settings, self.network)

    def fix_colours(self, content: FloatArray) -> None:
        """Let the styles have colours that go with one frame, if they follow the content's, for all of them.

        Otherwise brightness and palette would waver from frame to frame.
        """
        if self.settings.colour != "style":
            found = coloured(sized(Pictures(content, self.styles), self.settings), self.settings)
            self.colours = each_style(found)
