"""A worker: an actor of a Ray cluster, which solves what it is given and answers with files."""

import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nst_jax.errors import NstError
from nst_jax.runs import records
from nst_jax.runs.ray.packing import unpacked
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.runs.painting import Files
    from nst_jax.transfer.batch import Curve, GridProgress
    from nst_jax.transfer.looks import Result
    from nst_jax.transfer.plan import Job
    from nst_jax.transfer.problem import Problem


@dataclass(frozen=True)
class About:
    """What a worker says of itself."""

    host: str
    versions: dict[str, str]
    platform: str
    """JAX's word for its device."""


@dataclass(frozen=True)
class Room:
    """What a worker has room for."""

    at_once: int
    """Tasks."""
    sizes: dict[int, int]
    """Of the chunks of groups of problems; those that are not batched are not in it."""


Refused = str
"""Why something cannot be done, in a line: a mistake is told from a bug on the way to another process."""

Progress = dict[int, tuple[int, float]]
"""Evaluations and lowest loss of tasks, by the first number of each."""


class Worker:
    """An actor; each of its methods is called in a thread of its own.

    Args:
        environment: variables of the process, set before JAX is imported.
        cores: that it may use.
    """

    def __init__(self, environment: Mapping[str, str], cores: int) -> None:
        os.environ.update(environment)
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # nodes may have other work

        from nst_jax.transfer import machine

        machine.keep_programs()
        self.cores, self.lock = cores, threading.RLock()
        self.network: tuple[str, Json] = "", None
        self.programs: dict[object, Json] = {}
        self.spent: Progress = {}

    def about(self) -> About:
        """Say what this worker is."""
        import jax

        return About(socket.gethostname(), records.versions(), jax.local_devices()[0].platform)

    def room(self, packed: bytes, refs: Mapping[str, Json]) -> Room | Refused:
        """Say what there is room for.

        Args:
            packed: the mode of a `plan.How`, so many tasks at most; of groups of problems the first and how
                many there are; which groups' chunks are asked for, and how large they may be.
            refs: what is shared.
        """
        from nst_jax.transfer import memory, plan
        from nst_jax.transfer.problem import posed_here

        (mode, most), groups, asked, largest = self._unpacked(packed, refs)
        cores = min(self.cores, most or self.cores)
        sizes: dict[int, int] = {}
        try:
            with self.lock:
                found = {number: posed_here(problem) for number, (problem, _) in groups.items()}
                for number in asked:
                    problem, count = found[number], groups[number][1]
                    if plan.is_batched(problem.program, mode):
                        shapes, devices = memory.shapes_of(problem), _device()
                        sizes[number] = plan.batch_size(problem, shapes, count, devices, largest)
                most_pixels = max(found, key=lambda number: found[number].size[0] * found[number].size[1])
                fitted = self._fitted(found[most_pixels], mode)
                every = found | {most_pixels: fitted} | {-number: fitted for number in range(1, cores)}
                return Room(plan.workers(every, plan.How(mode, cores)), sizes)
        except NstError as error:
            return str(error)

    def solve(self, packed: bytes, refs: Mapping[str, Json]) -> "dict[int, Files] | Refused":
        """Return the files of problems, by number.

        Args:
            packed: the mode of a `plan.How`, the size of the chunk, its problems, and encoders for those of
                them that are wanted.
            refs: what is shared.
        """
        from nst_jax.transfer import batch, plan

        mode, size, problems, encoders = self._unpacked(packed, refs)
        found: dict[int, Files] = {}
        first = min(problems)

        def done(number: int, result: "Result", curve: "Curve") -> None:
            found[number] = encoders[number](result, curve)

        def watch(progress: "GridProgress") -> None:
            self.spent[first] = progress.evaluations, progress.best_loss

        try:
            job = self._job(problems, size, mode)
            batch.run(
                dict(zip(job.indexes, job.batch.problems, strict=True)),
                done=done,
                finished=problems.keys() - encoders.keys(),
                how=plan.How(mode),
                watch=watch,
                remember=self.remember,
                planned=[job],
            )
        except NstError as error:
            return str(error)
        finally:
            self.spent.pop(first, None)
        return found

    def progress(self) -> Progress:
        """Say how far all tasks are."""
        return dict(self.spent)

    def _job(self, problems: "Mapping[int, Problem]", size: int, mode: Json) -> "Job":
        """Return problems as the batch that they would be in a run on this machine alone."""
        from nst_jax.transfer import memory, plan
        from nst_jax.transfer.problem import posed_here
        from nst_jax.transfer.stretch import Batch

        here = [posed_here(problem) for problem in problems.values()]
        if not plan.is_batched(here[0].program, mode):
            here = [self._fitted(problem, mode) for problem in here]
        return plan.Job(tuple(problems), Batch(tuple(here), size, _device(), memory.shapes_of(here[0])))

    def _fitted(self, problem: "Problem", mode: Json) -> "Problem":
        """Return a problem that fits in memory, by what was found for the first of its program.

        Later ones must not be changed because others take memory by then.
        """
        from nst_jax.transfer import alike, plan

        key = alike.group_of(problem), alike.program_of(problem)
        with self.lock:
            if key not in self.programs:
                self.programs[key] = plan.fitted({0: problem}, (), mode)[0].program
            return replace(problem, program=self.programs[key])

    def _unpacked(self, packed: bytes, refs: Mapping[str, Json]) -> Json:
        import ray

        from nst_jax.pretrained.network import Network
        from nst_jax.transfer.batch import REMEMBERED
        from nst_jax.transfer.remembering import remembering

        def shared(name: str) -> Json:
            if self.network[0] == name:  # one object: programs and targets are told apart by it
                return self.network[1]
            found = ray.get(refs[name])
            if isinstance(found, Network):
                self.network, self.programs, self.remember = (name, found), {}, remembering(REMEMBERED)
            return found

        with self.lock:
            return unpacked(packed, shared)


def _device() -> Json:
    import jax

    return tuple(jax.local_devices()[:1])
