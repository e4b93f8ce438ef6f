"""Annotations of shapes are checked while tests run, and cost nothing elsewhere."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from lipsync_jax import losses
from lipsync_jax.nn import conv


def test_an_input_that_would_be_broadcast_is_refused():
    with pytest.raises(TypeCheckError, match=r"losses\.l1"):
        losses.l1(jnp.ones((2, 3)), jnp.ones((2, 1)))


def test_names_of_axes_hold_across_arguments():
    with pytest.raises(TypeCheckError, match=r"losses\.cosine_similarity"):
        losses.cosine_similarity(np.ones((2, 3)), np.ones(3))


def test_an_error_of_the_function_itself_comes_first():
    with pytest.raises(ValueError, match="kernel of 7 frames does not fit 1"):
        conv.convolve(np.ones((1, 1, 4, 4, 2)), np.ones((7, 3, 3, 2)), (1, 1, 1), ((0, 0),) * 3)


def test_numpy_arrays_and_other_floats_pass():
    assert losses.mse(np.ones((2, 3)), jnp.ones((2, 3), jnp.bfloat16)) == 0
    assert conv.stack_frames(np.ones((1, 5, 2, 2, 3), np.float32)).shape == (1, 2, 2, 15)


def test_nothing_is_checked_outside_of_tests():
    code = "from lipsync_jax import losses; print(hasattr(losses.l1, '__wrapped__'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
