import contextlib
import functools
import http.server
import json
import operator
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest
import yaml
from makers import NARROW_PROCESS, Deadly, paint_sweep, sweep_settings

from nst_jax import cli, config, images
from nst_jax.errors import ConfigError, NstError, OutputError
from nst_jax.runs import batch, records, sweep
from nst_jax.runs import ray as rays
from nst_jax.runs.ray import crew, packing, work
from nst_jax.settings import as_dict

pytestmark = pytest.mark.usefixtures("world")
TESTS = str(Path(__file__).parents[1])
AXES = [{"style.weight": [10.0, 1000.0]}, {"seed": [1, 2, 3, 4]}, {"content.weight": [0.1, 1.0, 10.0]}]
"""24 cells."""


def settings(cells=24, **changes):
    axes = AXES if cells == 24 else {"seed": list(range(cells))}
    return sweep_settings(axes, init="noise", **{"solver": {"evaluations": 12}} | changes)


def tree(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()
    }


def locally(found):
    """Return what a sweep leaves that is painted by this process, which makes room for another one."""
    paint_sweep(found)
    whole = tree("grid")
    os.rename("grid", f"kept{time.monotonic_ns()}")
    return whole


NODES = """
import json, sys
from ray.cluster_utils import Cluster

cluster, nodes = Cluster(), []
for line in sys.stdin:
    if line.strip() == "remove":
        cluster.remove_node(nodes.pop(), allow_graceful=False)
    else:
        nodes.append(cluster.add_node(include_dashboard=False, object_store_memory=2**27, **json.loads(line)))
    print(cluster.address, flush=True)
"""


