"""How many programs were compiled so far: a slider that moves asks for none."""

_counted = [0]


def begin() -> None:
    """Begin to count; imports JAX."""
    import jax

    if _compiled not in _listening:
        _listening.append(_compiled)
        jax.monitoring.register_event_duration_secs_listener(_compiled)


def count() -> int:
    """Return how many were compiled, or read from the cache, since `begin`."""
    return _counted[0]


def _compiled(event: str, duration_secs: float, **about: str | int) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _counted[0] += 1


_listening: list[object] = []
