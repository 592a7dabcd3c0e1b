"""Grids of small pictures on a narrow network, prepared and solved; also for processes that tests start."""

from nst_jax import config
from nst_jax.runs import inputs
from nst_jax.transfer import lanes
from nst_jax.transfer import problem as tasks

WEIGHTS = (10.0, 100.0, 1000.0, 3000.0, 1e4)


def options(**changes):
    return (
        inputs.options(config.load(base={"content": "a.png", "style": "b.png"}))
        | {"evaluations": 12}
        | changes
    )


def prepare(pair, narrow, *, init="content", **changes):
    fitted = tasks.fitted(*pair)
    return tasks.prepare(*fitted, params=narrow, init=init, **options(**changes))


def grid(pair, narrow, *, weights=WEIGHTS, **changes):
    return dict(enumerate(lanes.align([prepare(pair, narrow, style_weight=w, **changes) for w in weights])))


def solve(ready, **changes):
    """Return results and curves by number, and whether all was done."""
    found = {}
    whole = lanes.run(ready, done=lambda index, *result: found.__setitem__(index, result), **changes)
    return found, whole
