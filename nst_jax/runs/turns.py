"""Processes at one folder take turns: each takes the next tasks that nobody holds, until all are done."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from nst_jax.errors import OutputError
from nst_jax.runs.leases import Leases, Stand
from nst_jax.runs.schedule import Program, Task, next_task

Found = Callable[[Collection[Task]], bool]
Count = Callable[[Task, float], int]


def _one(task: Task, cost: float) -> int:
    return 1


@dataclass(eq=False)
class Turns:
    """The tasks that are left, of which threads of this process take those that nobody holds.

    Args:
        held: the leases of this process.
        left: tasks that are not done yet, as far as is known; by the names of their leases.
        is_done: tells, by name, whether what a task makes is there.
        say: told what the user should know.
        what: a problem is called, in words.
        is_late: whether others have done all before this process knew what there was to do, and removed the
            folder.
    """

    held: Leases
    left: dict[str, Task]
    is_done: Callable[[str], bool]
    say: Callable[[str], object]
    what: str
    is_late: bool = False
    mine: set[str] = field(default_factory=set)
    """Of those that are left, what threads of this process are at."""
    known: set[Program] = field(default_factory=set)
    """What this process has compiled."""
    is_waiting: bool = False
    gone: float | None = None
    """Since when the folder is."""
    stands: dict[str, Stand] = field(default_factory=dict)
    """How the others stood, when it was looked last."""
    looked: float = float("-inf")
    lock: threading.RLock = field(default_factory=threading.RLock)

    def take(self, found: Found, count: Count = _one) -> list[str]:
        """Return names of tasks, if need be after waiting; none if nothing is left but what is taken here.

        Args:
            found: called every now and then with tasks that others have done; tells whether the work ends.
            count: tells how many tasks like one are taken together, given the cost of all that wait.

        Raises:
            OutputError: the folder cannot be used.
        """
        while True:
            with self.lock:
                done = self._look()
                taken = self._next(count)
                rest = self.left.keys() - self.mine
            if (done or not taken) and found(done):
                for name in taken:
                    self.leave(name, is_done=False)
                return []
            if taken or not rest:
                return taken
            self._tell_waiting(rest)
            time.sleep(self.held.patience)

    def _look(self) -> list[Task]:
        """See how tasks stand that others may hold, and return those that are found to be done."""
        now = time.monotonic()
        if now - self.looked < self.held.patience / 2:  # many threads wait
            return []
        is_gone = self.is_late or not self.held.folder.is_dir()  # who removes it has seen that all is done
        self.gone = (self.gone or now) if is_gone else None
        self.looked, self.stands = now, self.held.stands(self.left.keys() - self.mine)
        begun = {name for name, stand in self.stands.items() if is_gone or stand != "new"}
        done = [self.left.pop(name) for name in filter(self.is_done, begun)]
        if self.gone and self.left and now - self.gone > self.held.seconds:
            raise OutputError(f"{self.held.folder}: was removed before all was done")
        return done

    def _next(self, count: Count) -> list[str]:
        """Take tasks of one program that nobody holds."""
        stands = {name: stand for name, stand in self.stands.items() if name in self.left.keys() - self.mine}
        held = {name for name, stand in stands.items() if stand == "held"}
        waiting = {self.left[name].numbers: name for name in stands.keys() - held}
        at = Counter(self.left[name].program for name in held | self.mine)
        taken: list[str] = []
        most = 1
        while self.gone is None and waiting and len(taken) < most:
            tasks = [self.left[name] for name in waiting.values()]
            task = next_task(tasks, known=self.known, at=at, workers=at.total() + 1)
            assert task
            name = waiting.pop(task.numbers)
            self.stands[name] = "held"  # by this process or, if that was faster, another
            if not self._is_taken(name):
                at[task.program] += 1
            elif self.is_done(name):  # which could not be seen yet
                self.held.end(name)
            else:
                if not taken:
                    most = count(task, sum(each.cost for each in tasks))
                    waiting = {
                        n: each for n, each in waiting.items() if self.left[each].program == task.program
                    }
                taken.append(name)
                self.mine.add(name)
                self.known.add(task.program)
        return taken

    def _is_taken(self, name: str) -> bool:
        try:
            return self.held.take(name)
        except OutputError:
            if self.held.folder.is_dir():
                raise
            return False  # all is done by now

    def _tell_waiting(self, names: Collection[str]) -> None:
        with self.lock:
            if not self.is_waiting:
                self.is_waiting = True
                count = sum(len(self.left[name].numbers) for name in names if name in self.left)
                self.say(f"waiting for {count} {self.what}{'s' * (count != 1)} that others paint")

    def leave(self, name: str, *, is_done: bool) -> None:
        """Give back the lease of a task that is not done, and keep no longer that of one that is."""
        with self.lock:
            self.mine.discard(name)
            if is_done:
                self.left.pop(name, None)
                self.held.end(name)
            else:
                self.held.give_back(name)

    def give_up(self, name: str) -> None:
        """Give back the lease of a task that this process cannot do; others may find out whether they can."""
        with self.lock:
            self.leave(name, is_done=False)
            self.left.pop(name, None)
