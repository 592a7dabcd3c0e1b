"""How many programs were compiled so far: a slider that moves asks for none."""

import functools

_counted = [0]


@functools.cache
def begin() -> None:
    """Begin to count, unless that was begun already; imports JAX."""
    import jax

    jax.monitoring.register_event_duration_secs_listener(_compiled)


def count() -> int:
    """Return how many were compiled, or read from the cache, since `begin`."""
    return _counted[0]


def _compiled(event: str, duration_secs: float, **about: str | int) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _counted[0] += 1
