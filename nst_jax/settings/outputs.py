"""The settings of what is written: of one picture, and of a grid of them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from nst_jax.settings.checks import (
    WEIGHT,
    Choice,
    Number,
    axes,
    choice,
    frames_per_second,
    steps_back,
    text,
    whole,
)
from nst_jax.settings.section import Section, setting
from nst_jax.typing import Json

Mode = Literal["auto", "vmap", "threads"]


@dataclass(frozen=True)
class Output(Section):
    """What is written. Beside out.png, the folder out.run holds config, metrics and loss plot too."""

    SHORT: ClassVar[str] = "image"
    image: str = setting("out.png", text, "the picture to write: .png, .jpg, .webp or .tif", flag="output")
    bits: int = setting(8, Choice((8, 16)), "per channel; 16 for .png and .tif")
    quality: int = setting(95, whole(1, 100), "of .jpg and .webp")
    save_every: int = setting(
        0,
        whole(0),
        "also keep a picture every so many evaluations, and a strip of them; 0: none",
        flag="save-every",
    )
    film: Literal["steps"] | None = setting(
        None,
        Choice(("steps",)),
        "steps: also a film of how the picture came about, named after it: out.mp4; needs ffmpeg; null: none",
        flag="film",
    )


@dataclass(frozen=True)
class Film(Section):
    """A film, for nst-jax video."""

    consistency: float = setting(
        0.03,
        WEIGHT,
        "weight of what keeps each frame like the one before, moved along (Ruder et al.)",
        flag="consistency",
    )
    later: float = setting(
        0.25,
        Number(above=0, most=1),
        "how many times as many evaluations frames have that follow another; these begin with that, moved "
        "along, at the last size",
    )
    flow: str = setting(
        "tvl1",
        text,
        "how motion is known: tvl1 (scikit-image) or dis (OpenCV, faster) find it; or a folder of .flo files",
        flag="flow",
    )
    back: tuple[int, ...] = setting(
        (1,),
        steps_back,
        "how many frames back lie those that each is held to: [1], the one before, or [1, 2, 4]: what was "
        "hidden for a while comes back as it was painted (Ruder et al., long-term)",
    )
    passes: int = setting(
        1,
        whole(1, 50),
        "how often the film is gone through, in alternating directions (Ruder et al.)",
        flag="passes",
    )
    every: int = setting(
        1,
        whole(1, 1000),
        "paint every so many frames only, and move those to where things are in between",
        flag="every",
    )
    codec: str | None = setting(
        None,
        Choice(("h264", "h265", "vp9", "av1", "prores", "ffv1")),
        "h264 plays everywhere; vp9 is for .webm, prores for .mov; ffv1 loses nothing; null: vp9 of .webm, "
        "otherwise h264",
        flag="codec",
    )
    quality: int | None = setting(
        None,
        whole(1, 100),
        "of all codecs but ffv1, and of .webp, which loses nothing at 100; null: good, which is 75 of codecs",
        flag="quality",
    )
    rate: float | str | None = setting(
        None,
        frames_per_second,
        "frames per second, such as 12 or 30000/1001: fewer are painted of a film, which lasts as long; "
        "null: the film's own, 24 of a folder of frames",
        flag="rate",
    )


@dataclass(frozen=True)
class Sweep(Section):
    """A grid of settings, for nst-jax sweep."""

    axes: tuple[dict[str, Json], ...] = setting(
        (),
        axes,
        "[{style.weight: [1e2, 1e3]}, {seed: {linspace: [0, 3, 4]}}]: settings with values, also "
        "{logspace: [1e-4, 1e-1, 4]}; axes are crossed, settings within one are zipped; title and labels "
        "name them",
    )
    folder: str = setting("sweep", text, "the folder for pictures, sheet.png and index.html", flag="output")
    max_cells: int = setting(400, whole(1), "larger grids are refused")
    max_parallel: int | None = setting(
        None, whole(1), "cells at once; null: what fits in memory", flag="max-parallel"
    )
    lanes: Mode = setting(
        "auto",
        choice(Mode),
        "cells at once as one batch (vmap) or one by one on each thread; auto: threads on a CPU; line "
        "searches are never batched",
    )
