"""Arrays that are known by their headers before they are read."""

import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.pretrained.stored import float32, is_dense, layer_name, stored


def test_nothing_is_read_until_it_is_asked_for():
    array = stored((2, 3), np.dtype("f4"), lambda: pytest.fail("read"))
    assert array.shape == (2, 3)


def test_a_kernel_of_torch_is_turned():
    kernel = np.arange(2 * 3 * 4 * 5, dtype=np.float16).reshape(2, 3, 4, 5)  # (out, in, height, width)
    array = stored(kernel.shape, kernel.dtype, lambda: kernel, torch=True)
    assert array.shape == array.read().shape == (4, 5, 3, 2)
    assert array.read()[1, 2, 0, 1] == kernel[1, 0, 1, 2]
    assert array.read().flags.c_contiguous
    assert stored((2,), kernel.dtype, lambda: kernel[:, 0, 0, 0], torch=True).shape == (2,)


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", jnp.bfloat16])
def test_floating_point_of_any_size_and_byte_order_becomes_single(dtype):
    values = np.array([[1.5, -2.0, 0.0], [1e30 if dtype == "<f8" else 96.0, -0.0078125, np.inf]])
    array = float32(values.astype(dtype))
    assert array.dtype == np.float32
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, np.float32(values))


def test_two_bytes_of_no_type_are_bfloat16():
    values = np.array([[1.5, -2.0], [np.inf, 2**-100]], jnp.bfloat16)
    for each in (values.view("V2"), np.asfortranarray(values.view("V2")), values.view("V2").T):
        wanted = values.astype(np.float32).T if each.base is not None and each is not values else values
        np.testing.assert_array_equal(np.sort(float32(each).ravel()), np.sort(np.float32(wanted).ravel()))
    np.testing.assert_array_equal(float32(np.asfortranarray(values.view("V2"))), values.astype(np.float32))


def test_a_double_out_of_range_becomes_infinite():
    assert float32(np.array([1e300])).tolist() == [np.inf]


@pytest.mark.parametrize("dtype", ["i4", "?", "S2", "V3", "V1", "c8", "O", [("a", "i1"), ("b", "i1")]])
def test_anything_else_is_refused(dtype):
    array = np.zeros(2, dtype)
    with pytest.raises(ValueError, match="there should be floating-point ones"):
        float32(array)
    with pytest.raises(ValueError, match="there should be floating-point ones"):
        stored(array.shape, array.dtype, lambda: array)


def test_names():
    assert layer_name("block1_conv2") == "conv1_2"
    assert layer_name("conv1_2") == "conv1_2"
    assert layer_name("block1_pool") == "block1_pool"
    assert [is_dense(name) for name in ("fc6", "classifier.0", "predictions", "dense_1")] == 4 * [True]
    assert not is_dense("conv1_1")
