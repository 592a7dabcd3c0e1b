"""What a film is, wherever its frames come from.

Frames are uint8 RGB, shape ``(height, width, 3)``, upright, at a constant rate. One is in memory at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Say = Callable[[str], object]
Kind = Literal["film", "animation", "folder"]


def silently(line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Film:
    """What is in a film.

    Attributes:
        path: of the file, or of the folder of frames.
        width: in pixels, as it is shown: upright.
        height: likewise.
        rate: frames per second.
        seconds: its length; None if that is not known.
        has_sound: whether there is any.
        bits: per channel.
        is_hdr: whether its colours are those of PQ or HLG.
        is_variable: whether the rate changes; frames are then repeated or left out to keep it.
        is_resampled: whether its rate is another than its own.
        aspect: of a pixel, width by height.
        says_colours: whether it says how its colours are meant.
        kind: film, through ffmpeg; animation, through Pillow; or folder, of pictures.
        loops: how often an animation is shown; 0: without end.
        repeats: how many frames each picture of an animation is shown for.
        files: of a folder, in their order.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    seconds: float | None
    has_sound: bool = False
    bits: int = 8
    is_hdr: bool = False
    is_variable: bool = False
    is_resampled: bool = False
    aspect: Fraction = Fraction(1)
    says_colours: bool = True
    kind: Kind = "film"
    loops: int = 0
    repeats: tuple[int, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def frames(self) -> int | None:
        """How many frames there are: about, of films through ffmpeg, and None if that is not known."""
        if self.kind != "film":
            return len(self.files) or sum(self.repeats)
        return None if self.seconds is None else max(1, round(self.seconds * self.rate))
