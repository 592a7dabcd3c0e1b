from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.transfer import machine

GIB = 2**30


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A machine with 64 GiB free, in no container; its folder may be given a container's files."""
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * GIB))
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    return tmp_path


def contain(folder, *, limit, current, inactive):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\nactive_file 7\ninactive_file {inactive}\nslab 9\n")


def cpus(count):
    return [SimpleNamespace(platform="cpu", memory_stats=lambda: None)] * count


def gpu(**stats):
    return SimpleNamespace(platform="gpu", memory_stats=lambda: stats or None)


def compiled(fun, *args, **options):
    return jax.jit(fun, **options).lower(*args).compile()


def test_arguments_are_counted_to_the_byte():
    args = np.zeros((100, 201), np.float32), {"a": np.zeros(7, np.int32), "b": np.zeros((3, 2), np.uint8)}
    program = compiled(lambda x, more: (x @ x.T).sum() + more["a"].sum() + more["b"].max(), *args)
    assert machine.taken(program)[0] == sum(leaf.nbytes for leaf in jax.tree.leaves(args))


def test_the_rest_is_outputs_and_what_cannot_be_fused_away():
    x = np.zeros(1000, np.float32)
    assert machine.taken(compiled(lambda x: x + 1, x)) == (4000, 4000)
    table = machine.taken(compiled(lambda x: jnp.sort(jnp.outer(x, x).ravel())[:10], x))
    assert table[1] >= 4 * 10**6


def test_a_result_in_the_place_of_an_argument_is_counted_once():
    assert machine.taken(compiled(lambda x: x + 1, jnp.zeros(1000), donate_argnums=0)) == (4000, 0)


def test_a_back_end_that_does_not_tell():
    assert machine.taken(SimpleNamespace(memory_analysis=lambda: None)) == (0, 0)


def test_of_devices_with_memory_of_their_own_the_fullest_decides(host):
    roomy, full = (gpu(bytes_limit=80 * GIB, bytes_in_use=used * GIB) for used in (0, 70))
    assert machine.usable([roomy]) == int(0.8 * 80 * GIB)
    assert machine.usable([roomy, full, roomy]) == int(0.8 * 10 * GIB)
    assert machine.usable([gpu(bytes_limit=80 * GIB)]) == int(0.8 * 80 * GIB)


def test_devices_of_the_host_share_its_memory(host):
    assert machine.usable(cpus(1)) == int(0.8 * 64 * GIB)
    assert machine.usable(cpus(4)) == int(0.8 * 16 * GIB)


@pytest.mark.parametrize("silent", [gpu(), gpu(num_allocs=3)])
def test_devices_that_do_not_tell_are_taken_for_the_hosts(host, silent):
    assert machine.usable([silent, silent]) == int(0.8 * 32 * GIB)


def test_a_container_has_what_its_limit_leaves_and_files_can_be_let_go(host):
    contain(host, limit=16 * GIB, current=10 * GIB, inactive=4 * GIB)
    assert machine.usable(cpus(2)) == int(0.8 * 5 * GIB)


def test_a_container_has_no_more_than_its_machine(host):
    contain(host, limit=1000 * GIB, current=GIB, inactive=0)
    assert machine.usable(cpus(1)) == int(0.8 * 64 * GIB)


def test_a_full_container_has_nothing(host):
    contain(host, limit=GIB, current=2 * GIB, inactive=5)
    assert machine.usable(cpus(1)) == 0


@pytest.mark.parametrize("stat", ["anon 5\n", "inactive_file many\n", ""])
def test_a_container_without_a_limit_or_of_another_kind(host, stat):
    contain(host, limit="max", current=10 * GIB, inactive=0)
    assert machine.usable(cpus(1)) == int(0.8 * 64 * GIB)
    contain(host, limit=GIB, current=0, inactive=0)
    (host / "memory.stat").write_text(stat)
    assert machine.usable(cpus(1)) == int(0.8 * 64 * GIB)


def test_of_this_machine():
    assert 0 < machine.usable(jax.devices()) < 2**60


def test_a_container_of_the_first_kind(host):
    (host / "memory").mkdir()
    for name, text in (
        ("limit_in_bytes", str(8 * GIB)),
        ("usage_in_bytes", str(3 * GIB)),
        ("stat", f"cache 1\ninactive_file 7\ntotal_inactive_file {GIB}\n"),
    ):
        (host / "memory" / f"memory.{name}").write_text(f"{text}\n")
    assert machine.usable(cpus(1)) == int(machine.SHARE * 6 * GIB)
    (host / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712")  # no limit
    assert machine.usable(cpus(1)) == int(machine.SHARE * 64 * GIB)


def test_a_limit_is_of_the_whole_process_on_a_cpu(host):
    held = machine.psutil.Process().memory_info().rss
    assert machine.usable(cpus(1), 2**20) == 0
    limit = held + 5 * GIB
    assert machine.usable(cpus(1), limit) == pytest.approx(0.95 * limit - held, rel=0.01)
    assert machine.usable(cpus(1), 2**50) == int(0.8 * 64 * GIB)


def test_a_limit_is_of_each_device_otherwise():
    device = gpu(bytes_limit=80 * GIB, bytes_in_use=10 * GIB)
    assert machine.usable([device], 40 * GIB) == (38 - 10) * GIB


def test_memory_is_given_back_where_the_c_library_can(monkeypatch):
    calls = []
    monkeypatch.setattr(
        machine.ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=lambda pad: calls.append(pad))
    )
    machine.give_back()
    assert calls == [0]
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: SimpleNamespace())
    machine.give_back()  # without it, nothing happens


def test_without_a_c_library_nothing_is_given_back(monkeypatch):
    def without(name):
        raise OSError("no such library")

    monkeypatch.setattr(machine.ctypes, "CDLL", without)
    machine.give_back()
