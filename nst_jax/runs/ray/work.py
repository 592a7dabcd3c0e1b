"""What is to be painted on a Ray cluster: who is at what, and what becomes of it if a worker dies."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nst_jax.errors import ConfigError, NstError
from nst_jax.runs.painting import Encode, Files
from nst_jax.runs.ray.crew import Crew, Hand
from nst_jax.runs.ray.packing import Packer
from nst_jax.runs.ray.worker import About, Room
from nst_jax.runs.schedule import Schedule, Task
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.transfer.batch import GridProgress
    from nst_jax.transfer.plan import How
    from nst_jax.transfer.problem import Problem

LOOK, COUNT = 0.5, 2.0
"""Seconds between two looks at how far the work is, and at which nodes there are."""

GATHERING, WAITING = 10.0, 20.0
"""Seconds that the first worker waits for the others, before the work is divided among those who are there;
and after which the user is told that there is none."""

LIVES = 3
"""A task at which so many workers have died is not tried again."""

REVIVAL = 120.0
"""Seconds within which a worker that has died must answer again."""


@dataclass(frozen=True)
class _Asked:
    """What a worker was asked for."""

    what: str
    task: Task | None = None
    groups: tuple[int, ...] = ()
    """Whose chunks' sizes."""
    numbers: tuple[int, ...] = ()
    """Of problems that it is about."""


