"""A run from a config: image files in, a picture and its record out.

Beside ``out.png`` a run leaves the folder ``out.run``: the picture, the resolved config, metrics as JSON
lines, the loss curve and intermediate pictures. While it works they are in ``out.run.partial``; an earlier
result is replaced, file by file, only once the new one is whole.
"""

import hashlib
import json
import math
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nst_jax import config as configs
from nst_jax import images, samples
from nst_jax.config import INIT_SOURCES, Config
from nst_jax.errors import ConfigError, OutputError
from nst_jax.files import write_atomically
from nst_jax.images import Picture
from nst_jax.report import loss_curve

KEYWORD = "nst_jax"
"""Where a PNG's text holds the record of its run."""

_PACKAGES = ("nst_jax", "jax", "jaxlib", "flax", "optax", "jaxopt", "numpy", "pillow")


@dataclass(frozen=True)
class Outcome:
    """How a run ended and what it wrote."""

    output: Path
    folder: Path
    status: str
    sentence: str
    loss: float
    initial_loss: float
    seconds: float


@dataclass(frozen=True)
class _Inputs:
    content: Picture
    style: Picture
    init: Any
    digests: dict[str, str]


def run(
    config: Config,
    *,
    callback: Callable[[Any], object] | None = None,
    say: Callable[[str], None] = print,
    earlier: dict[str, Any] | None = None,
    download: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Read the images of a config, stylise, and write the picture with its record.

    Args:
        config: the settings.
        callback: called between chunks with a `transfer.Progress`; the run ends if it returns True.
        say: told what the user should know.
        earlier: the record of the run that this one repeats; what is not as it was then is said.
        download: called while weights are downloaded.

    Raises:
        NstError: inputs that cannot be used, or a place that cannot be written.
    """
    output = Path(config.output.image)
    _check_output(output, config)
    inputs = _read_inputs(config)
    folder = output.with_name(f"{output.stem}.run")

    # Late: it imports JAX, and mistakes should not wait for that.
    from nst_jax.transfer import Progress, stylize

    encoder = _encoder(config, download)
    if encoder.note:
        say(encoder.note)
    record = _record(config, encoder.record(), inputs.digests)
    for difference in differences(record, earlier or {}):
        say(f"note: this may not repeat the picture exactly: {difference}")
    picture = partial(_write_picture, alpha=inputs.content.alpha, config=config)
    curve: list[dict[str, Any]] = []

    with _unfinished(folder) as (workshop, metrics):

        def watch(progress: Progress) -> object:
            curve.append(_line(progress))
            _write_line(metrics, curve[-1])
            every = config.output.save_every
            if every and progress.evaluations % every == 0:
                name = f"step_{progress.evaluations:06d}{output.suffix}"
                picture(workshop / name, progress.picture(), record=record)
            return callback(progress) if callback else None

        result = stylize(
            inputs.content.rgb,
            inputs.style.rgb,
            encoder=encoder,
            init=inputs.init,
            callback=watch,
            **_options(config),
        )
        ended = {name: getattr(result, name) for name in ("status", "loss", "initial_loss", "evaluations")}
        record |= {"result": ended}
        data = picture(workshop / f"picture{output.suffix}", result.image, record=record)
        title = f"{output.name}: {result.sentence}"
        write_atomically(workshop / "config.yaml", configs.to_yaml(config).encode())
        write_atomically(workshop / "loss.svg", loss_curve(curve, title=title).encode())
        timed = record | {"result": ended | {"seconds": round(result.seconds, 3)}}
        write_atomically(workshop / "result.json", _json(timed))
    _settle(workshop, folder)
    if not _carries(output):
        write_atomically(output.with_suffix(".json"), _json(record))
    write_atomically(output, data)
    return Outcome(
        output, folder, result.status, result.sentence, result.loss, result.initial_loss, result.seconds
    )


def _encoder(config: Config, download: Callable[[int, int], None] | None) -> Any:
    from nst_jax.encoder import load_encoder
    from nst_jax.objective import CONVENTIONS

    network = config.network
    expected = CONVENTIONS[config.loss.convention].normalised
    return load_encoder(
        config.weights,
        normalised=expected if network.normalised is None else network.normalised,
        pool=network.pool,
        padding=network.padding,
        progress=download,
    )


def _options(config: Config) -> dict[str, Any]:
    """Return the settings as the options of `transfer.stylize`."""
    return {
        "seed": config.seed,
        "evaluations": config.solver.evaluations,
        "convention": config.loss.convention,
        "content_weight": config.content.weight,
        "style_weight": config.style.weight,
        "total_variation": config.loss.total_variation,
        "content_layers": config.content.layers,
        "style_layers": config.style.layers,
        "style_scale": config.style.scale,
        "style_fit": config.style.fit,
        "pool": config.network.pool,
        "padding": config.network.padding,
        "method": config.solver.kind,
        "linesearch": config.solver.linesearch,
        "history": config.solver.history,
        "learning_rate": config.solver.learning_rate,
        "stops": config.output.save_every,
    }


def replayed(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings and the whole record of the run that made a picture.

    Raises:
        ConfigError: the picture carries no record.
    """
    picture = Path(path)
    try:
        record = _read_record(picture)
        settings, encoder = record["config"], record["encoder"]["name"]
    except (ValueError, KeyError, TypeError):
        where = "in it" if _carries(picture) else f"in {picture.stem}.json beside it"
        raise ConfigError(
            f"{picture}: there is no record of a run {where}; only pictures of this program have one"
        ) from None
    if encoder == "dictionary":  # it had no VGG-19 then; to repeat the run, do without it now
        settings["weights"] = "dictionary"
    for section in ("content", "style"):
        settings[section]["image"] = _found(settings[section]["image"], picture.parent)
    if isinstance(settings["init"], str) and settings["init"] not in INIT_SOURCES:
        settings["init"] = _found(settings["init"], picture.parent)
    return settings, record


def _carries(picture: Path) -> bool:
    """Tell whether a picture holds its record itself; others have it in a JSON file beside them."""
    return picture.suffix.lower() == ".png"


def _read_record(picture: Path) -> Any:
    if _carries(picture):
        return json.loads(images.read_text(picture).get(KEYWORD, ""))
    beside = picture.with_suffix(".json")
    return json.loads(beside.read_text(encoding="utf-8") if beside.is_file() else "")


def differences(record: dict[str, Any], earlier: dict[str, Any]) -> list[str]:
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
    then = earlier.get("encoder", record["encoder"])
    if then["digest"] != record["encoder"]["digest"]:
        found.append(f"the network's weights are {record['encoder']['source']}, were {then['source']}")
    return found


def _found(name: str, beside: Path) -> str:
    near = beside / name
    return str(near) if not name.startswith("sample:") and not Path(name).exists() and near.exists() else name


# Reading


def _read_inputs(config: Config) -> _Inputs:
    for section, flag in ((config.content, "content"), (config.style, "style")):
        if section.image is None:
            raise ConfigError(f"{flag}.image: no {flag} image given: use --{flag} FILE, or sample:NAME")
    content = _load(str(config.content.image), config.max_pixels)
    style = _load(str(config.style.image), config.max_pixels)
    digests = {"content": _digest(content), "style": _digest(style)}
    height, width, _ = content.rgb.shape
    size = images.fit(height, width, config.size)
    init: Any = config.init
    if isinstance(init, str) and init not in INIT_SOURCES:
        picture = _load(init, config.max_pixels)
        init, digests["init"] = picture.rgb, _digest(picture)
    alpha = None if content.alpha is None else images.resize(content.alpha, size)
    return _Inputs(Picture(images.resize(content.rgb, size), alpha), style, init, digests)


def _load(name: str, max_pixels: int) -> Picture:
    if name.startswith("sample:"):
        return Picture(samples.load(name.removeprefix("sample:")))
    return images.read(name, max_pixels=max_pixels)


def _digest(picture: Picture) -> str:
    return hashlib.sha256(np.ascontiguousarray(picture.rgb).tobytes()).hexdigest()


# Writing


def _check_output(output: Path, config: Config) -> None:
    """Refuse, before any work, what could not be written or would cost the user a file."""
    images.check_suffix(output, bits=config.output.bits)
    parent = output.parent
    if not parent.is_dir():
        raise OutputError(f"{output}: the folder {parent} does not exist")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{output}: the folder {parent} is not writable")
    if output.is_dir():
        raise OutputError(f"{output}: is a folder; give the name of a picture")
    for name in (config.content.image, config.style.image, config.init):
        if (
            isinstance(name, str)
            and output.exists()
            and Path(name).exists()
            and os.path.samefile(name, output)
        ):
            raise OutputError(
                f"{output}: is an input of this run and would be overwritten; give another --output"
            )
    folder = output.with_name(f"{output.stem}.run")
    if folder.exists() and not (folder / "result.json").is_file() and not _is_empty(folder):
        raise OutputError(f"{folder}: is not the folder of an earlier run; move it or give another --output")
    if not _carries(output) and output.with_suffix(".json").exists():
        try:
            known = "encoder" in _read_record(output)
        except (OSError, ValueError, TypeError):
            known = False
        if not known:  # it would be overwritten with this run's record
            raise OutputError(
                f"{output.with_suffix('.json')}: is not of an earlier run; give another --output"
            )
    needed = 64 * config.size**2 * config.output.bits // 8  # picture, copies and steps: rough, and generous
    free = shutil.disk_usage(parent).free
    if free < min(needed, 2**28):
        raise OutputError(
            f"{output}: no space left: {free / 2**20:.0f} MiB free, {needed / 2**20:.0f} MiB wanted"
        )


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


@contextmanager
def _unfinished(folder: Path) -> Iterator[tuple[Path, IO[str]]]:
    """Give a fresh folder to work in, and the open file of metrics there."""
    workshop = folder.with_name(f"{folder.name}.partial")
    try:
        workshop.mkdir(exist_ok=True)
        for left in workshop.iterdir():  # of a run that was killed
            left.unlink()
        metrics = (workshop / "metrics.jsonl").open("w", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{workshop}: cannot be written: {error.strerror}") from None
    try:
        with metrics:
            yield workshop, metrics
    finally:
        unused = workshop / "metrics.jsonl"
        if unused.exists() and not unused.stat().st_size:  # it ended before it began: leave no trace
            shutil.rmtree(workshop)


def _line(progress: Any) -> dict[str, Any]:
    seconds = round(progress.seconds, 3)
    return {
        "evaluations": progress.evaluations,
        "loss": progress.loss,
        "terms": progress.terms,
        "seconds": seconds,
    }


def _json(record: dict[str, Any]) -> bytes:
    return (json.dumps(_plain(record), indent=2) + "\n").encode()


def _plain(value: Any) -> Any:
    """Return a record with null for numbers that are not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_line(file: IO[str], line: dict[str, Any]) -> None:
    try:
        file.write(json.dumps(_plain(line)) + "\n")
        file.flush()
    except OSError as error:
        raise OutputError(f"{file.name}: cannot be written: {error.strerror}") from None


def _write_picture(
    path: Path,
    rgb: NDArray[np.float32],
    *,
    alpha: NDArray[np.float32] | None,
    config: Config,
    record: dict[str, Any],
) -> bytes:
    data = images.encode(
        path.name,
        rgb,
        alpha=alpha,
        bits=config.output.bits,
        quality=config.output.quality,
        text={KEYWORD: json.dumps(_plain(record))},
    )
    write_atomically(path, data)
    return data


def _settle(workshop: Path, folder: Path) -> None:
    """Move the files of a whole run to their place; steps of an earlier, longer run go."""
    try:
        folder.mkdir(exist_ok=True)
        new = {file.name for file in workshop.iterdir()}
        for name in new:
            os.replace(workshop / name, folder / name)
        for stale in (*folder.glob("step_*.*"), *folder.glob("picture.*")):
            if stale.name not in new:
                stale.unlink()
        workshop.rmdir()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None


def _record(config: Config, encoder: dict[str, Any], inputs: dict[str, str]) -> dict[str, Any]:
    import jax

    return {
        "config": config.model_dump(mode="json"),
        "encoder": encoder,
        "inputs": inputs,
        "versions": _versions(),
        "device": jax.devices()[0].device_kind,
    }


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
