"""A sweep shared by jobs of a Slurm cluster, through submitit."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nst_jax import config as configs
from nst_jax.errors import ConfigError
from nst_jax.runs import sweep
from nst_jax.settings import Settings, as_dict
from nst_jax.typing import Json


@dataclass(frozen=True)
class Shard:
    """A job: one of those that share a sweep. Preempted or out of time, it is queued again and goes on."""

    settings: dict[str, Json]

    def __call__(self) -> int:
        """Paint what no other job does; return how many cells of the sweep are done."""
        return sweep.run(configs.load(base=self.settings), shard="auto").done

    def checkpoint(self) -> Json:
        """Return what is submitted again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(config: Settings, count: int, options: Mapping[str, Json] | None = None) -> list[Json]:
    """Submit jobs that share a sweep, and return submitit's.

    Args:
        config: the settings.
        count: of jobs.
        options: parameters of submitit's executor, such as ``slurm_partition``, ``timeout_min`` or
            ``gpus_per_node``; and ``cluster``: ``slurm``, or ``local`` for processes on this machine.

    Raises:
        NstError: submitit is not installed, there is no Slurm, an unknown option, or a sweep that cannot run.
    """
    try:
        import submitit
    except ImportError:
        raise ConfigError("--slurm needs submitit: pip install 'nst_jax[slurm]'") from None
    sweep.check(config)
    parameters = dict(options or {})
    cluster = parameters.pop("cluster", "slurm")
    folder = Path(config.sweep.folder) / ".state" / "slurm"
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**{"name": "nst-jax"} | parameters)
        folder.mkdir(parents=True, exist_ok=True)
        settings = as_dict(config)
        tasks = [Shard(settings)] * count
        with executor.batch():
            jobs = [executor.submit(task) for task in tasks]
    # All of these are ways in which submitit refuses an option.
    except (AssertionError, NameError, TypeError, ValueError, RuntimeError, OSError) as error:
        for made in (folder, folder.parent, folder.parent.parent):
            with suppress(OSError):  # what is not empty stays
                made.rmdir()
        raise ConfigError(f"--slurm: {' '.join(str(error).split())}") from None
    return list(jobs)
