import jax.numpy as jnp
import pytest

from nst_jax.transfer.program import Program

GIVEN = {"pool": "avg", "padding": "zero", "convention": "gatys2016", "method": "lbfgs", "linesearch": "none"}
GIVEN |= {"history": 10, "learning_rate": 1.0}


def test_only_bf16_narrows_the_arrays():
    assert [Program(**GIVEN, precision=p).dtype for p in ("auto", "f32", "tf32", "bf16")] == [
        *(None, None, None),
        jnp.bfloat16,
    ]


@pytest.mark.parametrize(
    ("changes", "searching", "holding"),
    [
        ({}, False, False),
        ({"linesearch": "zoom"}, True, False),
        ({"linesearch": "zoom", "method": "adam"}, False, False),
        ({"linesearch": "zoom", "method": "lbfgsb"}, False, False),
        ({"kind": "patch", "rematch": 5}, False, True),
        ({"kind": "patch"}, False, False),
        ({"rematch": 5}, False, False),
    ],
)
def test_what_a_step_does(changes, searching, holding):
    program = Program(**GIVEN | changes)
    assert (program.searching, program.holding) == (searching, holding)


def test_equal_programs_are_one():
    assert len({Program(**GIVEN), Program(**GIVEN), Program(**GIVEN, kind="patch")}) == 2
