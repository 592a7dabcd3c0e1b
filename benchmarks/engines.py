"""The engines that speed.py measures, each in a process of its own that answers questions on a pipe.

python benchmarks/engines.py inputs FOLDER SETTINGS      writes what all engines read, as npz
python benchmarks/engines.py ENGINE FOLDER SETTINGS      answers lines of JSON: {"ask": NAME, ...}

Started by speed.py. Only the process of an engine imports its library.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TORCH = {
    "torch": {},
    "torch channels_last": {"channels_last": True},
    "torch channels_last compiled": {"channels_last": True, "compiled": True},
}
"""Engines made by `baseline.build`, and its options."""

OURS = "nst_jax"
CONVENTION = "gatys2016"

Answers = dict[str, Callable[..., Any]]


def write_inputs(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Write the network and the images at their size, and return what they are.

    Both are the square in the middle of a picture, resized to ``size`` pixels, enlarged if need be.
    """
    from nst_jax import images, load_network, samples
    from nst_jax.networks import vgg

    def read(file: str, sample: str) -> tuple[str, np.ndarray]:
        if settings["images"]:
            return file, images.read(Path(settings["images"]) / file).rgb
        return f"sample:{sample}", samples.load(sample)

    content_name, content = read("tuebingen_neckarfront.jpg", "coffee")
    style_name, style = read("starry_night.jpg", "starry_swirls")
    shape = (settings["size"], settings["size"])
    content, style = (images.resize(square(picture), shape) for picture in (content, style))
    network = load_network(settings["weights"], pool=settings["pool"])  # normalised, as the convention has it
    arrays = {
        f"{name}/{part}": np.asarray(array)
        for name, layer in network.params.items()
        for part, array in layer.items()
    }
    inputs = {"content": np.asarray(vgg.to_input(content)), "style": np.asarray(vgg.to_input(style))}
    np.savez(folder / "network.npz", **arrays)
    np.savez(folder / "images.npz", content=content, style=style)
    np.savez(folder / "inputs.npz", **inputs)
    return {
        "height": shape[0],
        "width": shape[1],
        "content": content_name,
        "style": style_name,
        "network": network.record(),
    }


def square(picture: np.ndarray) -> np.ndarray:
    """Return the square in the middle."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


def read_network(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return parameters by layer."""
    params: dict[str, dict[str, np.ndarray]] = {}
    with np.load(folder / "network.npz") as file:
        for name in file.files:
            layer, _, part = name.partition("/")
            params.setdefault(layer, {})[part] = file[name]
    return params


