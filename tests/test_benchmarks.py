"""The benchmarks that need no time on a device run as the pages say, but small."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
VGG19 = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,))
"""Channels of its layers down to conv5_1, by block."""


def compiled(*options, programs=("single", "batch", "rows")):
    """Return what devices.py prints, by program and column."""
    command = [sys.executable, str(BENCHMARKS / "devices.py"), *options, "--programs", *programs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    columns, _, *rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    named = (dict(zip(columns, row, strict=True)) for row in rows)
    return dict(zip(programs, named, strict=True))


def collectives(row):
    counts = [each.split() for each in row["collectives"].split(", ") if each != "none"]
    return {kind: int(number) for number, kind in counts}


def multiplications(size):
    """Return those of the loss: nine for each position, channel in and channel out of each layer."""
    before, found = 3, 0
    for block, layers in enumerate(VGG19):
        for channels in layers:
            found += 9 * (size >> block) ** 2 * before * channels
            before = channels
    return found


def test_devices_compiles_for_two_that_are_one_cpu():
    """A batch needs no other device, rows their neighbours; XLA finds the arithmetic that the network has."""
    found = compiled("--for", "cpu", "--size", "64", "--chips", "2", "--batch", "4")
    assert collectives(found["single"]) == collectives(found["batch"]) == {}
    assert collectives(found["rows"]).keys() == {"all-reduce", "collective-permute"}
    # Loss and gradient have as many each, of a multiplication and an addition; the rest is little beside it.
    expected = 4 * multiplications(64)
    for name, share in {"single": 1, "batch": 4 / 2, "rows": 1 / 2}.items():
        for column in ("operations, 1e9 a chip", "operations by XLA"):
            assert 1e9 * float(found[name][column]) == pytest.approx(expected * share, rel=0.25), (
                name,
                column,
            )
    rest = {name: float(row["rest, MiB a chip"]) for name, row in found.items()}
    assert rest["rows"] < rest["single"] < rest["batch"]


def test_devices_reads_what_it_compiled():
    """All products are found, float32, and twice in a batch of two; the step has its loops and no host."""
    found = compiled(
        *("--for", "cpu", "--size", "64", "--batch", "2", "--chips", "1", "--text"),
        programs=("single", "batch", "gradient"),
    )
    for name, times in {"single": 1, "batch": 2, "gradient": 1}.items():
        number, kind = found[name]["products, 1e9"].split()
        assert kind == "f32"
        expected = 4 * times * multiplications(64)  # to which Gram matrices add little
        assert 1e9 * float(number) == pytest.approx(expected, rel=0.05), name
        assert found[name]["by host"] == "0"
    assert found["gradient"]["convolutions"] == "26 NHWC"
    assert int(found["gradient"]["calls"]) < int(found["single"]["calls"])


TEXT = """HloModule step, entry_computation_layout={...}

%moving (p: f32[4,8]) -> f32[8,4] {
  %p = f32[4,8]{1,0} parameter(0)
  ROOT %t = f32[8,4]{1,0} transpose(%p), dimensions={1,0}
}

%renewing (q: f32[10,6], r: s32[]) -> f32[10,6] {
  %q = f32[10,6]{1,0} parameter(0)
  %r = s32[] parameter(1)
  %zero = s32[] constant(0)
  %row = f32[1,6]{1,0} dynamic-slice(%q, %r, %zero), dynamic_slice_sizes={1,6}
  %twice = f32[1,6]{1,0} add(%row, %row)
  ROOT %u = f32[10,6]{1,0} dynamic-update-slice(%q, %twice, %r, /*index=3*/%zero)
}

%product (a: bf16[16,32], b: bf16[16,8]) -> f32[32,8] {
  %a = bf16[16,32]{1,0} parameter(0)
  %b = bf16[16,8]{1,0} parameter(1)
  ROOT %d = f32[32,8]{1,0} dot(%a, %b), \
lhs_contracting_dims={0}, rhs_contracting_dims={0}, operand_precision={highest,highest}
}

