"""The record of a run, which its picture carries: the settings and all else that made it what it is."""

import contextlib
import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from nst_jax import images
from nst_jax.errors import ConfigError
from nst_jax.losses.conventions import CONVENTIONS
from nst_jax.settings import INIT_SOURCES, Settings, as_dict
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.transfer.looks import Result

Record = dict[str, Json]
"""What JSON holds of a run."""


class Metric(TypedDict):
    """How a run stood at some evaluation: a line of its metrics."""

    evaluations: int
    loss: float
    level: NotRequired[int]
    terms: dict[str, float]
    seconds: float


KEYWORD = "nst_jax"
"""Where a PNG's text holds the record of its run."""

_PACKAGES = ("nst_jax", "jax", "jaxlib", "flax", "optax", "jaxopt", "numpy", "scipy", "pillow")


def record(settings: Settings, network: Record, inputs: Mapping[str, str]) -> Record:
    """Return what a picture says of its run; ``inputs`` are the digests of its images."""
    import jax

    return {
        "config": as_dict(settings),
        "encoder": network,
        "inputs": dict(inputs),
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
    }


_WORK_ONLY = (
    "sweep.folder",
    "sweep.max_cells",
    "sweep.max_parallel",
    "sweep.lanes",
    "weights",
    "max_pixels",
    "images",
    "output.film",
)
"""Settings that say how the work is done, not what comes of it. Of the network, the digest is kept."""


def decides(key: str) -> bool:
    """Tell whether a setting, by its dotted name, decides what the pictures are."""
    words = key.startswith("sweep.axes.") and key.endswith((".title", ".labels"))
    return key not in _WORK_ONLY and not words


def flat(settings: object, before: str = "") -> Record:
    """Return nested settings by their dotted names."""
    if isinstance(settings, list) and settings and all(isinstance(inner, dict) for inner in settings):
        settings = {str(i): inner for i, inner in enumerate(settings)}
    if not isinstance(settings, dict):
        return {before.rstrip("."): settings}
    return {k: v for key, inner in settings.items() for k, v in flat(inner, f"{before}{key}.").items()}


def stamp(record: Record, *, without: tuple[str, ...] = ()) -> str:
    """Return what a saved state must have been made by, to be gone on with.

    Args:
        record: of the run.
        without: settings whose names begin so are of no matter.
    """
    every = flat(plain(record["config"]))
    settings = {key: every[key] for key in every if decides(key) and not key.startswith(without)}
    rest = [record["encoder"]["digest"], record["inputs"], record["versions"], record["device"]]
    return hashlib.sha256(json.dumps([settings, rest], sort_keys=True).encode()).hexdigest()


def by_kind(terms: Mapping[str, float]) -> dict[str, float]:
    """Return the sums of a loss's terms over layers: ``content``, ``style``, ``total_variation``, ..."""
    sums = {"content": 0.0, "style": 0.0, "total_variation": 0.0}
    for name, value in terms.items():
        kind = name.split("/")[0]
        sums[kind] = sums.get(kind, 0.0) + value
    return sums


def ended(result: "Result") -> Record:
    """Return what a record says of a `loop.Result`."""
    return {name: getattr(result, name) for name in ("status", "loss", "initial_loss", "evaluations")}


def lines(path: Path) -> list[Record]:
    """Return the lines of a file of metrics; what was killed may have left half a one."""
    found = []
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found


def versions() -> dict[str, str]:
    """Return the versions of Python, of the packages that decide what a picture is, and of convolutions."""
    from nst_jax.native import library

    native = "native, by matrix units" if library.takes_halves() else "native"
    convolutions = {"convolutions": native if library.is_there() else "XLA's"}
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES} | convolutions


def replayed(path: str | Path) -> tuple[Record, Record]:
    """Return the settings and the whole record of the run that made a picture.

    Raises:
        ConfigError: the picture carries no record.
    """
    picture = Path(path)
    try:
        record = read_record(picture)
        settings = record["config"]
        if record["encoder"]["name"] in ("compact", "dictionary"):  # it had no VGG-19 then; do without it now
            settings["weights"] = record["encoder"]["name"]
        _as_it_was(settings)
        for section in ("content", "style"):
            for name in ("image", "map", "keep", "strength_map", "regions"):  # most runs lack some
                if settings[section].get(name) is not None:
                    settings[section][name] = _found(settings[section][name], picture.parent)
        if settings["style"]["image"] is None and settings["content"]["image"] is None:
            raise KeyError("image")
        if isinstance(settings["init"], str) and settings["init"] not in INIT_SOURCES:
            settings["init"] = _found(settings["init"], picture.parent)
    except (ValueError, KeyError, TypeError):
        where = "in it" if carries(picture) else f"in {picture.stem}.json beside it"
        raise ConfigError(
            f"{picture}: there is no record of a run {where}; only pictures of this program have one"
        ) from None
    return settings, record