def read_images(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return content and style: RGB in [0, 1] of ``images``, or the network's input of ``inputs``."""
    with np.load(folder / f"{name}.npz") as file:
        return file["content"], file["style"]


def trial(content: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Return the image at which engines are compared: a blend, for at the content one term is zero."""
    return 0.7 * content + 0.3 * style


def ours(folder: Path, settings: dict[str, Any]) -> Answers:
    """Return what nst_jax answers."""
    from functools import cache, partial

    import jax
    import jax.numpy as jnp

    from nst_jax import Network, Settings, stylize
    from nst_jax.networks import vgg
    from nst_jax.transfer import memory as fitting
    from nst_jax.transfer import objective, problem, program
    from nst_jax.transfer.pictures import Pictures
    from nst_jax.transfer.targets import targets_of

    base = Settings().with_values(
        {
            "loss.convention": CONVENTION,
            "loss.total_variation": 0.0,
            "pyramid.levels": 1,
            "pyramid.variables": "pixels",
            "style.layers": [f"conv{block}_1" for block in range(1, 6)],  # named, so that all count alike
            "network.pool": settings["pool"],
            "solver.history": settings["history"],
            "memory": settings["memory"],
            "precision": settings["precision"],
        }
    )
    pair = read_images(folder, "images")
    network = Network(jax.tree.map(jnp.asarray, read_network(folder)), "benchmark", "", "", "")

    def posed(**more: Any) -> problem.Problem:
        return problem.make_problem(Pictures(*pair), base.with_values(more), network)

    def arguments(of: problem.Problem) -> tuple[Any, ...]:
        params = of.prepared()
        return params, targets_of(of, params), jax.tree.map(jnp.asarray, fitting.as_float32(of.weights))

    def gradient(of: problem.Problem) -> Any:
        return jax.jit(jax.value_and_grad(partial(objective.loss, **of.program.seeing), has_aux=True))

    def forward(of: problem.Problem) -> Any:
        return jax.jit(lambda *args: objective.loss(*args, **of.program.seeing)[0])

    def compiled(of: problem.Problem, function: Any, *args: Any, **static: Any) -> tuple[Any, float]:
        begun = time.perf_counter()
        with of.program.precisely():
            found = function.lower(*args, **static).compile()
        return found, time.perf_counter() - begun

    @cache
    def start() -> tuple[problem.Problem, Any, tuple[Any, ...]]:
        """Return the problem, the image to begin with, and what else functions of it take."""
        fitted, _ = fitting.fit(posed())
        return fitted, fitted.first_image(), arguments(fitted)

    @cache
    def evaluate() -> Any:
        fitted, x, args = start()
        found = compiled(fitted, gradient(fitted), x, *args)[0]
        return lambda x: found(x, *args)

    def network_alone() -> Callable[[], Any]:
        """Stand for the network alone: the gradient of the sum of what the losses would see."""
        fitted, x, (params, *_) = start()
        layers = (*fitted.weights.content_layers, *fitted.weights.style_layers)
        seeing = {name: fitted.program.seeing[name] for name in ("pool", "padding", "engine")}

        def seen(x: Any, params: Any) -> Any:
            return sum(jnp.sum(F) for F in vgg.features(params, x, layers=layers, **seeing).values())

        return partial(compiled(fitted, jax.jit(jax.grad(seen)), x, params)[0], x, params)

    def taking_steps() -> Callable[[], Any]:
        fitted, x, args = start()
        take, states = program.compiled(fitted.program, fitting.shapes_of(fitted)), []

        def step() -> Any:
            if not states:
                states.append(program.start(x, args, program=fitted.program))
            states[0] = take(states[0], args)
            return float(states[0].value)  # as a look at the loss: it crosses to the host

        return step

    def looking() -> Callable[[], Any]:
        fitted, x, args = start()
        return partial(compiled(fitted, forward(fitted), x, *args)[0], x, *args)

    makers = {
        "network": network_alone,
        "step": taking_steps,
        "forward": looking,
        "gradient": lambda: partial(evaluate(), start()[1]),
    }

    @cache
    def call(what: str) -> Callable[[], Any]:
        """Return what is timed, compiled when it is first asked for."""
        return makers[what]()

    def agree() -> float:
        (value, _), grad = evaluate()(jnp.asarray(trial(*read_images(folder, "inputs"))))
        return agreed(folder, OURS, float(value), np.asarray(grad))

    def compiling(convolutions: str) -> dict[str, float]:
        """Time what is compiled; ``direct``: with XLA's own convolutions only."""
        found = posed(**{"network.engine": convolutions})
        shapes = fitting.shapes_of(found)
        seconds = compiled(found, gradient(found), shapes.state.x, *shapes.args)[1]
        step = compiled(found, program.step, shapes.state, shapes.args, program=found.program)[1]
        return {"gradient": seconds, "step": step}

    def features() -> int:
        """Return the bytes that an evaluation takes, as the compiler says."""
        return int(fitting.fit(posed())[1].features)

    def loss(evaluations: int, seed: int, convolutions: str) -> float:
        """Return the loss that a run from noise ends with."""
        given = base.with_values({"network.engine": convolutions, "init": "noise"})
        return float(stylize(*pair, given, seed=seed, evaluations=evaluations, network=network).loss)

    def run(evaluations: int, target: float) -> dict[str, Any]:
        """Optimise as `stylize` does, but looking at each evaluation, until the loss is on target."""
        begun = time.perf_counter()
        fitted, _ = fitting.fit(posed())
        step = program.compiled(fitted.program, fitting.shapes_of(fitted))
        compiling = time.perf_counter() - begun
        args = arguments(fitted)
        state = program.start(fitted.first_image(), args, program=fitted.program)
        jax.block_until_ready((state, args))
        begun, setup = time.perf_counter(), time.perf_counter() - begun
        curve: list[tuple[float, float]] = []
        while len(curve) < evaluations:
            state = step(state, args)
            value, status = float(state.value), int(state.status)
            curve.append((time.perf_counter() - begun, value))
            if value <= target or status:
                break
        found = {"setup_seconds": setup, "compile_seconds": compiling}
        return found | {"history": fitted.program.solver.history, "curve": curve}

    def peak() -> int | None:
        """Return the most bytes that were ever in use on the device; None of a CPU."""
        stats = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
        return stats and stats.get("peak_bytes_in_use")

    def whole(evaluations: int, way: str) -> dict[str, Any]:
        """Paint a picture by the public function, and return the memory taken."""
        before = memory("VmRSS")
        given = base.with_values({"memory": way})
        stylize(*pair, given, evaluations=evaluations, network=network)
        found = {"before_bytes": before, "peak_bytes": memory("VmHWM"), "device_peak_bytes": peak()}
        history = fitting.fit(posed(memory=way))[0].program.solver.history
        return found | {"history": history, "pairs_held": history}

    return {
        "device": lambda: {
            "kind": "cuda" if jax.default_backend() == "gpu" else jax.default_backend(),
            "name": jax.devices()[0].device_kind,
        },
        "time": lambda what, seconds: timed(lambda: jax.block_until_ready(call(what)()), seconds),
        "agree": agree,
        "peak": peak,
        "compile": compiling,
        "run": run,
        "memory": whole,
        "features": features,
        "loss": loss,
    }


def theirs(name: str, folder: Path, settings: dict[str, Any]) -> Answers:
    """Return what a torch engine answers."""
    import baseline
    import torch

    torch.set_num_threads(settings["cores"])
    cuda = settings["device"] != "cpu" and torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    content, style = read_images(folder, "inputs")
    objective = baseline.build(
        read_network(folder),
        content,
        style,
        pool=settings["pool"],
        convention=CONVENTION,
        device=device,
        precision=settings["precision"],
        **TORCH[name],
    )
    x, history = baseline.to_tensor(content, device), settings["history"] or 100
    calls = {"forward": lambda: objective.forward(x), "gradient": lambda: objective.value_and_grad(x)}

    def call(what: str) -> None:
        calls[what]()
        if cuda:
            torch.cuda.synchronize()

    def agree() -> float:
        value, grad = objective.value_and_grad(baseline.to_tensor(trial(content, style), device))
        return agreed(folder, name, float(value), grad[0].permute(1, 2, 0).cpu().numpy())

    def peak() -> int | None:
        return torch.cuda.max_memory_allocated() if cuda else None

    def run(evaluations: int) -> dict[str, Any]:
        for _ in range(2):  # warm
            call("gradient")
        curve = baseline.run(objective, x, evaluations=evaluations, history=history)
        return {"curve": curve, "history": history}

    def whole(evaluations: int) -> dict[str, Any]:
        before = memory("VmRSS")
        baseline.run(objective, x, evaluations=evaluations, history=history)
        return {
            "before_bytes": before,
            "peak_bytes": memory("VmHWM"),
            "device_peak_bytes": peak(),
            "history": history,
            "pairs_held": min(history, evaluations - 1),
        }

    def first_loss() -> float:
        baseline.run(objective, x, evaluations=1)
        return time.time()

    return {
        "device": lambda: {"kind": device, "name": torch.cuda.get_device_name() if cuda else "cpu"},
        "time": lambda what, seconds: timed(lambda: call(what), seconds),
        "agree": agree,
        "peak": peak,
        "run": run,
        "memory": whole,
        "first_loss": first_loss,
    }


def timed(call: Callable[[], Any], seconds: float) -> list[float]:
    """Return the seconds of each of some calls, which take about so many seconds together, but at least one.

    The first call of a turn is not counted where calls are short: the other engines have emptied the caches.
    """
    found: list[float] = []
    begun = time.perf_counter()
    while not found or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found[1:] or found


def agreed(folder: Path, name: str, value: float, grad: np.ndarray) -> float:
    """Leave the gradient for speed.py to compare, and return the loss."""
    np.save(folder / f"{name}.npy", grad)
    return value


def memory(what: str) -> int:
    """Return bytes of this process: ``VmRSS``, resident now, or ``VmHWM``, the most that ever were."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def main() -> None:
    """Answer until the pipe is closed."""
    # What libraries print must not come between the answers.
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, folder, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    if name == "inputs":
        print(json.dumps(write_inputs(folder, settings)), file=pipe)
        return
    answers = ours(folder, settings) if name == OURS else theirs(name, folder, settings)
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(answers[question.pop("ask")](**question)), file=pipe)


if __name__ == "__main__":
    main()
