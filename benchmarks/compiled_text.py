"""What the text of a compiled program says: what is called, how often, and what that reads and writes.

Text is XLA's: a line is an instruction, ``%name = type kind(operands), attributes``.
Those of the entry and of its loops are calls: kernels, or functions of a library. A fusion is one call that
computes all its instructions; what is between them is nowhere in memory.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8, "u64": 8}
"""Of a number, by type; four of others."""

FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id"}
"""Kinds of instructions for which nothing is called."""

MOVING = FREE | {"copy", "transpose"}

SLICING = {"bitcast", "dynamic-slice", "dynamic-update-slice"}
"""Kinds of instructions that read no more of their first operand than they return, or nothing of it."""

HOST = re.compile(r"infeed|outfeed|send|recv|callback|host", re.IGNORECASE)
"""Kinds and targets of calls that go by the host."""

TARGET = r'custom_call_target="([^"]*)"'


@dataclass(frozen=True)
class Instruction:
    """A line."""

    name: str
    type: str
    kind: str
    operands: tuple[str, ...]
    attributes: str

    def find(self, pattern: str) -> str:
        """Return what an attribute is; empty: there is none."""
        found = re.search(pattern, self.attributes)
        return found[1] if found else ""


Computation = dict[str, Instruction]
"""Instructions by name; the last is the result."""

ENTRY = "ENTRY"
"""Name of the computation to begin with."""

_LINE = re.compile(r"\s+(?:ROOT )?(%?\S+) = (\(.*?\)|\S+) ([a-z][\w-]*)\((.*)")
_HEAD = re.compile(r"(ENTRY )?(%?\S+) \(.*\{$")


def computations(text: str) -> dict[str, Computation]:
    """Return the computations of a program by name."""
    found: dict[str, Computation] = {}
    for line in text.splitlines():
        if head := _HEAD.match(line):
            inside = found.setdefault(ENTRY if head[1] else head[2], {})
        elif match := _LINE.match(re.sub(r"/\*.*?\*/", "", line)):
            name, type_, kind, rest = match.groups()
            operands, _, attributes = rest.partition(")")
            names = () if kind in ("parameter", "constant") else tuple(re.findall(r"%[^\s,]+", operands))
            inside[name] = Instruction(name, type_, kind, names, f"{operands}{attributes}")
    return found


@dataclass(frozen=True)
class Call:
    """A call, and how often a run of the program makes it."""

    times: int
    instruction: Instruction
    where: Computation
    inside: Computation
    """What it computes, if it is a fusion."""

    @property
    def instructions(self) -> list[Instruction]:
        """What is computed by it."""
        return list(self.inside.values()) or [self.instruction]

    def typed(self, instruction: Instruction) -> list[str]:
        """Return the types of the operands of what is computed by it."""
        names = self.inside or self.where
        return [names[name].type for name in instruction.operands]


def calls(found: Mapping[str, Computation], name: str = ENTRY, times: int = 1) -> Iterator[Call]:
    """Yield what a program calls: in a loop as often as it is known to turn, or once."""
    for each in found[name].values():
        if each.kind in FREE:
            continue
        if each.kind == "while":
            turns = int(each.find(r'known_trip_count[":{]+n[":]+(\d+)') or 1)
            for part in (r"condition=(%[^\s,]+)", r"body=(%[^\s,]+)"):
                yield from calls(found, each.find(part), times * turns)
        elif each.kind in ("call", "conditional"):
            for branch in re.findall(
                r"(?:to_apply|_computations?)=\{?((?:%[^\s,}]+(?:, )?)+)", each.attributes
            ):
                for part in branch.split(", "):
                    yield from calls(found, part.strip(" ,"), times)
        else:
            inside = found.get(each.find(r"calls=(%[^\s,]+)"), {}) if each.kind == "fusion" else {}
            yield Call(times, each, found[name], inside)


def dimensions(type_: str) -> list[tuple[str, tuple[int, ...]]]:
    """Return the types and dimensions of the arrays of a type."""
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", type_)
    return [(kind, tuple(int(n) for n in sizes.split(",") if n)) for kind, sizes in arrays]


def nbytes(type_: str) -> int:
    """Return the bytes of a type."""
    return sum(BYTES.get(kind, 4) * prod(sizes) for kind, sizes in dimensions(type_))


def traffic(call: Call) -> int:
    """Return the bytes that a call reads and writes: each operand and result once.

    Of what is sliced, the slice is read; where a slice of an array is renewed, nothing but that is written.
    """
    own, where = call.instruction, call.where
    if own.kind == "dynamic-update-slice":
        return 2 * nbytes(where[own.operands[1]].type)
    if not call.inside:
        return nbytes(own.type) + sum(nbytes(where[name].type) for name in set(own.operands))
    read = {}
    for parameter in (each for each in call.inside.values() if each.kind == "parameter"):
        operand = own.operands[int(parameter.find(r"^(\d+)"))]
        read[operand] = max(read.get(operand, 0), _read(parameter, call.inside))
    *_, result = call.inside.values()
    results = [call.inside[name] for name in result.operands] if result.kind == "tuple" else [result]
    return sum(read.values()) + sum(_written(each, call.inside) for each in results)


def _read(array: Instruction, inside: Computation) -> int:
    """Return the bytes of an array that are read."""
    users = [each for each in inside.values() if array.name in each.operands]
    if not all(each.kind in SLICING and array.name not in each.operands[1:] for each in users):
        return nbytes(array.type)
    sliced = sum(nbytes(each.type) for each in users if each.kind == "dynamic-slice")
    return sliced + sum(_read(each, inside) for each in users if each.kind == "bitcast")


def _written(result: Instruction, inside: Computation) -> int:
    while result.kind == "bitcast":
        result = inside[result.operands[0]]
    return nbytes(inside[result.operands[1]].type if result.kind == "dynamic-update-slice" else result.type)


def operations(call: Call, default: str) -> Counter[str]:
    """Return the multiplications and additions of a call's products, by the type that they multiply.

    ``default`` is what products of float32 multiply that nothing else is said of.
    """
    found: Counter[str] = Counter()
    for each in call.instructions:
        if each.kind == "dot":
            (_, left), *_ = dimensions(call.typed(each)[0])
            summed = [left[int(n)] for n in each.find(r"lhs_contracting_dims=\{([\d,]*)").split(",") if n]
            found[_multiplied(each, call, default)] += 2 * prod(dimensions(each.type)[0][1]) * prod(summed)
        elif is_convolution(each):
            (_, result), *_ = dimensions(each.type)
            (_, kernel), *_ = dimensions(call.typed(each)[1])
            channels = result[each.find(r"dim_labels=\S+?->(\w+)").index("f")]
            found[_multiplied(each, call, default)] += 2 * prod(result) // channels * prod(kernel)
    return found


def is_convolution(instruction: Instruction) -> bool:
    """Tell whether an instruction is a convolution, XLA's or cuDNN's."""
    return instruction.kind == "convolution" or "__cudnn$conv" in instruction.attributes


def _multiplied(product: Instruction, call: Call, default: str) -> str:
    types = {dimensions(each)[0][0] for each in call.typed(product)[:2]}
    if types == {"bf16"}:
        return "bf16"
    precision = product.find(r"operand_precision=\{(\w+)")
    return {"high": "tf32", "highest": "f32"}.get(precision, default)


def convolution(instruction: Instruction) -> str:
    """Return where channels are in a convolution's features, and what is fused into it."""
    features = instruction.find(r"dim_labels=(\w+?)_")
    layout = {"b01f": "NHWC", "bf01": "NCHW"}.get(features, features)
    bias = " bias" if "convBiasActivation" in instruction.attributes else ""
    return layout + bias + (" ReLU" if '"activation_mode":"kRelu"' in instruction.attributes else "")