@dataclass(eq=False)
class Work:
    """A call of a `painting.Paint`."""

    crew: Crew
    problems: "Mapping[int, Problem]"
    encoders: Mapping[int, Encode]
    store: Callable[[int, Files], None]
    how: "How"
    watch: "Callable[[GridProgress], object]"
    say: Callable[[str], None]

    packer: Packer = field(default_factory=Packer)
    refs: dict[str, Json] = field(default_factory=dict)
    """Of what is shared, by name."""
    groups: dict[int, list[int]] = field(default_factory=dict)
    """Numbers of problems of one program, by the first of them."""
    budgets: dict[int, int] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)

    pending: dict[Json, tuple[Hand, _Asked]] = field(default_factory=dict)
    """What was asked of whom, by what will be the answer."""
    slots: dict[Hand, int] = field(default_factory=dict)
    """How many tasks a worker has room for."""
    unsized: list[int] = field(default_factory=list)
    """Groups whose chunks' size nobody was asked for yet."""
    sizes: dict[int, int] = field(default_factory=dict)
    schedule: Schedule | None = None
    """None until all sizes are known."""
    deaths: dict[tuple[int, ...], int] = field(default_factory=dict)
    """Of workers, at problems."""
    silent: dict[Hand, float] = field(default_factory=dict)
    """Since when workers do not answer."""
    spent: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Evaluations and lowest loss of tasks that are under way, by the first number."""
    best_loss: float = float("inf")

    begun: float = field(default_factory=time.perf_counter)
    counted: float = float("-inf")
    polled: float = float("-inf")
    gathered: float = float("inf")
    """When the first worker was there."""
    is_said: bool = False

    def run(self, finished: Collection[int]) -> bool:
        """Paint what is not finished; return whether all is done."""
        from nst_jax.transfer import plan, pyramid

        self.done = set(finished) & self.problems.keys()
        self.budgets = {number: pyramid.budget(problem) for number, problem in self.problems.items()}
        self.groups = {each[0]: each for each in plan.groups(self.problems) if set(each) - self.done}
        self.unsized = list(self.groups)
        if not self.groups:
            return True
        try:
            self._work()
        except BaseException:  # what others are at is of no use
            self.crew.dismiss()
            raise
        return len(self.done) == len(self.problems)

    def _work(self) -> None:
        self._pack()
        self._known_sizes()
        while not (self.schedule and self.schedule.is_done):
            self._count()
            while sum(map(self._give, self.crew.hands)):  # one each at a time
                pass
            self._listen(LOOK)
            if self._tell():
                self._listen(0.0)
                self.crew.dismiss()
                break

    # Before the work.

    def _pack(self) -> None:
        """Find what the problems share, and refuse what does not fit in Ray's store."""
        from nst_jax.transfer.memory import gib

        for number in self.problems.keys() - self.done:
            self.packer.pack((self.problems[number], self.encoders[number]))
        if self.packer.nbytes > self.crew.store():
            what = (
                f"the inputs take {gib(self.packer.nbytes)}, and Ray's object store {gib(self.crew.store())}"
            )
            raise ConfigError(
                f"{what}: paint fewer at a time, or start Ray with a larger one (--object-store-memory)"
            )

    def _known_sizes(self) -> None:
        """Take the sizes of chunks from earlier work that is gone on with."""
        from nst_jax.transfer import plan

        for group, numbers in self.groups.items():
            if size := plan.planned(self.how, plan.planned_as(numbers, 1, self.how)):
                self._size(group, size)

    def _size(self, group: int, size: int) -> None:
        """Take note of the size of a group's chunks; once all are known there are tasks."""
        self.sizes[group] = size
        self.unsized = [each for each in self.unsized if each != group]
        if self.sizes.keys() == self.groups.keys():
            self.schedule = Schedule(self._tasks())

    def _tasks(self) -> list[Task]:
        from nst_jax.transfer.plan import cost

        found = []
        for group, numbers in self.groups.items():
            size = self.sizes[group]
            for first in range(0, len(numbers), size):
                chunk = tuple(numbers[first : first + size])
                if set(chunk) - self.done:
                    found.append(Task(chunk, group, sum(cost(self.problems[number]) for number in chunk)))
        return found

    # Who does what.

    def _count(self) -> None:
        """See which workers there are."""
        now = time.perf_counter()
        if now - self.counted > COUNT:
            self.crew.recruit()
            self.counted = now
            for hand in self.slots.keys() - set(self.crew.hands):  # its node is gone
                self._bury(hand)
        if not self.is_said and self.gathered == float("inf") and now - self.begun > WAITING:
            self.is_said = True
            device = "GPU" if self.crew.has_gpus else "CPU"
            self.say(f"waiting for workers: no node of the Ray cluster has a {device} that is free")

    def _give(self, hand: Hand) -> bool:
        """Ask a worker for the next thing, if there is any; return whether there was."""
        asked = [each for whose, each in self.pending.values() if whose is hand and each.what != "progress"]
        if not hand.is_known:
            if asked or time.perf_counter() - hand.called < LOOK:
                return False
            hand.called = time.perf_counter()
            return self._ask(hand, _Asked("about"))
        if hand not in self.slots or (self.unsized and not self.schedule):
            return not asked and self._is_gathered() and self._ask_room(hand)
        if self.schedule is None or len(asked) >= self.slots[hand]:
            return False
        task = self.schedule.take(hand, sum(self.slots.values()))
        if task is None:
            return False
        problems = {number: self.problems[number] for number in task.numbers}
        encoders = {number: self.encoders[number] for number in task.numbers if number not in self.done}
        about = (self.how.mode, self.sizes[task.program], problems, encoders)  # type: ignore[index]
        return self._ask(hand, _Asked("solve", task, numbers=task.numbers), about)

    def _is_gathered(self) -> bool:
        """Tell whether all workers are there, or have been waited for."""
        waited = time.perf_counter() - self.gathered > GATHERING
        return waited or all(hand.is_known for hand in self.crew.hands)

    def _ask_room(self, hand: Hand) -> bool:
        """Ask a worker what it has room for, and for its share of the sizes of chunks."""
        there = [each for each in self.crew.hands if each.is_known]
        asking = sum(each not in self.slots for each in there) or 1
        share = tuple(self.unsized[: -(-len(self.unsized) // asking)])
        self.unsized = self.unsized[len(share) :]
        # All are looked at, for the largest says how many there is room for.
        groups = {g: (self.problems[g], len(numbers)) for g, numbers in self.groups.items()}
        largest = self.how.max_parallel or -(-len(self.problems.keys() - self.done) // len(there))
        about = ((self.how.mode, self.how.max_parallel), groups, share, largest)
        return self._ask(hand, _Asked("room", groups=share, numbers=tuple(self.groups)), about)

    def _ask(self, hand: Hand, asked: _Asked, about: object = None) -> bool:
        method = getattr(hand.actor, asked.what)
        if about is None:
            answer = method.options(concurrency_group="talk").remote()
        else:
            packed, names = self.packer.pack(about)
            for name in names:
                if name not in self.refs:
                    self.refs[name] = self.crew.ray.put(self.packer.shared[name])
            answer = method.remote(packed, {name: self.refs[name] for name in names})
        self.pending[answer] = hand, asked
        return True

    # What comes back.

    def _listen(self, seconds: float) -> None:
        """Take the answers that come within some seconds: the good ones first, and then who has died."""
        ray, every = self.crew.ray, list(self.pending)
        if not every:
            time.sleep(seconds)
            return
        ray.wait(every, num_returns=1, timeout=seconds)
        ready, _ = ray.wait(every, num_returns=len(every), timeout=0)
        fallen: dict[Hand, tuple[list[_Asked], Exception]] = {}
        for answer in ready:
            hand, asked = self.pending.pop(answer)
            try:
                self._take(hand, asked, ray.get(answer))
            except ray.exceptions.RayTaskError:  # a bug
                raise
            except ray.exceptions.RayError as error:
                fallen.setdefault(hand, ([], error))[0].append(asked)
        for hand, (at, reason) in fallen.items():
            self._mourn(hand, self._bury(hand, at), reason)

    def _take(self, hand: Hand, asked: _Asked, answer: Json) -> None:
        if isinstance(answer, str):
            raise NstError(f"worker {hand.host}: {answer}")
        if isinstance(answer, About):
            self.crew.check(answer)
            hand.is_known = True
            self.silent.pop(hand, None)
            self.gathered = min(self.gathered, time.perf_counter())
        elif isinstance(answer, Room):
            self._plan(hand, asked, answer)
        elif asked.task is None:
            self.spent |= answer
            self.best_loss = min([self.best_loss, *(loss for _, loss in answer.values())])
        else:
            assert self.schedule is not None
            for number, files in answer.items():
                self.store(number, files)
                self.done.add(number)
            self.spent.pop(min(asked.task.numbers), None)
            self.schedule.done(asked.task)

    def _plan(self, hand: Hand, asked: _Asked, room: Room) -> None:
        from nst_jax.transfer import plan

        self.slots[hand] = room.at_once
        names = {g: plan.planned_as(self.groups[g], 1, self.how) for g in room.sizes}
        plan.keep_planned(self.how, {names[g]: size for g, size in room.sizes.items()})
        for group in asked.groups:
            self._size(group, room.sizes.get(group, 1))

    def _bury(self, hand: Hand, failed: Sequence[_Asked] = ()) -> list[_Asked]:
        """Put back what a worker was at that has died; return that: what has failed, and what would."""
        left = [*failed, *(asked for whose, asked in self.pending.values() if whose is hand)]
        self.pending = {answer: pair for answer, pair in self.pending.items() if pair[0] is not hand}
        if self.schedule:
            self.schedule.lost(hand)
        self.unsized += [group for asked in left for group in asked.groups]
        if hand not in self.crew.hands:
            self.slots.pop(hand, None)
        hand.is_known = False
        return left

    def _mourn(self, hand: Hand, at: list[_Asked], error: Exception) -> None:
        """Refuse to go on where it would be of no use, after a worker has died.

        Raises:
            NstError: another worker would die as well, or it does not come back.
        """
        text, ray = " ".join(str(error).split()), self.crew.ray
        if "No module named 'nst_jax" in text:
            raise ConfigError(f"worker {hand.host}: nst_jax is not installed there, or is another version")
        if not self.crew.is_there(hand):
            return
        if isinstance(error, ray.exceptions.ActorDiedError) and "creation task" in text:  # a bug
            raise error
        now = time.perf_counter()
        if now - self.silent.setdefault(hand, now) > REVIVAL:
            raise NstError(f"worker {hand.host}: does not come back after its end: {text}")
        tasks = {asked.numbers for asked in at if asked.numbers}
        self.deaths |= {numbers: self.deaths.get(numbers, 0) + 1 for numbers in tasks}
        numbers = sorted(number for each in tasks if self.deaths[each] >= LIVES for number in each)
        if numbers:
            cells = f"cell{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
            advice = "if it was for want of memory, use a smaller size or sweep.max_parallel"
            raise NstError(f"{cells}: {LIVES} workers died at this, the last on {hand.host}: {advice}")

    # How far it is.

    def _tell(self) -> bool:
        """Tell how far the work is; return whether it should end."""
        from nst_jax.transfer.batch import GridProgress

        asked = {hand for hand, each in self.pending.values() if each.what == "progress"}
        at_work = {hand for hand, each in self.pending.values() if each.what == "solve"}
        now = time.perf_counter()
        if now - self.polled > LOOK:
            self.polled = now
            for hand in at_work - asked:
                self._ask(hand, _Asked("progress"))
        under_way = [task for _, task in self.schedule.taken.values()] if self.schedule else []
        evaluations = sum(self.budgets[number] for number in self.done)
        for task in under_way:
            before = sum(self.budgets[number] for number in task.numbers if number in self.done)
            evaluations += max(0, self.spent.get(min(task.numbers), (0, 0.0))[0] - before)
        progress = GridProgress(
            len(self.problems),
            len(self.done),
            evaluations,
            sum(self.budgets.values()),
            self.best_loss,
            now - self.begun,
        )
        return self.watch(progress) is True