def carries(picture: Path) -> bool:
    """Tell whether a picture holds its record itself; others have it in a JSON file beside them."""
    return picture.suffix.lower() == ".png"


def read_record(picture: Path) -> Json:
    """Return the record that a picture carries or has beside it; ValueError if it has none."""
    if carries(picture):
        return json.loads(images.read_text(picture).get(KEYWORD, ""))
    beside = picture.with_suffix(".json")
    return json.loads(beside.read_text(encoding="utf-8") if os.path.isfile(beside) else "")


def differences(record: Record, earlier: Mapping[str, Json]) -> list[str]:
    """Return what a record has otherwise than an earlier one, so that the pictures may differ."""
    found = [
        f"{name} is {record['versions'].get(name)}, was {then}"
        for name, then in earlier.get("versions", {}).items()
        if record["versions"].get(name) != then
    ]
    found += [
        f"the {name} image has other pixels"
        for name, then in earlier.get("inputs", {}).items()
        if name in record["inputs"] and record["inputs"][name] != then
    ]
    if canvas := earlier.get("canvas"):
        found.append(f"it was painted on a canvas of {canvas[1]} x {canvas[0]}, with pictures of other sizes")
    then: Record = earlier.get("encoder") or record["encoder"]
    if then["digest"] != record["encoder"]["digest"]:
        found.append(f"the network's weights are {record['encoder']['source']}, were {then['source']}")
    return found


def _as_it_was(settings: Record) -> None:
    """Write out the defaults of a record from before bands, falling layers, or sizes from coarse to fine."""
    style = settings["style"]
    content, loss, pyramid = (settings.setdefault(name, {}) for name in ("content", "loss", "pyramid"))
    convention = loss.get("convention", "gatys2016")
    is_single, is_smooth = "terms" not in style, convention in ("gatys2016", "literal")
    if "variables" not in pyramid:
        pyramid["variables"] = "pixels"
        if loss.get("total_variation") is None and is_smooth:
            weight = style.get("weight")
            weight = CONVENTIONS[convention].style_weight if weight is None else weight
            loss["total_variation"] = 0.0 if is_single else 2e-5 * weight
    if is_single and pyramid.get("levels") is None and style.get("kind", "gram") != "patch":
        pyramid["levels"] = 1
    if "strength" not in style:
        if content.get("weight") is None and convention == "gatys2016":
            content["weight"] = 1.0 if is_single else 1.5
        if style.get("layers") is None and style.get("kind") not in ("patch", "strotss", "nnst"):
            style["layers"] = [f"conv{block}_1" for block in range(1, 6)]


def _found(name: str | list[str], beside: Path) -> str | list[str]:
    if isinstance(name, list):  # of several styles
        return [str(_found(each, beside)) for each in name]
    near = beside / name
    is_near = not name.startswith("sample:") and not os.path.exists(name) and os.path.exists(near)
    return str(near) if is_near else name


def to_json(record: Record) -> bytes:
    """Return a record as JSON text."""
    return (json.dumps(plain(record), indent=2) + "\n").encode()


def plain(value: Json) -> Json:
    """Return a record with null for numbers that are not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(
    path: Path,
    rgb: NDArray[np.float32],
    *,
    alpha: NDArray[np.float32] | None,
    settings: Settings,
    record: Record,
) -> None:
    """Write a picture that carries a record, as settings want it.

    Raises:
        NstError: as `images.write`.
    """
    images.write(path, rgb, alpha=alpha, **_wanted(settings, record))


def encode(
    name: str,
    rgb: NDArray[np.float32],
    *,
    alpha: NDArray[np.float32] | None,
    settings: Settings,
    record: Record,
) -> bytes:
    """Return the bytes that `write` would write to a file of that name."""
    return images.encode(name, rgb, alpha=alpha, **_wanted(settings, record))


def _wanted(settings: Settings, record: Record) -> dict[str, Json]:
    text = {KEYWORD: json.dumps(plain(record))}
    return {"bits": settings.output.bits, "quality": settings.output.quality, "text": text}
