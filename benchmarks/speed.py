"""How fast nst_jax is, and how much memory it takes, against the same objective in plain PyTorch.

python benchmarks/speed.py [--size 256,512] [--pool avg,max] [--measure NAME,..]
                           [--rounds 7] [--images DIR] [--out FILE.json]
python benchmarks/speed.py --markdown FILE.json ...      prints the tables of docs/benchmarks.md

    step     seconds of the loss, and of the loss with its gradient; and how far the engines agree
    parts    seconds of a step of the optimiser: network, losses, and what the optimiser itself adds
    compile  seconds to compile the gradient and the optimiser's step, and with XLA's own convolutions only
    run      seconds to the lowest loss that torch's L-BFGS reaches in 200 evaluations
    loss     the loss after a run by Winograd's convolutions over that by XLA's own, for several seeds
    memory   the most memory resident in a short run, and what the compiler says of each setting of `memory`
    startup  seconds from the start of the process to the first loss, and of --help

Each engine has its own process; they take turns, A B C A B C. The faster layout of torch counts. Needs real
weights ($NST_JAX_WEIGHTS) and the extra `bench`. Images are tuebingen_neckarfront.jpg and starry_night.jpg
of DIR, or the samples coffee and starry_swirls. Run it on an otherwise idle machine.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from engines import OURS, TORCH

HERE = Path(__file__).parent
MEASURES = ("step", "parts", "compile", "run", "loss", "memory", "startup")
APART = {"f32": 1e-3, "tf32": 1e-2, "bf16": 1e-1}
"""How far apart the losses may be, relatively: beyond this the engines do not compute the same."""

BUSY = 10
"""More per cent of the machine taken by others than this is warned of: torch's threads wait for each other at
every layer, and lose far more by it than ours."""

COSTLY = 3
"""At most so many rounds of what takes a new process each."""


class Engine:
    """The process of an engine. Use it as a context: it ends with it."""

    def __init__(self, name: str, folder: Path, settings: dict[str, Any]):
        command = [sys.executable, HERE / "engines.py", name, folder, json.dumps(settings)]
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(settings)
        )

    def ask(self, question: str, **given: Any) -> Any:
        """Return the answer to a question."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"ask": question} | given), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended while asked to {question}; its message is above")
        return json.loads(line)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


def environment(settings: dict[str, Any], **more: str) -> dict[str, str]:
    """Return the environment of an engine: no programs from disk, no memory reserved."""
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    platforms = {"JAX_PLATFORMS": "cpu"} if settings["device"] == "cpu" else {}
    return kept | platforms | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | more


def torch_engines(settings: dict[str, Any]) -> list[str]:
    """Return the torch engines to measure."""
    wanted = {"channels_last", "compiled"} if settings["compiled"] else {"channels_last"}
    return [name for name, options in TORCH.items() if options.keys() <= wanted]


@contextlib.contextmanager
def inputs(settings: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give a folder of what the engines read, and what that is."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, HERE / "engines.py", "inputs", folder, json.dumps(settings)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        yield Path(folder), json.loads(done.stdout)


@contextlib.contextmanager
def engines(names: list[str], folder: Path, settings: dict[str, Any]) -> Iterator[list[Engine]]:
    """Give running engines, all of them on the same kind of device."""
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(Engine(name, folder, settings)) for name in names]
        kinds = {engine.name: engine.ask("device")["kind"] for engine in started}
        if len(set(kinds.values())) > 1:
            raise SystemExit(f"the engines are on different devices: {kinds}; give --device cpu")
        yield started


