"""Who paints many pictures: this process, processes at one folder, or the machines of a cluster.

All of them are called alike. What is painted comes back as files, so that they are the same whoever paints.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nst_jax.images import FloatArray
from nst_jax.runs import records
from nst_jax.settings import Settings

if TYPE_CHECKING:
    from nst_jax.transfer.batch import Curve, GridProgress
    from nst_jax.transfer.looks import Result
    from nst_jax.transfer.plan import How
    from nst_jax.transfer.problem import Problem
    from nst_jax.transfer.remembering import Remember

Files = dict[str, bytes]
"""By name; the last one's being there says that all are."""


Encode = Callable[["Result", "Curve"], Files]
"""Makes the files of a result, wherever it is made."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """What a result's files are made with, wherever they are made."""

    name: str
    """Of the picture."""
    settings: Settings
    cell: Mapping[str, object]
    """What the cell of a sweep was given."""
    network: records.Record
    digests: Mapping[str, str]
    alpha: FloatArray | None = None

    def __call__(self, result: "Result", curve: "Curve") -> Files:
        """Return the picture with its record inside, and the record with the loss curve."""
        ended = records.ended(result)
        about = records.record(self.settings, self.network, self.digests) | {"result": ended}
        picture = records.encode(
            self.name, result.image, alpha=self.alpha, settings=self.settings, record=about
        )
        about |= {"result": ended | {"sentence": result.sentence}, "settings": self.cell, "curve": curve}
        record = self.name.rpartition(".")[0] + ".json"
        return {self.name: picture, record: records.to_json(about)}


class Paint(Protocol):
    """Solves problems and hands over the files of each as soon as it is done."""

    def __call__(
        self,
        problems: Mapping[int, "Problem"],
        *,
        encoders: Mapping[int, Encode],
        store: Callable[[int, Files], None],
        finished: Collection[int],
        how: "How",
        watch: Callable[["GridProgress"], object],
    ) -> bool:
        """Return whether all is done; see `transfer.batch.run`.

        Args:
            problems: by number, aligned.
            encoders: of their files; they can be pickled.
            store: called in this process, once for each problem that was not finished.
            finished: numbers of problems that are done; others are grouped as if these were not.
            how: how the work is done.
            watch: called every now and then; if it returns True all ends.
        """


def here(
    problems: Mapping[int, "Problem"],
    *,
    encoders: Mapping[int, Encode],
    store: Callable[[int, Files], None],
    finished: Collection[int],
    how: "How",
    watch: Callable[["GridProgress"], object],
    remember: "Remember | None" = None,
) -> bool:
    """Paint in this process, see `Paint`; for what is remembered, see `transfer.batch.run`."""
    from nst_jax.transfer import batch

    def done(number: int, result: "Result", curve: "Curve") -> None:
        store(number, encoders[number](result, curve))

    return batch.run(problems, done=done, finished=finished, how=how, watch=watch, remember=remember)