%body (arg: (s32[], f32[10,6])) -> (s32[], f32[10,6]) {
  %arg = (s32[], f32[10,6]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%arg), index=0
  %h = f32[10,6]{1,0} get-tuple-element(%arg), index=1
  %renewed = f32[10,6]{1,0} fusion(%h, %i), kind=kLoop, calls=%renewing
  ROOT %out = (s32[], f32[10,6]{1,0}) tuple(%i, %renewed)
}

%condition (arg.1: (s32[], f32[10,6])) -> pred[] {
  %arg.1 = (s32[], f32[10,6]{1,0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (x: f32[1,5,7,3], k: f32[4,3,3,3], c: f32[4], m: f32[4,8], \
a.1: bf16[16,32], b.1: bf16[16,8], s: (s32[], f32[10,6])) -> f32[8,4] {
  %x = f32[1,5,7,3]{3,2,1,0} parameter(0)
  %k = f32[4,3,3,3]{3,2,1,0} parameter(1)
  %c = f32[4]{0} parameter(2)
  %m = f32[4,8]{1,0} parameter(3)
  %a.1 = bf16[16,32]{1,0} parameter(4)
  %b.1 = bf16[16,8]{1,0} parameter(5)
  %s = (s32[], f32[10,6]{1,0}) parameter(6)
  %conv = (f32[1,5,7,4]{3,2,1,0}, u8[0]{0}) custom-call(%x, %k, %c), \
window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, \
custom_call_target="__cudnn$convBiasActivationForward", \
backend_config={"activation_mode":"kRelu"}
  %gram = f32[32,8]{1,0} fusion(%a.1, %b.1), kind=kCustom, calls=%product
  %loop = (s32[], f32[10,6]{1,0}) while(%s), \
condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"21"}}
  ROOT %moved = f32[8,4]{1,0} fusion(%m), kind=kInput, calls=%moving
}
"""


@pytest.fixture
def compiled_text(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("compiled_text")


def test_a_text_is_read_as_it_is_written(compiled_text):
    """Counted by hand: of the history a row is read and one written, by each of 21 turns."""
    peak, bandwidth = {"tf32": 1e3, "bf16": 1e4}, 1e3
    found = compiled_text.summary(TEXT, "tf32", peak, bandwidth)
    convolution, gram = 2 * 5 * 7 * 4 * 27, 2 * 32 * 8 * 16
    assert found.calls == 1 + 1 + 21 + 1
    assert found.convolutions == {"NHWC bias ReLU": 1}
    assert found.operations == {"tf32": convolution, "bf16": gram}
    assert found.moved == 2 * 4 * 32
    carried = {"convolution": 4 * (105 + 108 + 4 + 140), "gram": 2 * (512 + 128) + 4 * 256, "turn": 48 + 4}
    assert found.traffic == found.moved + carried["convolution"] + carried["gram"] + 21 * carried["turn"]
    assert found.by_host == 0
    longest = convolution / 1e3 + (carried["gram"] + 21 * carried["turn"] + found.moved) / bandwidth
    assert found.seconds == pytest.approx(longest)


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ('backend_config={"known_trip_count":{"n":"21"}}', "", 1),
        ("__cudnn$convBiasActivationForward", "xla_ffi_python_gpu_callback", 1),
        ("fusion(%m), kind=kInput, calls=%moving", "outfeed(%m)", 1),
    ],
)
def test_what_waits_for_the_host_is_found(compiled_text, before, after, wanted):
    assert before in TEXT
    found = compiled_text.computations(TEXT.replace(before, after))
    assert compiled_text.by_host(found) == wanted


@pytest.mark.parametrize(("precision", "wanted"), [("highest", "f32"), ("high", "tf32"), ("default", "auto")])
def test_products_of_float32_are_of_the_type_that_their_precision_asks_for(compiled_text, precision, wanted):
    text = TEXT.replace("bf16[", "f32[").replace("highest", precision)
    assert compiled_text.summary(text, "auto", {"auto": 1, "f32": 1, "tf32": 1}, 1).operations[wanted] >= 8192
