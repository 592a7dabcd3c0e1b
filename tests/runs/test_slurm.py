import subprocess
import sys

import pytest
from makers import sweep_settings

from nst_jax.errors import ConfigError, ImageError, OutputError
from nst_jax.runs import gallery, slurm, sweep

pytestmark = pytest.mark.usefixtures("world")


def test_shards_as_jobs_on_this_machine(world, monkeypatch):
    """submitit's local executor starts a process for each; the last to end writes the page."""
    pytest.importorskip("submitit")
    # The jobs are processes of their own, where no test can put a narrow network: the compact one is real.
    config = sweep_settings(
        axes={"seed": [1, 2, 3]}, init="noise", weights="compact", solver={"evaluations": 2}
    )
    jobs = slurm.submit(config, 2, {"cluster": "local", "timeout_min": 5})
    done = [job.result() for job in jobs]
    assert max(done) == 3
    assert gallery.collect(world / "grid").missing == ()
    assert (world / "grid" / "index.html").exists()


def test_a_job_that_is_preempted_is_queued_again():
    submitit = pytest.importorskip("submitit")
    shard = slurm.Shard({"size": 24})
    again = shard.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function == shard


def test_mistakes_come_before_any_job(world):
    with pytest.raises(ImageError, match=r"gone\.png"):
        slurm.submit(sweep_settings(content="gone.png"), 2, {"cluster": "local"})
    with pytest.raises(ConfigError, match=r"--slurm: .*timeout_minn"):
        slurm.submit(sweep_settings(), 2, {"cluster": "local", "timeout_minn": 5})
    with pytest.raises(ConfigError, match=r"--slurm: .*moon"):
        slurm.submit(sweep_settings(), 2, {"cluster": "moon"})
    with pytest.raises(ConfigError, match=r"--slurm: .*(sbatch|srun|slurm)"):
        slurm.submit(sweep_settings(), 2)


def test_without_submitit(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"pip install 'nst_jax\[slurm\]'"):
        slurm.submit(sweep_settings(), 2)


def test_submitit_is_not_imported_unless_asked_for():
    code = "import sys, nst_jax.runs.slurm; assert 'submitit' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_of_other_settings_gets_no_jobs(world):
    sweep.run(sweep_settings(axes={"seed": [1]}), say=lambda line: None)
    before = sorted(world.rglob("*"))
    with pytest.raises(OutputError, match="holds a sweep with other settings"):
        slurm.submit(sweep_settings(axes={"seed": [2]}), 2, {"cluster": "local"})
    with pytest.raises(ConfigError, match="--slurm: "):
        slurm.submit(sweep_settings(axes={"seed": [1]}), 2, {"cluster": "local", "timeout_min": "abc"})
    assert sorted(world.rglob("*")) == before
