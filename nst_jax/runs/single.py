"""A run from a config: image files in, a picture and its record out.

Beside ``out.png`` a run leaves the folder ``out.run``: the picture, the resolved config, metrics as JSON
lines, the loss curve and intermediate pictures, alone and as a strip; beside both, if it is asked for, the
film ``out.mp4``. While it works they are in ``out.run.partial``; an earlier result is replaced, file by file,
only once the new one is whole.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nst_jax import config as configs
from nst_jax import images
from nst_jax.errors import ConfigError, NstError, OutputError, printable
from nst_jax.images import FloatArray
from nst_jax.runs import inputs, records, run_folder, steps
from nst_jax.runs.records import to_json
from nst_jax.runs.report import loss_curve
from nst_jax.runs.steering import Change, Steering, recorded
from nst_jax.settings import Settings
from nst_jax.transfer import hosts
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.transfer.problem import Problem
    from nst_jax.transfer.stylize import Progress

STEP = 256
"""Longer side of an intermediate picture in the strip of them, in pixels."""

MOST_STEPS = 24
"""So many are in the strip."""

_REMEMBERED = 8
"""Of a run that is steered: the network and what content and style are compared by, as they were lately."""


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
    goes_on: bool = False
    """Whether the same run again would go on where this one was interrupted."""


def run(
    settings: Settings,
    *,
    callback: Callable[["Progress"], object] = lambda progress: None,
    say: inputs.Say = print,
    earlier: Mapping[str, Json] | None = None,
    download: inputs.Download | None = None,
    reads: Iterable[Path] = (),
    steering: Steering | None = None,
) -> Outcome:
    """Read the images that settings name, stylise, and write the picture with its record.

    A run that was killed or interrupted is gone on with, if what it makes has not changed since.

    Args:
        settings: the settings.
        callback: called between chunks with a `stylize.Progress`; the run ends if it returns True.
        say: told what the user should know.
        earlier: the record of the run that this one repeats; what is not as it was then is said.
        download: called while weights are downloaded.
        reads: files that were read to get the settings: like the pictures, they are never written.
        steering: what else it is steered by while it goes on, besides what the earlier record says.

    Raises:
        NstError: inputs that cannot be used, or a place that cannot be written.
    """
    _refuse_sweep(settings)
    script = recorded(earlier or {})
    with ExitStack() as around:
        around.enter_context(hosts.reached())
        with hosts.together():
            if script:
                _refuse_changes()
            workshop = around.enter_context(_claimed(settings, reads, say))
            work = _ready(settings, say, download)
            record = _record(settings, work)
        with hosts.together():
            check_alike(record)
        for difference in records.differences(record, earlier or {}):
            say(f"note: this may not repeat the picture exactly: {difference}")
        return _painted(work, settings, record, script, workshop, callback, say, steering)


def assist(
    settings: Settings,
    *,
    callback: Callable[["Progress"], object] = lambda progress: None,
    download: inputs.Download | None = None,
) -> str:
    """Do this host's part of what `run` does on the first of several; return how it ended.

    Args:
        settings: the same as there.
        callback: called between chunks; all end if it returns True. It may not ask for the picture.
        download: called while weights are downloaded.

    Raises:
        NstError: inputs that cannot be used, or are not those of the first host; what ended that.
    """
    with hosts.together():
        work = _ready(settings, lambda line: None, download)
        record = _record(settings, work)
    with hosts.together():
        check_alike(record)

    from nst_jax.transfer.checkpoints import Checkpoint
    from nst_jax.transfer.loop import solve
    from nst_jax.transfer.stretch import Batch
    from nst_jax.transfer.stylize import progress_of

    with hosts.reached():
        checkpoint = Checkpoint(None, {}, work.problem.passes)
        if checkpoint.notes:
            _refuse_changes()
        batch = Batch((work.problem,))
        result = solve(batch, lambda look: callback(progress_of(look)), checkpoint=checkpoint)[0]
    hosts.part()
    return result.status


def check_alike(record: records.Record) -> None:
    """Refuse what is not the same on all hosts, given each one's record.

    Raises:
        ConfigError: the first difference.
    """
    settings = records.flat(records.plain(record["config"]))
    own = {
        key: each for key, each in settings.items() if records.decides(key) and not key.startswith("output.")
    }
    own |= {f"the {name} image": digest for name, digest in record["inputs"].items()}
    own |= {"the network": record["encoder"]["digest"], "the device": record["device"]}
    every = [json.loads(each) for each in hosts.every(json.dumps(own | record["versions"], sort_keys=True))]
    for number, other in enumerate(every):
        for key in sorted({*every[0], *other}):
            if (there := other.get(key)) != (first := every[0].get(key)):
                values = f"{there} there and {first} on the first host"
                raise ConfigError(f"--hosts: host {number} was given something else: {key} is {values}")


def _refuse_changes() -> None:
    """Refuse a run that was steered, of which only the first host knows."""
    if hosts.count() > 1:
        raise ConfigError(
            "--hosts: a run that was steered goes on, or is repeated, on one host: leave it out"
        )


def _claimed(
    settings: Settings, reads: Iterable[Path], say: inputs.Say
) -> AbstractContextManager[run_folder.Workshop]:
    """Check where the picture goes, and return the workshop of its run, see `run_folder.claimed`."""
    output = Path(settings.output.image)
    images.check_suffix(output, bits=settings.output.bits)
    film = steps.film_of(output) if settings.output.film else None
    if film:
        steps.check(film)
    needed = 64 * settings.longest**2 * settings.output.bits // 8  # picture, copies and steps: generous
    read = [*reads, *inputs.files_of(settings)]
    run_folder.check(output, reads=read, nbytes=min(needed, 2**28), film=film)
    return run_folder.claimed(output, say)


def _record(settings: Settings, work: "_Work") -> records.Record:
    own = replace(settings, output=replace(settings.output, film=None))  # it is none of the picture's
    return records.record(own, work.problem.network.record(), work.digests)


def _painted(
    work: "_Work",
    settings: Settings,
    record: records.Record,
    script: Sequence[Change],
    workshop: run_folder.Workshop,
    callback: Callable[["Progress"], object],
    say: inputs.Say,
    steering: Steering | None,
) -> Outcome:
    """Solve the problem and write what comes of it."""
    from nst_jax.transfer.checkpoints import Checkpoint
    from nst_jax.transfer.looks import Look
    from nst_jax.transfer.loop import solve
    from nst_jax.transfer.remembering import always, remembering
    from nst_jax.transfer.stretch import Batch
    from nst_jax.transfer.stylize import progress_of

    output, every = workshop.output, settings.output.save_every
    write = partial(records.write, alpha=work.alpha, settings=settings)
    # Of SciPy's own state nothing is known, nor of pictures that are gone back to.
    is_kept = settings.solver.kind != "lbfgsb" and all(each.picture is None for each in script)
    made_by = {
        "stamp": records.stamp(record, without=("output.",)),
        "script": [each.plain() for each in script],
    }
    passes, is_steered = work.problem.passes, bool(steering or script)
    checkpoint = Checkpoint(workshop.state if is_kept else None, made_by, passes, trouble=partial(_note, say))
    steering = steering or Steering(say=say)
    if checkpoint.notes:
        _refuse_changes()
    problem = steering.begin(
        work.problem, settings, script, checkpoint, pose=work.pose, record=record, write=write
    )
    curve: list[records.Metric] = []
    film = steps.film_of(output)
    frames = steps.Steps(workshop, every) if settings.output.film else None

    def watch(look: Look) -> object:
        if not curve:  # not before: a run that is refused leaves all as it was
            curve.extend(workshop.begin(checkpoint.evaluations))
        progress = progress_of(look)
        curve.append(_line(progress))
        workshop.line(curve[-1])
        if every and progress.evaluations % every == 0:
            name = f"step_{progress.evaluations:06d}{output.suffix}"
            workshop.draw(name, partial(write, rgb=progress.picture(), record=steering.so_far()))
        if frames:
            frames.take(look)
        return callback(progress) is True or steering.turn(look)

    try:
        result = solve(
            Batch((problem,)),
            watch,
            stops=frames.stop if frames else every,
            is_due=steering.is_due if is_steered else None,
            checkpoint=checkpoint,
            remember=remembering(_REMEMBERED) if is_steered else always,
        )[0]
        hosts.part()
    finally:
        steering.end()
    goes_on = result.status == "interrupted" and checkpoint.is_there and not steering.is_stopped
    ended = records.ended(result)
    record = steering.so_far() | {"result": ended}
    picture = partial(write, rgb=result.image, record=record)
    title = printable(f"{output.name}: {result.sentence}")
    try:
        workshop.draw(f"picture{output.suffix}", picture)
        if pictures := workshop.steps():
            strip = _strip(pictures, title, settings.max_pixels)
            workshop.keep("steps.png", images.encode("steps.png", strip))
        workshop.keep("config.yaml", configs.to_yaml(settings).encode())
        workshop.keep("loss.svg", loss_curve(curve, title=title).encode())
        timed = record | {"result": ended | {"seconds": round(result.seconds, 3)}}
        if frames or run_folder.has_film(output, film):
            timed |= {"film": film.name}  # the next run may replace it
        workshop.keep("result.json", to_json(timed | {"files": [*workshop.files(), "result.json"]}))
    finally:
        workshop.finish(picture, to_json(record), goes_on=goes_on)
    if not goes_on:
        checkpoint.forget()
    if frames:
        _joined(frames, film, result.image, output, say)
    if not goes_on:
        workshop.forget_frames()
    seconds, losses = result.seconds, (result.loss, result.initial_loss)
    return Outcome(output, workshop.folder, result.status, result.sentence, *losses, seconds, goes_on)


def _joined(frames: steps.Steps, film: Path, picture: FloatArray, output: Path, say: inputs.Say) -> None:
    """Make the film of a run, whose picture is there already."""
    try:
        count = frames.joined(film, picture)
    except NstError as error:
        raise OutputError(f"{error}; the picture is in {output}") from None
    say(f"{film}: how it came about, {count / steps.RATE:.1f} s")


def _note(say: inputs.Say, error: NstError) -> None:
    say(f"note: {error}; should the run be killed, it begins anew")


def plan(settings: Settings, *, say: inputs.Say = print, download: inputs.Download | None = None) -> str:
    """Return in words what a run would take of memory at its last size; it is compiled, but not run.

    Where memory is short, smaller sizes may take more, for they are as fast as it allows: that is said.

    Raises:
        NstError: inputs that cannot be used, or too little memory.
    """
    with hosts.together():
        problem = _ready(settings, say, download).problem

    from nst_jax.transfer import memory, pyramid

    with hosts.reached():
        fitted, found = memory.fit(problem)
        lines = [memory.table(fitted, found)]
        if fitted.program != problem.program:
            before = [memory.fit(level)[1] for level in pyramid.levels(problem)[: problem.levels - 1]]
            most = max((each.held + each.total for each in before), default=0)
            if most > found.held + found.total:
                lines.append(f"before     {memory.gib(most):>10}  at most, at smaller sizes")
    hosts.part()
    return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class _Work:
    """What settings name, read, and the problem that it poses."""

    problem: "Problem"
    pose: Callable[[Settings], "Problem"]
    """Returns the problem that other settings pose, of the same pictures."""
    alpha: FloatArray | None
    digests: dict[str, str]


def _ready(settings: Settings, say: inputs.Say, download: inputs.Download | None) -> _Work:
    _refuse_sweep(settings)
    reader = inputs.Reader()
    found = reader.read(settings)
    images.check_sides(settings.output.image, found.size)
    network = inputs.network(settings, download, say=say, notes=found.notes)

    from nst_jax.transfer.problem import posed  # late: it imports JAX, and mistakes should not wait

    def pose(settings: Settings) -> "Problem":
        reader.forget()
        return posed(reader.read(settings).pictures, inputs.as_posed(settings), network)

    problem = posed(found.pictures, inputs.as_posed(settings), network)
    network = network.down_to(problem.deepest)  # what is not looked at need not take memory
    return _Work(replace(problem, network=network), pose, found.alpha, found.digests)


def _refuse_sweep(settings: Settings) -> None:
    if settings.sweep.axes:
        raise ConfigError("sweep.axes: this config is of a sweep; use nst-jax sweep --config FILE")


def _strip(steps: dict[int, Path], title: str, max_pixels: int) -> FloatArray:
    """Return intermediate pictures side by side: all, or at equal intervals, the last among them."""
    every = -(-len(steps) // MOST_STEPS)
    shown = list(steps)[::-1][::every][::-1]
    axes = [("evaluations", [str(number) for number in shown])]
    cells: dict[tuple[int, ...], FloatArray] = {}
    for i, number in enumerate(shown):
        cells[i,] = images.bounded(images.read(steps[number], max_pixels=max_pixels).rgb, STEP)
    return images.contact_sheet(cells, axes, title=title, cell=STEP)


def _line(progress: "Progress") -> records.Metric:
    line: records.Metric = {
        "evaluations": progress.evaluations,
        "loss": progress.loss,
        "terms": progress.terms,
        "seconds": round(progress.seconds, 3),
    }
    return {**line, "level": progress.level} if progress.levels > 1 else line