class Machines:
    """A cluster of nodes on this machine, of another process: where JAX is, Ray may not fork."""

    def __init__(self):
        paths = os.pathsep.join([TESTS, *sys.path])
        environment = os.environ | {"PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([sys.executable, "-c", NODES], env=environment, text=True, **pipes)

    def ask(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        self.address = self.process.stdout.readline().strip()
        assert self.address

    def add(self, **options):
        self.ask(json.dumps(options))

    def workers(self):
        """Return the processes of workers."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                found += [process] if "ray::Worker" in " ".join(process.cmdline()) else []
        return found

    def end(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def machines():
    """A cluster of two nodes, with a core each."""
    if not find_spec("ray"):
        pytest.skip("needs Ray")
    found = Machines()
    found.add(num_cpus=1)
    found.add(num_cpus=1)
    yield found
    found.end()


def painted(machines, found, *, callback=lambda progress: None, **options):
    """Paint a sweep on a cluster; return the outcome."""
    said = []
    with rays.cluster(machines.address, say=said.append, **options) as paint:
        outcome = sweep.run(found, paint=paint, callback=callback, say=said.append)
    assert said == []
    return outcome


def refused(machines, found, **options):
    """Return the line that a sweep on a cluster is refused with."""
    with pytest.raises(NstError) as caught:
        painted(machines, found, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def stored(monkeypatch):
    """Numbers of cells in the order in which they are stored, and by which worker."""
    found = []
    real = work.Work._take

    def take(self, hand, asked, answer):
        if asked.task:
            found.extend((number, hand) for number in answer)
        return real(self, hand, asked, answer)

    monkeypatch.setattr(work.Work, "_take", take)
    return found


def test_a_sweep_has_the_same_bytes_and_is_everyones_work(machines, stored):
    whole = locally(settings())
    outcome = painted(machines, settings())
    assert (outcome.done, outcome.interrupted) == (24, False)
    assert tree("grid") == whole
    assert sorted(number for number, _ in stored) == list(range(24))
    assert len({hand.node for _, hand in stored}) == 2


def test_a_worker_is_killed(machines, stored, capfd):
    whole = locally(settings(12))
    killed = []

    def watch(progress):
        if progress.done >= 3 and not killed:
            killed.append(machines.workers()[0])
            killed[0].send_signal(signal.SIGKILL)

    outcome = painted(machines, settings(12), callback=watch)
    assert killed
    assert tuple(capfd.readouterr()) == ("", "")  # Ray says nothing of it
    assert outcome.done == 12
    assert tree("grid") == whole
    assert sorted(number for number, _ in stored) == list(range(12))


def test_a_node_is_removed_and_another_joins(machines, stored):
    whole = locally(settings(12))
    done = []

    def watch(progress):
        if progress.done >= 3 and not done:
            machines.ask("remove")
            machines.add(num_cpus=1)
            done.append(progress.done)

    assert painted(machines, settings(12), callback=watch).done == 12
    assert tree("grid") == whole
    assert sorted(number for number, _ in stored) == list(range(12))


def test_the_driver_is_killed_and_started_again(machines, stored):
    found = settings(8, solver={"evaluations": 40})
    whole = locally(found)
    Path("grid.yaml").write_text(config.to_yaml(found))
    command = [sys.executable, "-c", NARROW_PROCESS, TESTS, "sweep", "--config", "grid.yaml"]
    driver = subprocess.Popen([*command, "--ray", machines.address])
    cells = Path("grid", "cells")
    while len(list(cells.glob("*.json"))) < 3 and driver.poll() is None:
        time.sleep(0.05)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    there = {int(path.stem) for path in cells.glob("*.json")}
    assert 3 <= len(there) < 8
    assert painted(machines, found).done == 8
    left = {name: data for name, data in tree("grid").items() if not name.endswith(".partial")}
    assert left == whole  # and perhaps what it was writing
    assert sorted(number for number, _ in stored) == sorted(set(range(8)) - there)


def test_ctrl_c_ends_the_work_and_keeps_what_is_done(machines, stored):
    found = settings(10)
    whole = locally(found)
    with rays.cluster(machines.address) as paint:
        stop = lambda progress: progress.done >= 2
        outcome = sweep.run(found, paint=paint, callback=stop, say=print)
        assert outcome.interrupted
        assert 2 <= outcome.done < 10
        patience = time.monotonic() + 60
        while machines.workers() and time.monotonic() < patience:
            time.sleep(0.05)
        assert machines.workers() == []
    assert painted(machines, found).done == 10
    assert tree("grid") == whole
    assert sorted(number for number, _ in stored) == list(range(10))


def test_batches_are_those_of_a_run_here(machines, stored):
    """As on GPUs, with the number at once given: the last batch is of two cells."""
    found = settings(10).with_values({"sweep.lanes": "vmap", "sweep.max_parallel": 4})
    whole = locally(found)
    assert painted(machines, found).done == 10
    assert tree("grid") == whole
    assert [len([n for n, _ in stored if n in chunk]) for chunk in (range(4), range(8, 10))] == [4, 2]
    divided = settings(6).with_values({"sweep.lanes": "vmap", "sweep.folder": "divided"})
    stop = painted(machines, divided, callback=lambda progress: progress.done >= 3)
    (planned,) = Path("divided", ".state").rglob("plan.json")
    assert 3 in json.loads(planned.read_text()).values()  # six for two workers
    assert stop.done == 3
    assert painted(machines, divided, workers=1).done == 6


def test_figures_share_the_workers(machines, monkeypatch):
    names, size = ["gatys2016_fig3"], {"size": ("--size", 32), "solver.evaluations": ("--evaluations", 2)}
    from nst_jax.runs import figures

    flags = size | {"weights": ("--weights", "narrow.h5")}
    figures.run(names, Path("one"), flags=flags, say=lambda line: None)
    with rays.cluster(machines.address) as paint:
        figures.run(names, Path("two"), flags=flags, paint=paint, say=lambda line: None)
    one, two = tree("one"), tree("two")
    pictures = [name for name in one if name.endswith(".png")]
    assert pictures
    assert one.keys() == two.keys()
    assert [name for name in pictures if "sheet" in name and one[name] != two[name]] == []


def test_a_batch_of_photographs_and_its_faults(machines, random):
    """Photographs of two sizes, one of which is none; JPEG has its record beside it."""
    os.mkdir("photos")
    for number, size in enumerate([(30, 40), (40, 30), (30, 40)]):
        images.write(f"photos/{number}.png", np.float32(random.uniform(size=(*size, 3))))
    Path("photos/none.png").write_text("no picture")
    plain = as_dict(settings(2))
    found = config.load(base=plain | {"content": plain["content"] | {"image": None}, "sweep": {}})
    every = batch.photographs(["photos"])
    batch.run(found, every, "one/{name}.jpg", say=lambda line: None)
    with rays.cluster(machines.address) as paint:
        outcome = batch.run(found, every, "two/{name}.jpg", paint=paint, say=lambda line: None)
        again = batch.run(found, every, "two/{name}.jpg", paint=paint, say=lambda line: None)
    assert (len(outcome.painted), outcome.left, len(again.painted)) == (3, 0, 0)
    assert [fault.split(": ")[0] for fault in outcome.faults] == ["photos/none.png"]
    same = {name: data.replace(b"one/", b"two/") for name, data in tree("one").items()}
    assert tree("two") == same


@pytest.mark.parametrize(
    "command",
    [
        ["sweep", "--content", "photo.png", "--axis", "seed=[1, 2]", "--style", "art.png"],
        ["batch", "photo.png", "more.png", "--style", "art.png"],
        ["figures", "gatys2016_fig5"],
    ],
)
def test_a_dry_run_asks_who_would_paint(machines, world, capsys, command):
    shutil.copy("photo.png", "more.png")
    before = sorted(world.rglob("*"))
    flags = ["--size", "32", "--evaluations", "1", "--weights", "narrow.h5", "--dry-run"]
    assert cli.run([*command, *flags, "--ray", machines.address]) == 0
    assert re.search(r"2 jobs of . program.* on 2 workers \(cpu\): about ", capsys.readouterr().out)
    assert sorted(world.rglob("*")) == before


def test_what_goes_wrong_on_a_worker(machines, monkeypatch):
    """A bug keeps its traceback; a mistake is one line; what kills its workers is not tried for ever."""
    real = sweep._encoder
    monkeypatch.setattr(sweep, "_encoder", lambda folder, cell, *rest: operator.truediv)
    with pytest.raises(TypeError, match=r"ray::Worker\.solve") as caught:
        painted(machines, settings(3))
    assert "unsupported operand" in str(caught.value)

    def deadly(folder, cell, *rest):
        return Deadly() if cell.index == 1 else real(folder, cell, *rest)

    monkeypatch.setattr(sweep, "_encoder", deadly)
    found = settings(3).with_values({"sweep.folder": "deadly"})
    assert refused(machines, found, workers=1).startswith("cell 1: 3 workers died at this, the last on ")
    monkeypatch.setattr(sweep, "_encoder", real)
    assert painted(machines, found).done == 3
    small = settings(3).with_values({"sweep.folder": "small", "memory_limit": 2**20})
    assert "needs about" in refused(machines, small)


def test_workers_that_would_paint_otherwise(machines, monkeypatch):
    versions = records.versions()
    monkeypatch.setattr(crew.records, "versions", lambda: versions | {"jax": "0.1"})
    line = refused(machines, settings(3))
    assert line.endswith(f"has jax {versions['jax']}, this machine 0.1: install the same version on both")


def test_a_gpu_that_is_not_there(machines, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert "no node of the Ray cluster has a GPU" in refused(machines, settings(3))
    assert os.environ["JAX_PLATFORMS"] == "cuda"
    monkeypatch.delenv("JAX_PLATFORMS")
    machines.add(num_cpus=1, num_gpus=1)
    try:
        line = refused(machines, settings(3))
    finally:
        machines.ask("remove")
    assert "was given a GPU by Ray, but its JAX has none: pip install 'nst_jax[cuda13]' there" in line


def test_inputs_larger_than_the_store(machines, monkeypatch):
    monkeypatch.setattr(crew.Crew, "store", lambda self: 2**10)
    assert "and Ray's object store 0 MiB: paint fewer at a time" in refused(machines, settings(3))


# Without a cluster.


def test_a_cluster_of_this_machine_alone_for_one_command(world):
    if not find_spec("ray"):
        pytest.skip("needs Ray")
    found = settings(3)
    whole = locally(found)
    Path("grid.yaml").write_text(config.to_yaml(found))
    command = [
        sys.executable,
        "-c",
        NARROW_PROCESS,
        TESTS,
        "sweep",
        "--config",
        "grid.yaml",
        "--ray",
        "local",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    assert tree("grid") == whole


def test_a_folder_of_other_versions_is_refused(world):
    paint_sweep(settings(2), shard=(1, 2))
    path = Path("grid", "sweep.json")
    path.write_text(path.read_text().replace(f'"jax": "{jax.__version__}"', '"jax": "0.1"'))
    before = tree("grid")
    fail = lambda *rest, **options: pytest.fail("painted")
    with pytest.raises(OutputError, match="other versions, which are not mixed here: jax is") as caught:
        paint_sweep(settings(2), paint=fail)
    assert "\n" not in str(caught.value)
    assert tree("grid") == before
    assert len(paint_sweep(settings(2))[1]) == 1  # a note


class _Silent(http.server.BaseHTTPRequestHandler):
    def log_message(self, *rest):
        pass


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["--ray", "127.0.0.1:1"], "there is no Ray cluster: Connection refused"),
        (["--ray", "WEB"], "there is no Ray cluster: nothing answers within 9 s"),
        (["--ray", "nowhere"], "should be HOST:PORT, auto or local"),
        (["--ray", "ray://127.0.0.1:10001"], "is of Ray's client"),
        (["--ray", "auto"], "this machine is no node of a Ray cluster"),
        (["--ray", "local", "--workers", "0"], "--workers 0: should be the number of workers"),
        (["--workers", "2"], "--workers is of the cluster that --ray paints on"),
        (["--ray", "--shard", "1/2"], "leave out --shard"),
        (["--ray", "--slurm", "2"], "leave out --slurm"),
    ],
)
def test_mistakes_are_one_line(arguments, phrase, monkeypatch, capsys):
    if not find_spec("ray"):
        pytest.skip("needs Ray")
    Path("grid.yaml").write_text(config.to_yaml(settings(2)))
    if "auto" in arguments:  # other tests have clusters
        monkeypatch.setattr(rays, "_answers", lambda *rest: False)
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Silent)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{web.server_address[1]}"
    begun = time.monotonic()
    code = cli.run(["sweep", "--config", "grid.yaml", *(address if a == "WEB" else a for a in arguments)])
    seconds = time.monotonic() - begun
    web.shutdown()
    web.server_close()
    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (2, 1)
    assert phrase in said
    assert seconds < 15  # told to be ten; a busy machine takes a while to start the process that asks
    assert not Path("grid").exists()


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'nst_jax\[ray\]'"), rays.cluster("local"):
        pass


def test_neither_ray_nor_jax_is_imported_unless_asked_for():
    code = "import sys, nst_jax.runs.ray; assert not {'ray', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# KubeRay.

POD = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["containers"],
            "properties": {
                "containers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["name", "image", "resources"],
                        "properties": {
                            "name": {"pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
                            "image": {"type": "string"},
                            "resources": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {"limits": {"type": "object"}, "requests": {"type": "object"}},
                            },
                            "volumeMounts": {
                                "type": "array",
                                "items": {"type": "object", "required": ["name", "mountPath"]},
                            },
                        },
                    },
                },
                "volumes": {"type": "array", "items": {"type": "object", "required": ["name"]}},
            },
        }
    },
}
"""Of a pod's template, what the example has."""

COUNT = {"type": "integer", "minimum": 0}
PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}  # of ray start: texts only

JOB = {
    "type": "object",
    "additionalProperties": False,
    "required": ["entrypoint", "rayClusterSpec"],
    "properties": {
        "entrypoint": {"type": "string"},
        "shutdownAfterJobFinishes": {"type": "boolean"},
        "ttlSecondsAfterFinished": COUNT,
        "backoffLimit": COUNT,
        "rayClusterSpec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["headGroupSpec"],
            "properties": {
                "rayVersion": {"type": "string"},
                "headGroupSpec": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["template"],
                    "properties": {"rayStartParams": PARAMETERS, "template": POD},
                },
                "workerGroupSpecs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["groupName", "minReplicas", "maxReplicas", "template"],
                        "properties": {
                            "groupName": {"type": "string"},
                            **dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), COUNT),
                            "rayStartParams": PARAMETERS,
                            "template": POD,
                        },
                    },
                },
            },
        },
    },
}
"""Of the spec of a RayJob, as documented by KubeRay, what the example has."""


