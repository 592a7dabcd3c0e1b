"""The workers of a Ray cluster: one on each device, as nodes come and go."""

import contextlib
import os
from dataclasses import dataclass

from nst_jax.errors import ConfigError
from nst_jax.runs import records
from nst_jax.runs.ray.worker import About, Worker
from nst_jax.typing import Json

ALIKE = ("nst_jax", "jax", "jaxlib")
"""Packages of which this process and workers have the same versions."""

_CHOSEN_THERE = ("JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR")
"""Of the variables that JAX reads, those that are each machine's own."""


@dataclass(eq=False)
class Hand:
    """A worker as it is known here."""

    actor: Json
    node: str
    host: str
    is_known: bool = False
    """Whether it has said what it is, since it was started last."""
    called: float = float("-inf")
    """When it was asked that."""


class Crew:
    """The workers.

    Args:
        ray: the library, connected.
        kind: of devices, in JAX's words; empty: GPUs if there are any.
        most: so many workers; None: as many as there are devices.

    Raises:
        ConfigError: there is no such device.
    """

    def __init__(self, ray: Json, kind: str, most: int | None) -> None:
        self.ray, self.kind, self.most = ray, kind, most
        self.hands: list[Hand] = []
        self.has_gpus = kind != "cpu" and any(_count(node, "GPU") for node in self.nodes())
        if kind not in ("", "cpu") and not self.has_gpus:
            raise ConfigError(f"JAX_PLATFORMS={kind}: no node of the Ray cluster has a GPU; leave it out")

    def nodes(self) -> list[Json]:
        """Return the nodes that are there."""
        return [node for node in self.ray.nodes() if node["Alive"]]

    def is_there(self, hand: Hand) -> bool:
        """Tell whether the node of a worker is there."""
        return any(node["NodeID"] == hand.node for node in self.nodes())

    @property
    def room(self) -> int:
        """How many workers there may be now."""
        devices = sum(map(self._devices, self.nodes()))
        return devices if self.most is None else min(devices, self.most)

    def _devices(self, node: Json) -> int:
        return _count(node, "GPU") if self.has_gpus else min(1, _count(node, "CPU"))

    def store(self) -> int:
        """Return the bytes of the object store of this node."""
        own = self.ray.get_runtime_context().get_node_id()
        return sum(_count(node, "object_store_memory") for node in self.nodes() if node["NodeID"] == own)

    def recruit(self) -> None:
        """Start a worker on each device that has none, and forget those of nodes that are gone."""
        nodes = self.nodes()
        there = {node["NodeID"] for node in nodes}
        for hand in self.hands:
            if hand.node not in there:
                self.ray.kill(hand.actor)
        self.hands = [hand for hand in self.hands if hand.node in there]
        for node in nodes:
            devices = self._devices(node) - sum(hand.node == node["NodeID"] for hand in self.hands)
            wanted = devices if self.most is None else min(devices, self.most - len(self.hands))
            self.hands += [self._hired(node) for _ in range(wanted)]

    def _hired(self, node: Json) -> Hand:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cores = _count(node, "CPU")
        actor = self.ray.remote(
            num_gpus=int(self.has_gpus),
            num_cpus=0 if self.has_gpus else cores,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=max(1, cores),
            concurrency_groups={"talk": 1},
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        )(Worker)
        environment = {
            name: value
            for name, value in os.environ.items()
            if name == "XLA_FLAGS" or (name.startswith("JAX_") and name not in _CHOSEN_THERE)
        }
        environment["JAX_PLATFORMS"] = self.kind if self.has_gpus else "cpu"
        return Hand(actor.remote(environment, cores), node["NodeID"], node["NodeManagerHostname"])

    def check(self, about: About) -> None:
        """Refuse a worker that would not paint the same pictures, or not where it should.

        Raises:
            ConfigError: its versions are others, or it has no GPU.
        """
        mine = records.versions()
        for name in ALIKE:
            if about.versions[name] != mine[name]:
                what = f"worker {about.host} has {name} {about.versions[name]}, this machine {mine[name]}"
                raise ConfigError(f"{what}: install the same version on both")
        if self.has_gpus and about.platform == "cpu":
            what = f"worker {about.host} was given a GPU by Ray, but its JAX has none"
            raise ConfigError(f"{what}: pip install 'nst_jax[cuda13]' there, or nst_jax[cuda12]")

    def dismiss(self) -> None:
        """End all workers, and what they are at."""
        for hand in self.hands:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self.ray.kill(hand.actor)
        self.hands = []


def _count(node: Json, resource: str) -> int:
    return int(node["Resources"].get(resource, 0))
