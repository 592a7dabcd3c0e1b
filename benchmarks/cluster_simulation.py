"""What a cluster of 1 to 1000 workers would take for a large sweep, simulated with the schedule that is used.

python benchmarks/cluster_simulation.py [--cells 10000,30000] [--workers 1,4,16,64,256,1000] [--seeds 3]
    Replays the measured jobs of data/cluster_times.json (or --times FILE): each cell is of a program, drawn
    evenly, and takes as long as one of that program's measured jobs, times --evaluations over those measured.
    The schedule is told pixels times evaluations only. With failures each job is lost with that probability,
    after a share of it that is drawn evenly; its worker is there again after --restart seconds with nothing
    compiled, or, "kept", with its programs on disk. Stragglers are so many of the workers, 4 times slower.
    Given is the bound over the makespan, mean and least over the seeds. The bound is the longer of work /
    workers and the longest job: compiling, lost work and restarts are in the makespan and not in the bound,
    and a straggler counts in the bound as a whole worker.
    Last against every n-th cell (--shard i/n), where every shard compiles every program.
python benchmarks/cluster_simulation.py --measure FILE.json [--size 128,192,256,384,512]
    Measures such jobs with the compact network, each program in processes of its own.
"""

import argparse
import functools
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from importlib.metadata import version
from pathlib import Path

from nst_jax.runs.forecast import Cluster, simulate
from nst_jax.runs.schedule import Task

TIMES = Path(__file__).parent / "data" / "cluster_times.json"
SLOWER = 4.0


def timed(size, kind, jobs, evaluations):
    """Return seconds of the first job of a process and of so many later ones, and the picture's sides."""
    from nst_jax import Settings, load_network, samples, stylize

    network = load_network("compact")
    pair = samples.load("coffee"), samples.load("starry_swirls")
    settings = Settings().with_values({"size": size, "style.kind": kind, "solver.evaluations": evaluations})
    found = []
    for number in range(jobs + 1):
        begun = time.perf_counter()
        weight = 1e3 * 2.0**number
        result = stylize(*pair, settings.with_values({"style.weight": weight}), network=network)
        found.append(time.perf_counter() - begun)
    return {"first": found[0], "later": found[1:], "sides": result.image.shape[:2]}


def measure(options):
    """Return the table of times: of each program its jobs, compiling, and reading it from disk again."""
    programs = []
    for kind in options.kinds.split(","):
        for size in map(int, options.size.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                cache = {
                    "JAX_COMPILATION_CACHE_DIR": folder,
                    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                }

                def run(jobs, size=size, kind=kind, cache=cache):
                    command = [sys.executable, __file__, "--one", f"{size},{kind},{jobs},{options.measured}"]
                    done = subprocess.run(
                        command, env=os.environ | cache, check=True, stdout=subprocess.PIPE, text=True
                    )
                    return json.loads(done.stdout)

                new, again = run(options.jobs), run(1)
            middle = statistics.median(new["later"])
            program = {
                "size": size,
                "kind": kind,
                "pixels": new["sides"][0] * new["sides"][1],
                "seconds": [round(each, 2) for each in new["later"]],
                "compiling": round(new["first"] - middle, 2),
                "from disk": round(max(0.0, again["first"] - again["later"][0]), 2),
                "load": round(os.getloadavg()[1], 1),
            }
            print(program, file=sys.stderr)
            programs.append(program)
    return {
        "network": "compact",
        "evaluations": options.measured,
        "cores": os.cpu_count(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "jax": version("jax"),
        "note": "load is how many processes wanted a core in the last five minutes; the run itself wants all",
        "programs": programs,
    }


def sweep(times, cells, evaluations, seed):
    """Return tasks of so many cells, and the seconds of each by its number."""
    chance = random.Random(seed)
    factor = evaluations / times["evaluations"]
    tasks, seconds = [], {}
    for number in range(cells):
        program = chance.randrange(len(times["programs"]))
        measured = times["programs"][program]
        tasks.append(Task((number,), program, float(measured["pixels"] * evaluations)))
        seconds[number] = factor * chance.choice(measured["seconds"])
    return tasks, seconds


class Shards:
    """Every n-th task for each of n workers, as they come."""

    def __init__(self, tasks, clock, count):
        self.queues = [deque(tasks[worker::count]) for worker in range(count)]
        self.taken = {}

    def take(self, worker, workers):
        """Give a worker the next of its own."""
        if not self.queues[worker]:
            return None
        self.taken[worker] = self.queues[worker].popleft()
        return self.taken[worker]

    def done(self, task):
        """Note that it is done."""
        self.taken = {worker: each for worker, each in self.taken.items() if each is not task}

    def lost(self, worker):
        """Begin again."""
        self.queues[worker].appendleft(self.taken.pop(worker))

    @property
    def is_done(self):
        """Tell whether all is done."""
        return not self.taken and not any(self.queues)


def ways(options):
    """Return what is simulated, by name: share of failures, of stragglers, whether programs are kept."""
    failures, stragglers = options.failures, options.stragglers
    fail, slow = f"{100 * failures:g} % failures", f"{100 * stragglers:g} % stragglers"
    return {
        "nothing happens": (0.0, 0.0, False),
        fail: (failures, 0.0, False),
        f"{fail}, kept": (failures, 0.0, True),
        slow: (0.0, stragglers, False),
        f"{fail}, {slow}, kept": (failures, stragglers, True),
    }


def outcome(times, job, cluster, schedule=None):
    """Simulate the cells of a job on a cluster."""
    tasks, seconds = job
    compiling = [program["compiling"] for program in times["programs"]]
    given = {} if schedule is None else {"schedule": schedule}
    return simulate(
        tasks,
        cluster,
        seconds=lambda task: seconds[task.numbers[0]],
        compiling=compiling.__getitem__,
        **given,
    )


def cluster(times, options, workers, way, seed):
    """Return a cluster to which something happens."""
    failures, stragglers, is_kept = way
    chance = random.Random(f"{seed} {workers}")
    slow = chance.sample(range(workers), round(stragglers * workers))
    read = [program["from disk"] for program in times["programs"]]
    return Cluster(
        workers,
        dict.fromkeys(slow, SLOWER),
        dies=lambda: chance.random() if chance.random() < failures else None,
        restart=options.restart,
        reads=read.__getitem__ if is_kept else None,
    )


def bound(seconds, workers):
    """Return seconds that nobody can do it in, but for the workers' differing."""
    return max(sum(seconds.values()) / workers, max(seconds.values()))


def main_table(times, options, cells):
    """Print the bound over the makespan for numbers of workers and what happens."""
    header = ["workers", "jobs each", "bound, min", *ways(options)]
    print(f"\n{cells} cells of {len(times['programs'])} programs:\n")
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header))
    jobs = [sweep(times, cells, options.evaluations, seed) for seed in range(options.seeds)]
    for workers in options.workers:
        row = []
        for way in ways(options).values():
            found = []
            for seed, job in enumerate(jobs if way[0] or way[1] else jobs[:1]):
                done = outcome(times, job, cluster(times, options, workers, way, seed))
                found.append(bound(job[1], workers) / done.makespan)
            least = f" (least {min(found):.3f})" if len(found) > 1 else ""
            row.append(f"{statistics.mean(found):.3f}{least}")
        least_time = bound(jobs[0][1], workers) / 60
        print(f"| {workers} | {cells / workers:.3g} | {least_time:.3g} | {' | '.join(row)} |", flush=True)


