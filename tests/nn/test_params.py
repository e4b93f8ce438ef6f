import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from lipsync_jax.nn.params import DeclaredShapes

calls = []


def counted(key, shape, dtype=jnp.float32):
    calls.append(shape)
    return jax.random.normal(key, shape, dtype)


class Scale(DeclaredShapes):
    @nn.compact
    def __call__(self, x):
        return x * self.param("scale", counted, (x.shape[-1],))


def test_an_initialiser_is_called_by_init_only():
    variables = Scale().init(jax.random.key(0), jnp.ones((2, 3)))
    calls.clear()
    result = jax.jit(Scale().apply)(variables, jnp.ones((2, 3)))
    assert not calls and (result == variables["params"]["scale"]).all()


def test_a_parameter_of_another_shape_is_refused():
    variables = Scale().init(jax.random.key(0), jnp.ones((2, 3)))
    with pytest.raises(flax.errors.ScopeParamShapeError, match="scale"):
        Scale().apply(variables, jnp.ones((2, 4)))


def test_a_parameter_that_is_missing_is_refused():
    with pytest.raises(flax.errors.ScopeParamNotFoundError, match="scale"):
        Scale().apply({"params": {"other": jnp.ones(3)}}, jnp.ones((2, 3)))


def test_a_name_may_be_used_once():
    class Twice(DeclaredShapes):
        @nn.compact
        def __call__(self, x):
            return self.param("a", counted, (2,)) + self.param("a", counted, (2,))

    with pytest.raises(flax.errors.NameInUseError):
        Twice().init(jax.random.key(0), jnp.ones(2))
