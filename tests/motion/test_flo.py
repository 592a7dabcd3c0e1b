import struct

import numpy as np
import pytest

from nst_jax.errors import FlowError, OutputError
from nst_jax.motion import flo
from nst_jax.motion.masks import within


def encoded(width, height, values, magic=202021.25):
    return struct.pack("<fii", magic, width, height) + struct.pack(f"<{len(values)}f", *values)


def test_bytes_of_a_file(tmp_path):
    """Two pixels beside each other: u and v of the first, then of the second."""
    path = tmp_path / "a.flo"
    path.write_bytes(b"PIEH" + encoded(2, 1, [1.5, -2, 3, 4.25])[4:])
    np.testing.assert_array_equal(flo.read(path), [[[-2, 1.5], [4.25, 3]]])
    flo.write(tmp_path / "b.flo", np.float32([[[-2, 1.5], [4.25, 3]]]))
    assert (tmp_path / "b.flo").read_bytes() == path.read_bytes() == encoded(2, 1, [1.5, -2, 3, 4.25])


def test_round_trip(tmp_path, random):
    flow = np.float32(random.normal(scale=10, size=(7, 11, 2)))
    flo.write(tmp_path / "a.flo", flow)
    found = flo.read(str(tmp_path / "a.flo"))
    assert found.dtype == np.float32
    assert found.flags.writeable
    np.testing.assert_array_equal(found, flow)


def test_what_is_not_known_leads_out_of_every_frame(tmp_path):
    path = tmp_path / "a.flo"
    path.write_bytes(encoded(5, 1, [1.67e9, 1.67e9, np.nan, 0, 0, -np.inf, 1e10, 0, 0, 0]))
    found = flo.read(path)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(within(found), [[False] * 4 + [True]])


BROKEN = {
    "empty": (b"", "0 bytes, less than a header"),
    "short": (b"PIEH\1\0\0", "7 bytes, less than a header"),
    "text": (b"this is no flow at all", "begins with b'this'"),
    "other magic": (encoded(1, 1, [0, 0], magic=1.0), "is no .flo file"),
    "cut off": (encoded(3, 2, [0] * 11), "2 x 3 pixels take 60 bytes, and it has 56"),
    "too long": (encoded(3, 2, [0] * 13), "take 60 bytes, and it has 64"),
    "no width": (encoded(0, 4, []), "claims 4 x 0 pixels"),
    "negative": (encoded(-3, -2, [0] * 12), "claims -2 x -3 pixels"),
    "huge": (encoded(2**31 - 1, 2**31 - 1, [0] * 8), "claims 2147483647 x 2147483647"),
    "large": (encoded(99_999, 99_999, [0] * 8), "take 79998400020 bytes"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_damaged_files(tmp_path, kind):
    data, message = BROKEN[kind]
    path = tmp_path / "bad.flo"
    path.write_bytes(data)
    with pytest.raises(FlowError) as caught:
        flo.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be(tmp_path):
    with pytest.raises(FlowError, match="cannot be read: No such file"):
        flo.read(tmp_path / "none.flo")
    with pytest.raises(FlowError, match="cannot be read"):
        flo.read(tmp_path)
    with pytest.raises(FlowError, match=r"has \(3, 3\)"):
        flo.write(tmp_path / "a.flo", np.zeros((3, 3)))
    with pytest.raises(FlowError, match="not numbers"):
        flo.write(tmp_path / "a.flo", np.full((3, 3, 2), np.nan))
    with pytest.raises(OutputError):
        flo.write(tmp_path / "none" / "a.flo", np.zeros((3, 3, 2)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder(tmp_path):
    flows = {(2, 1): 0.5, (3, 2): 1.5, (1, 2): 2.5, (10, 8): 3.5}
    for steps, value in flows.items():
        flo.write(tmp_path / flo.name(*steps), np.full((2, 3, 2), value))
    (tmp_path / "backward_0003_0002.flo.partial").write_bytes(b"")
    (tmp_path / "reliable_2_1.pgm").write_bytes(b"")
    (tmp_path / "backward_10_8.flo").rename(tmp_path / "backward_0010_0008.flo")
    found = flo.listed(tmp_path)
    assert {steps: path.name for steps, path in found.items()} == {
        (2, 1): "backward_2_1.flo",
        (3, 2): "backward_3_2.flo",
        (1, 2): "forward_1_2.flo",
        (10, 8): "backward_0010_0008.flo",
    }
    backward, forward = flo.between(found, 2)
    assert (backward == 0.5).all()
    assert (forward == 2.5).all()
    backward, forward = flo.between(found, 3)
    assert (backward == 1.5).all()
    assert forward is None
    assert (flo.between(found, 10, 8)[0] == 3.5).all()
    with pytest.raises(FlowError, match=r"backward_4_3\.flo: is missing: the flow of frame 4 to 3"):
        flo.between(found, 4)
    flo.write(found[1, 2], np.zeros((2, 4, 2)))
    with pytest.raises(FlowError, match="one size; these are 2 x 3 and 2 x 4"):
        flo.between(found, 2)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), r"no backward flow; files are named like backward_2_1\.flo"),
        (("forward_1_2.flo",), "no backward flow"),
        (("backward_1_2.flo",), "backward flow leads to an earlier frame, .* from 1 to 2"),
        (("forward_2_1.flo",), "forward flow leads to a later frame"),
        (("backward_2_2.flo",), "from 2 to 2"),
        (("backward_2_1.flo", "backward_02_01.flo"), "same frames as backward_02_01.flo"),
    ],
)
def test_names_that_mislead(tmp_path, names, message):
    for each in names:
        (tmp_path / each).write_bytes(b"")
    with pytest.raises(FlowError, match=message):
        flo.listed(tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(FlowError, match="cannot be read"):
        flo.listed(tmp_path / "none")