@dataclass(frozen=True)
class Summary:
    """What a program's text says; what loops do is counted as often as they turn."""

    calls: int
    convolutions: Counter[str]
    """By `convolution`."""
    operations: Counter[str]
    """Multiplications and additions of products, by the type that is multiplied."""
    moved: int
    """Bytes that calls read and write which compute nothing, but copy and transpose."""
    traffic: int
    by_host: int
    seconds: float
    """Sum over calls of the longer of what operations and traffic take."""


def summary(text: str, default: str, peak: Mapping[str, float], bandwidth: float) -> Summary:
    """Return what a program's text says.

    Args:
        text: the program.
        default: see `operations`.
        peak: operations a second, by type.
        bandwidth: bytes a second.
    """
    found = computations(text)
    every = list(calls(found))
    convolutions: Counter[str] = Counter()
    multiplied: Counter[str] = Counter()
    moved = total = 0
    seconds = 0.0
    for call in every:
        convolutions.update(convolution(each) for each in call.instructions if is_convolution(each))
        products, carried = operations(call, default), traffic(call)
        multiplied.update({kind: call.times * number for kind, number in products.items()})
        total += call.times * carried
        moved += call.times * carried * is_moving(call)
        computing = sum(number / peak[kind] for kind, number in products.items())
        seconds += call.times * max(computing, carried / bandwidth)
    number = sum(call.times for call in every)
    return Summary(number, convolutions, multiplied, moved, total, by_host(found), seconds)


def is_moving(call: Call) -> bool:
    """Tell whether a call computes nothing, but copies and transposes."""
    return all(each.kind in MOVING for each in call.instructions)


def by_host(found: Mapping[str, Computation]) -> int:
    """Return how much of a program waits for the host: calls, loops of unknown length, and branches."""
    every = [each for inside in found.values() for each in inside.values()]
    asking = [each for each in every if HOST.search(f"{each.kind} {each.find(TARGET)}")]
    unknown = [each for each in every if each.kind == "while" and "known_trip_count" not in each.attributes]
    return len(asking) + len(unknown) + sum(each.kind == "conditional" for each in every)
