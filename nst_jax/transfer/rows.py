"""One picture over several devices: each has some of its rows, and of whatever is as tall as it.

The program is the same; XLA divides it. Convolutions exchange their rows at the borders (collective-permute)
and sums are added up over all devices (all-reduce); nothing is gathered on one of them. Devices may be those
of several `hosts`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nst_jax.errors import SettingError
from nst_jax.losses.terms import StyleTerm, is_even
from nst_jax.settings import Settings
from nst_jax.solvers import streamed
from nst_jax.transfer import hosts
from nst_jax.typing import Tree

MULTIPLE = 16
"""Each device has a multiple of so many rows, so that poolings to the fifth block find their pairs there."""


def devices() -> tuple[jax.Device, ...]:
    """Return all devices of all hosts, those of a host one after the other: its rows are neighbours."""
    return tuple(sorted(jax.devices(), key=lambda device: (device.process_index, device.id)))


def are_possible(height: int, devices: Sequence[jax.Device]) -> bool:
    """Tell whether a picture of some height can be divided."""
    return len(devices) > 1 and height % (MULTIPLE * len(devices)) == 0


def check(settings: Settings, term: StyleTerm, shape: tuple[int, ...], devices: Sequence[jax.Device]) -> None:
    """Raise SettingError for a picture that cannot be divided; for its height, with a size that can be."""
    if not (is_even(term) and settings.content.kind == "features"):
        what = "is for style.kind gram, moments or w2, without maps or masks, and content.kind features"
        raise SettingError.at("devices", f"rows {what}")
    if settings.solver.history_on in streamed.PLACES:
        what = (
            f"rows divides the history too: solver.history_on {settings.solver.history_on} is for one device"
        )
        raise SettingError.at("devices", what)
    bands = settings.pyramid.variables == "laplacian"
    if settings.solver.kind == "lbfgsb" or settings.solver.carry or bands:
        what = "rows is for solver.kind lbfgs, or adam without carry, with pyramid.variables pixels"
        raise SettingError.at("devices", what)
    count, height = len(devices), shape[0]
    if count < 2 or are_possible(height, devices):
        return
    multiple = MULTIPLE * count
    if height < multiple:
        what = f"has less than {MULTIPLE} rows for each of {count} devices"
        raise SettingError.at("devices", f"a picture {height} pixels high {what}")
    near = height // multiple * multiple
    longest = round(max(shape[:2]) * near / height)
    what = f"with {count} devices a picture's height should be a multiple of {multiple}, is {height}"
    raise SettingError.at("devices", f"{what}: use a size of about {longest}, for a height of {near}")


def shardings(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """Return for arrays or shapes how they lie: ``(.., height, width, channels)`` by rows, others whole.

    What is not divisible, such as the features of small layers, lies whole on each device as well.
    """
    mesh = Mesh(np.asarray(devices), ("rows",))

    def of(leaf: Any) -> NamedSharding:
        axes: list[str | None] = [None] * leaf.ndim
        if leaf.ndim >= 3 and leaf.shape[-3] % len(devices) == 0:
            axes[-3] = "rows"
        return NamedSharding(mesh, PartitionSpec(*axes))  # type: ignore[no-untyped-call]

    return jax.tree.map(of, tree)


def everywhere(devices: Sequence[jax.Device]) -> NamedSharding:
    """Return how what all devices share lies: whole on each."""
    return NamedSharding(Mesh(np.asarray(devices), ("rows",)), PartitionSpec())  # type: ignore[no-untyped-call]


def placed(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """Put arrays where they are to lie."""
    return jax.tree.map(_put, tree, shardings(tree, devices))


def whole(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """Put the arrays of the first host on each device of all as a whole."""
    found, where = hosts.agreed(tree), everywhere(devices)
    return jax.tree.map(lambda leaf: _put(leaf, where), found)


def _put(leaf: Any, where: NamedSharding) -> Array:
    """Put an array on devices, of which some may be of other hosts; these have the same array."""
    if where.is_fully_addressable or not getattr(leaf, "is_fully_addressable", True):
        found: Array = jax.device_put(leaf, where)
        return found
    known = np.asarray(leaf)
    return jax.make_array_from_callback(known.shape, where, lambda index: known[index])