def against_shards(times, options, cells):
    """Print the makespan over that of every n-th cell, with and without one worker that is slower."""
    print(f"\n{cells} cells, time of the schedule over that of --shard i/n:\n")
    print("| workers | all alike | one 4 times slower | compiled by each, of that of a shard |")
    print("| --- | --- | --- | --- |")
    job = sweep(times, cells, options.evaluations, 0)
    for workers in options.workers:
        row = []
        for slowness in ({}, {0: SLOWER}):
            ours = outcome(times, job, Cluster(workers, slowness))
            theirs = outcome(times, job, Cluster(workers, slowness), functools.partial(Shards, count=workers))
            row.append(f"{ours.makespan / theirs.makespan:.3f}")
        print(f"| {workers} | {' | '.join(row)} | {ours.compiling / theirs.compiling:.2f} |", flush=True)


def numbers(text):
    """Return the numbers of a list with commas."""
    return [int(each) for each in text.split(",")]


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=Path, default=TIMES, metavar="FILE.json")
    parser.add_argument("--cells", type=numbers, default=[10_000, 30_000])
    parser.add_argument("--workers", type=numbers, default=[1, 4, 16, 64, 256, 1000])
    parser.add_argument("--evaluations", type=int, default=150, help="of a cell, at each size of its pyramid")
    parser.add_argument("--failures", type=float, default=0.05, help="share of jobs whose worker dies")
    parser.add_argument("--stragglers", type=float, default=0.05, help="share of workers that are slower")
    parser.add_argument("--restart", type=float, default=30.0, help="seconds until a worker is there again")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--measure", type=Path, metavar="FILE.json", help="measures only")
    parser.add_argument("--size", default="128,192,256,384,512", help="of what is measured")
    parser.add_argument("--kinds", default="gram,w2", help="of style, of what is measured")
    parser.add_argument("--jobs", type=int, default=3, help="that are measured of each")
    parser.add_argument("--measured", type=int, default=50, help="evaluations of what is measured")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        size, kind, jobs, evaluations = options.one.split(",")
        print(json.dumps(timed(int(size), kind, int(jobs), int(evaluations))))
        return
    if options.measure:
        options.measure.write_text(json.dumps(measure(options), indent=1) + "\n")
        return
    times = json.loads(options.times.read_text())
    for cells in options.cells:
        main_table(times, options, cells)
    against_shards(times, options, options.cells[0])


if __name__ == "__main__":
    main()