def test_the_example_for_kuberay_is_a_job_of_ray():
    jsonschema = pytest.importorskip("jsonschema")
    found = yaml.safe_load(Path(TESTS, "..", "examples", "kuberay.yaml").read_text())
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayJob")
    jsonschema.validate(found["spec"], JOB)
    for pod in (group["template"]["spec"] for group in found["spec"]["rayClusterSpec"]["workerGroupSpecs"]):
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]} == volumes
    program, *arguments = shlex.split(found["spec"]["entrypoint"])
    assert program == "nst-jax"
    Path("grid.yaml").write_text(config.to_yaml(settings(2)))
    there = [argument.replace("/work/grid.yaml", "grid.yaml") for argument in arguments]
    assert cli.run([*there, "--print-config"]) == 0


# What travels.


def test_what_is_shared_travels_once(random):
    from nst_jax.pretrained.network import load_network

    network = load_network("compact", normalised=False)
    art = np.float32(random.uniform(size=(40, 40, 3)))
    packer = packing.Packer()
    cells = [{"network": network, "art": art[:, :, :3], "own": random.uniform(size=8)} for _ in range(3)]
    packed = [packer.pack(cell) for cell in cells]
    assert all(len(data) < 2000 for data, _ in packed)
    assert {tuple(names) for _, names in packed} == {tuple(packer.shared)}
    assert len(packer.shared) == 2
    assert packer.nbytes == art.nbytes + sum(leaf.nbytes for leaf in jax.tree.leaves(network.params))
    for cell, (data, _) in zip(cells, packed, strict=True):
        found = packing.unpacked(data, packer.shared.__getitem__)
        assert found["network"] is network
        np.testing.assert_array_equal(found["art"], art)
        np.testing.assert_array_equal(found["own"], cell["own"])
    other = packing.Packer()
    other.pack(functools.partial(print, art + 1))
    assert not other.shared.keys() & packer.shared.keys()