def times(running: list[Engine], what: str, rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Return seconds of a call by engine; in each round every engine has one turn.

    The median is that of the turns' medians, so that no turn counts more for having more calls.
    """
    turns: dict[str, list[list[float]]] = {engine.name: [] for engine in running}
    for number in range(rounds + 1):
        for engine in running:
            time.sleep(0.05)  # the threads of the one before spin for a while
            turn = engine.ask("time", what=what, seconds=seconds if number else 0)
            if number:  # the first is to warm up
                turns[engine.name].append(turn)
    return {
        name: {
            "median": statistics.median(map(statistics.median, found)),
            "min": min(map(min, found)),
            "calls": sum(map(len, found)),
            "turns": [statistics.median(turn) for turn in found],
        }
        for name, found in turns.items()
    }


def fastest(found: dict[str, dict[str, Any]]) -> str:
    """Return the torch engine of the least median."""
    return min((name for name in found if name != OURS), key=lambda name: found[name]["median"])


def step(settings: dict[str, Any]) -> dict[str, Any]:
    """Time the loss and its gradient, and say how far apart the engines' values are."""
    names = [OURS, *torch_engines(settings)]
    with inputs(settings) as (folder, facts), engines(names, folder, settings) as running:
        result: dict[str, Any] = facts | {"agreement": agreement(running, folder, settings)}
        for what in settings["what"].split(","):
            found = times(running, what, settings["rounds"], settings["turn"])
            best = fastest(found)
            ratio = found[OURS]["median"] / found[best]["median"]
            result[what] = {"engines": found, "torch": best, "ratio": ratio}
        result["device"] = running[0].ask("device")
        result["device_peak_bytes"] = {engine.name: engine.ask("peak") for engine in running}
        return result


def agreement(running: list[Engine], folder: Path, settings: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return how far each torch engine's loss and gradient are from ours, relatively, at one image.

    Raises:
        SystemExit: a loss is further apart than `APART`.
    """
    losses = {engine.name: engine.ask("agree") for engine in running}
    grads = {name: np.load(folder / f"{name}.npy").astype(float) for name in losses}
    result = {}
    for name in losses.keys() - {OURS}:
        apart = abs(losses[OURS] / losses[name] - 1)
        grad = np.linalg.norm(grads[OURS] - grads[name]) / np.linalg.norm(grads[name])
        result[name] = {"loss": apart, "gradient": float(grad)}
        if not apart <= APART[settings["precision"]]:
            raise SystemExit(f"{name} computes another loss: {losses[name]:g}, and {OURS} {losses[OURS]:g}")
    return result


def parts(settings: dict[str, Any]) -> dict[str, Any]:
    """Time the network with its gradient, the whole loss with its gradient, and the optimiser's step."""
    with inputs(settings) as (folder, facts), Engine(OURS, folder, settings) as engine:
        rounds = [
            {
                what: statistics.median(engine.ask("time", what=what, seconds=settings["turn"]))
                for what in ("network", "gradient", "step")
            }
            for _ in range(settings["rounds"] + 1)
        ][1:]
    return facts | {what: statistics.median(found[what] for found in rounds) for what in rounds[0]}


def losses(settings: dict[str, Any]) -> dict[str, Any]:
    """Let ours run from noise with both kinds of convolution, for each seed."""
    evaluations = settings["evaluations"] or 200
    with inputs(settings) as (folder, facts), Engine(OURS, folder, settings) as engine:
        found = [
            {
                way: engine.ask("loss", evaluations=evaluations, seed=seed, convolutions=way)
                for way in ("auto", "direct")
            }
            for seed in range(settings["seeds"])
        ]
    return facts | {"evaluations": evaluations, "losses": found}


def compiling(settings: dict[str, Any]) -> dict[str, Any]:
    """Time the compilation, each time in a new process, with the convolutions as they are and as XLA's."""
    ways: dict[str, list[dict[str, float]]] = {"auto": [], "direct": []}
    with inputs(settings) as (folder, facts):
        for _ in range(min(settings["rounds"], COSTLY)):
            for way, found in ways.items():
                with Engine(OURS, folder, settings) as engine:
                    found.append(engine.ask("compile", convolutions=way))
    return facts | {
        way: {what: statistics.median(seconds[what] for seconds in found) for what in ("gradient", "step")}
        for way, found in ways.items()
    }


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Let torch run for its evaluations, then ours to the lowest loss of that, at most twice as many."""
    evaluations = settings["evaluations"] or 200
    with inputs(settings) as (folder, facts):
        with engines([OURS, *torch_engines(settings)], folder, settings) as running:
            best = fastest(times(running, "gradient", 3, settings["turn"]))
            device = running[0].ask("device")
        with engines([OURS, best], folder, settings) as (our, their):
            rounds = []
            for _ in range(settings["runs"]):
                theirs = their.ask("run", evaluations=evaluations)
                target = min(loss for _, loss in theirs["curve"])
                ours = our.ask("run", evaluations=2 * evaluations, target=target)
                rounds.append({"torch": theirs | reached(theirs, target), OURS: ours | reached(ours, target)})
    ratios = [
        found[OURS]["seconds"] / found["torch"]["seconds"] for found in rounds if found[OURS]["seconds"]
    ]
    ratio = statistics.median(ratios) if len(ratios) == len(rounds) else None
    return facts | {"torch": best, "device": device, "rounds": rounds, "ratio": ratio}


def reached(found: dict[str, Any], target: float) -> dict[str, Any]:
    """Return after how many seconds and evaluations a run's loss was on target; None if never."""
    curve = found["curve"]
    first = curve[0][1]
    for number, (seconds, loss) in enumerate(curve, 1):
        if loss <= target:
            return {"seconds": seconds, "evaluations": number, "loss": loss, "first_loss": first}
    return {"seconds": None, "evaluations": None, "loss": min(loss for _, loss in curve), "first_loss": first}


def memory(settings: dict[str, Any]) -> dict[str, Any]:
    """Measure the most memory of a short run, and compute what the pairs not held yet will add."""
    evaluations = settings["evaluations"] or 5
    result: dict[str, Any] = {"evaluations": evaluations, "engines": {}}
    with inputs(settings) as (folder, facts):
        image = facts["height"] * facts["width"] * 3 * 4
        asked: dict[str, tuple[str, dict[str, str]]] = {
            OURS: (OURS, {"way": settings["memory"]}),
            f"{OURS}, memory: low": (OURS, {"way": "low"}),
        }
        asked |= {name: (name, {}) for name in torch_engines(settings)}
        for called, (name, way) in asked.items():
            with Engine(name, folder, settings) as engine:
                found = engine.ask("memory", evaluations=evaluations, **way)
            missing = 2 * image * (found["history"] - found["pairs_held"])
            result["engines"][called] = found | {"computed_missing_pairs_bytes": missing}
        with contextlib.ExitStack() as stack:
            running = []
            for way in ("fast", "auto", "low"):
                running.append(stack.enter_context(Engine(OURS, folder, settings | {"memory": way})))
                running[-1].name = way
            taken = {engine.name: engine.ask("features") for engine in running}
            found = times(running, "gradient", min(settings["rounds"], COSTLY), settings["turn"])
            ways = {way: {"features_bytes": taken[way], "seconds": found[way]["median"]} for way in taken}
    return facts | result | {"ways": ways}


def startup(settings: dict[str, Any]) -> dict[str, Any]:
    """Time processes from their start: to the first loss without and with programs on disk, and --help.

    The first loss is when its line is in the file of metrics of the run.
    """
    found: dict[str, list[Any]] = {"cold": [], "warm": [], "help": [], "torch": []}
    with inputs(settings) as (folder, facts):
        pictures = [f"{settings['images']}/{facts[name]}" if settings["images"] else facts[name]
                    for name in ("content", "style")]  # fmt: skip
        command = [sys.executable, "-m", "nst_jax", "--content", pictures[0], "--style", pictures[1]]
        command += ["--size", str(settings["size"]), "--weights", settings["weights"]]
        command += ["--set", f"network.pool={settings['pool']}", "--evaluations", "3", "--output", "out.png"]
        command += ["--set", "pyramid.levels=1", "--set", "pyramid.variables=pixels"]
        first_loss(command, environment(settings))  # what is kept in the cache folder, is there from now on
        for _ in range(min(settings["rounds"], COSTLY)):
            with tempfile.TemporaryDirectory() as programs:
                known = environment(settings, JAX_COMPILATION_CACHE_DIR=programs)
                found["cold"].append(first_loss(command, known))
                found["warm"].append(first_loss(command, known))
            begun = time.perf_counter()
            subprocess.run([*command[:3], "--help"], check=True, stdout=subprocess.DEVNULL)
            found["help"].append({"seconds": time.perf_counter() - begun})
            started = time.time()
            with Engine("torch", folder, settings) as engine:
                found["torch"].append({"seconds": engine.ask("first_loss") - started})
    medians = {name: {key: statistics.median(f[key] for f in each) for key in each[0]}
               for name, each in found.items()}  # fmt: skip
    return facts | medians


def first_loss(command: list[str], known: dict[str, str]) -> dict[str, float]:
    """Return seconds from the start of a process to its first loss, and to where its optimisation began."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder, "out.run.partial", "metrics.jsonl")
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=known, stdout=subprocess.DEVNULL)
        text = ""
        while "\n" not in text and process.poll() is None:
            time.sleep(0.005)
            with contextlib.suppress(FileNotFoundError):
                text = metrics.read_text()
        seconds = time.perf_counter() - begun
        if process.wait() or not text:
            raise SystemExit(f"no first loss was seen of: {shlex.join(command)}")
        return {"seconds": seconds, "begins": seconds - json.loads(text.splitlines()[0])["seconds"]}


@contextlib.contextmanager
def others() -> Iterator[dict[str, float]]:
    """Give a record of how much of the machine others took meanwhile; ours must all have ended by then."""

    def seconds() -> tuple[float, float]:
        cpu = psutil.cpu_times()
        own = sum(
            sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return sum(cpu) - cpu.idle - getattr(cpu, "iowait", 0) - own, sum(cpu)

    found: dict[str, float] = {}
    before = seconds()
    yield found
    taken, passed = (after - start for after, start in zip(seconds(), before, strict=True))
    found["others_percent"] = round(max(0.0, 100 * taken / passed), 1)


def about(options: argparse.Namespace) -> dict[str, Any]:
    """Return what must be known of a result: versions, machine, date, commit, command."""
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "torch", "numpy")}
    git = lambda *args: subprocess.run(
        ["git", *args], cwd=HERE.parent, capture_output=True, text=True
    ).stdout.strip()
    shown = [Path(sys.argv[0]).name, *sys.argv[1:]]
    for flag in ("--images", "--out", "--weights"):  # places on this machine say nothing to others
        if flag in shown[:-1]:
            shown[shown.index(flag) + 1] = flag.strip("-").upper()
    return {
        "versions": versions | {"python": platform.python_version()},
        "machine": {
            "cpu": cpu_model(),
            "cores": cores(),
            "memory_bytes": psutil.virtual_memory().total,
        },
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "--short", "HEAD"),
        "uncommitted": bool(git("status", "--porcelain", "--", "nst_jax", "benchmarks")),
        "command": shlex.join(["python", f"benchmarks/{shown[0]}", *shown[1:]]),
        "precision": options.precision,
    }


def cpu_model() -> str:
    """Return the name of the CPU."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Table = tuple[str, list[str], list[list[str]]]


def tables(results: dict[str, list[dict[str, Any]]]) -> Iterator[Table]:
    """Yield title, header and rows of each measure that is there."""
    makers: dict[str, Callable[[list[dict[str, Any]]], tuple[list[str], list[list[str]]]]] = {
        "step": step_table,
        "parts": parts_table,
        "compile": compile_table,
        "run": run_table,
        "loss": loss_table,
        "memory": memory_table,
        "startup": startup_table,
    }
    for name in MEASURES:
        if results.get(name):
            yield (name, *makers[name](results[name]))
            if name == "memory":
                yield ("ways", *ways_table(results[name]))


def place(row: dict[str, Any]) -> list[str]:
    """Return the first cells of each row."""
    return [f"{row['width']} x {row['height']}", row["pool"]]


def step_table(rows):
    """Return the table of one evaluation."""
    header = ["pixels", "pool", "what", "nst_jax, s", "torch, s", "nst_jax / torch", "fastest torch",
              "loss apart", "gradient apart"]  # fmt: skip
    peaks = [row.get("device_peak_bytes", {}) for row in rows]
    on_a_device = any(peak for each in peaks for peak in each.values())
    header += ["nst_jax, peak on the device, MiB", "torch, MiB"] if on_a_device else []
    cells = []
    for row, peak in zip(rows, peaks, strict=True):
        for what, called in (("forward", "loss"), ("gradient", "loss and gradient")):
            if what not in row:
                continue
            found = row[what]
            ours, theirs = (found["engines"][name]["median"] for name in (OURS, found["torch"]))
            apart = row["agreement"][found["torch"]]
            cells.append(
                [*place(row), called, number(ours), number(theirs), f"{found['ratio']:.2f}",
                 found["torch"].removeprefix("torch").strip(" ,") or "default",
                 f"{apart['loss']:.0e}", f"{apart['gradient']:.0e}"]
            )  # fmt: skip
            if on_a_device:
                cells[-1] += [mib(peak.get(name) or 0) for name in (OURS, found["torch"])]
    return header, cells


def parts_table(rows):
    """Return the table of the parts of a step."""
    header = ["pixels", "pool", "step, s", "network", "losses", "optimiser"]
    share = lambda seconds, row: f"{100 * seconds / row['step']:.0f} %"
    return header, [
        [*place(row), number(row["step"]), share(row["network"], row),
         share(row["gradient"] - row["network"], row), share(row["step"] - row["gradient"], row)]
        for row in rows
    ]  # fmt: skip


def loss_table(rows):
    """Return the table of final losses by engine."""
    header = ["pixels", "pool", "evaluations", "seeds", "Winograd / direct: mean", "least", "most"]
    cells = []
    for row in rows:
        ratios = [found["auto"] / found["direct"] for found in row["losses"]]
        middle = sum(found["auto"] for found in row["losses"]) / sum(f["direct"] for f in row["losses"])
        cells.append(
            [*place(row), str(row["evaluations"]), str(len(ratios)),
             f"{middle:.4f}", f"{min(ratios):.4f}", f"{max(ratios):.4f}"]
        )  # fmt: skip
    return header, cells


def ways_table(rows):
    """Return the table of the settings of `memory`."""
    header = ["pixels", "pool", "memory", "features, MiB (from the compiler)", "loss and gradient, s",
              "against fast"]  # fmt: skip
    return header, [
        [*place(row), way, mib(found["features_bytes"]), number(found["seconds"]),
         f"{found['features_bytes'] / row['ways']['fast']['features_bytes']:.2f} of the bytes, "
         f"{found['seconds'] / row['ways']['fast']['seconds']:.2f} of the time"]
        for row in rows
        for way, found in row["ways"].items()
    ]  # fmt: skip


def compile_table(rows):
    """Return the table of compilation."""
    header = ["pixels", "pool", "convolutions", "loss and gradient, s", "optimiser's step, s"]
    ways = {"auto": "as they are", "direct": "XLA's own only"}
    return header, [
        [*place(row), called, number(row[way]["gradient"]), number(row[way]["step"])]
        for row in rows
        for way, called in ways.items()
    ]


def run_table(rows):
    """Return the table of runs to a loss."""
    header = ["pixels", "pool", "loss / first", "torch, evaluations", "torch, s", "nst_jax, evaluations",
              "nst_jax, s", "nst_jax / torch", "compile, s"]  # fmt: skip
    cells = []
    for row in rows:
        ours, theirs = ([found[name] for found in row["rounds"]] for name in (OURS, "torch"))
        target = theirs[0]["loss"] / theirs[0]["first_loss"]
        never = any(found["seconds"] is None for found in ours)
        middle = lambda found, key: statistics.median(one[key] for one in found)
        cells.append(
            [*place(row), f"{target:.4f}",
             f"{middle(theirs, 'evaluations'):g}", number(middle(theirs, "seconds")),
             "not reached" if never else f"{middle(ours, 'evaluations'):g}",
             "" if never else number(middle(ours, "seconds")), "" if never else f"{row['ratio']:.2f}",
             number(ours[0]["compile_seconds"])]
        )  # fmt: skip
    return header, cells


def memory_table(rows):
    """Return the table of memory."""
    header = ["pixels", "pool", "engine", "evaluations", "peak, MiB (measured)", "pairs held",
              "pairs to come, MiB (computed)", "together, MiB"]  # fmt: skip
    device = any(f["device_peak_bytes"] is not None for row in rows for f in row["engines"].values())
    header += ["peak on the device, MiB"] if device else []
    cells = []
    for row in rows:
        for name, found in row["engines"].items():
            missing = found["computed_missing_pairs_bytes"]
            cells.append(
                [*place(row), name, str(row["evaluations"]), mib(found["peak_bytes"]),
                 f"{found['pairs_held']} of {found['history']}", mib(missing),
                 mib(found["peak_bytes"] + missing)]
            )  # fmt: skip
            if device:
                cells[-1].append(mib(found["device_peak_bytes"] or 0))
    return header, cells


def startup_table(rows):
    """Return the table of what comes before the first loss."""
    header = ["pixels", "pool", "process", "until it optimises, s", "until the first loss, s"]
    called = {
        "cold": "nst-jax, nothing compiled before",
        "warm": "nst-jax, again",
        "torch": "torch, arrays read from npz",
        "help": "nst-jax --help (until its end)",
    }
    return header, [
        [*place(row), text, number(row[name]["begins"]) if "begins" in row[name] else "",
         number(row[name]["seconds"])]
        for row in rows
        for name, text in called.items()
    ]  # fmt: skip


def number(value: float) -> str:
    """Return three significant digits."""
    return f"{value:#.3g}".rstrip(".")


def mib(value: float) -> str:
    """Return bytes in MiB."""
    return f"{value / 2**20:.0f}"


def plain(table: Table) -> str:
    """Return a table as text."""
    title, header, rows = table
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in (header, *rows)]  # fmt: skip
    return "\n".join([f"\n{title}", *lines])


def markdown(table: Table) -> str:
    """Return a table as markdown."""
    title, header, rows = table
    line = lambda cells: f"| {' | '.join(cells)} |"
    return "\n".join([f"<!-- {title} -->", line(header), line(["---"] * len(header)), *map(line, rows)])


def as_markdown(found: dict[str, Any]) -> str:
    """Return what the tables are of, and the tables."""
    facts, versions, machine = found["about"], found["about"]["versions"], found["about"]["machine"]
    commit = facts["commit"] + (" with uncommitted changes" if facts["uncommitted"] else "")
    every = [row["device"] for rows in found["results"].values() for row in rows if "device" in row]
    devices = {device["name"] for device in every if device["kind"] != "cpu"}
    hardware = ", ".join([*sorted(devices), f"{machine['cores']} cores of {machine['cpu']}"])
    busy = max(row["others_percent"] for rows in found["results"].values() for row in rows)
    lines = [
        "  \n".join(f"`{command}`" for command in found["commands"]),
        "",
        f"{hardware}, {machine['memory_bytes'] / 2**30:.0f} GiB; {facts['date'][:10]}, commit {commit}; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}; {facts['precision']}; "
        f"others took up to {busy:.0f} % of the machine.",
    ]
    return "\n\n".join(["\n".join(lines), *map(markdown, tables(found["results"]))])


def joined(every: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what files hold, with those of one machine, day, commit and precision as one."""
    found: dict[str, dict[str, Any]] = {}
    for one in every:
        about = one["about"] | {"command": "", "date": one["about"]["date"][:10]}
        whole = found.setdefault(json.dumps(about), {"about": about, "commands": [], "results": {}})
        whole["commands"].append(one["about"]["command"])
        for measure, rows in one["results"].items():
            whole["results"].setdefault(measure, []).extend(rows)
    return list(found.values())


def main() -> None:
    """Measure and print the tables; write everything to a file after each measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="256", help="pixels of each side, several by commas")
    parser.add_argument("--pool", default="avg", help="avg, max or both")
    parser.add_argument("--measure", default=",".join(MEASURES), help="what, by commas (default: all)")
    parser.add_argument("--what", default="forward,gradient", help="of step: the loss alone, with gradient")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each engine (default: 7)")
    parser.add_argument("--turn", type=float, default=0.5, help="seconds of a turn, at least (default: 0.5)")
    parser.add_argument("--runs", type=int, default=1, help="rounds of whole runs (default: 1)")
    parser.add_argument("--seeds", type=int, default=5, help="of the noise, for the loss (default: 5)")
    parser.add_argument("--evaluations", type=int, help="of runs (default: 200; for memory: 5)")
    parser.add_argument("--history", type=int, help="pairs of L-BFGS (default: torch 100, ours its own)")
    parser.add_argument("--images", metavar="DIR", help="folder of the two pictures (default: samples)")
    parser.add_argument("--weights", default="vgg19", help="as in a config (default: vgg19)")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--memory", choices=("auto", "fast", "low"), default="auto", help="of nst_jax")
    parser.add_argument("--precision", choices=APART, default="f32")
    parser.add_argument("--compiled", action="store_true", help="torch.compile too (on a GPU always)")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--markdown", type=Path, nargs="+", metavar="FILE.json")
    options = parser.parse_args()
    if options.markdown:
        files = [json.loads(file.read_text()) for file in options.markdown]
        print("\n\n".join(map(as_markdown, joined(files))))
        return
    makers = {"step": step, "compile": compiling, "run": run, "memory": memory, "startup": startup}
    makers |= {"parts": parts, "loss": losses}
    unknown = set(options.measure.split(",")) - set(makers)
    if unknown or set(options.pool.split(",")) - {"avg", "max"}:
        parser.error(f"--measure takes {', '.join(makers)}; --pool takes avg, max")
    settings = vars(options) | {"cores": cores(), "compiled": options.compiled or on_gpu(options)}
    settings["images"] = settings["images"] and str(Path(settings["images"]).resolve())
    for name in ("out", "markdown"):
        settings.pop(name)
    found: dict[str, Any] = {"about": about(options), "results": {}}
    for measure in options.measure.split(","):
        rows = found["results"].setdefault(measure, [])
        for size in map(int, options.size.split(",")):
            for pool in options.pool.split(","):
                print(f"{measure} {size} {pool}", file=sys.stderr)
                with others() as taken:
                    row = makers[measure](settings | {"size": size, "pool": pool})
                rows.append({"pool": pool} | row | taken)
                if taken["others_percent"] > BUSY:
                    print(
                        f"not fair: others took {taken['others_percent']:.0f} % of the machine",
                        file=sys.stderr,
                    )
                if options.out:
                    options.out.write_text(json.dumps(found, indent=1) + "\n")
    for table in tables(found["results"]):
        print(plain(table))


def on_gpu(options: argparse.Namespace) -> bool:
    """Tell whether torch has a GPU, asked in another process."""
    code = "import torch; print(torch.cuda.is_available())"
    return options.device != "cpu" and "True" in subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    ).stdout  # fmt: skip


if __name__ == "__main__":
    main()
