"""The choice of the step's program by the host scalars, on a method of one weight."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from lipsync_jax.methods.base import Method, NetworkState, init_train_state
from lipsync_jax.nn.batch_norm import BatchNorm
from lipsync_jax.nn.conv import ConvBlock
from lipsync_jax.training import sharding
from lipsync_jax.training.train_step import (
    StepOptions,
    TrainStep,
    num_groups,
    sums_gradients_in_float32,
    uses_remat,
)
from tests.helpers.networks import random_array, random_variables

BATCH = {"x": np.ones(2, np.float32)}


class Descent(Method):
    """Adds 1 to its weight a step, and the host scalar once that is no longer 0."""

    switches = ("extra",)

    def __init__(self):
        super().__init__({}, {})
        self.traced = []

    def train_step(self, state, batch, key):
        self.traced.append(sorted(self.terms_off))
        network = state.networks["only"]
        change = batch["x"].sum() / 2
        if "extra" not in self.terms_off:
            change += state.host_scalars["extra"]
        state = state.next_step(only=network.replace(params=network.params + change))
        return state, {"change": change}


def begun(method, extra=0.0):
    networks = {"only": NetworkState(jnp.zeros(()), {})}
    return TrainStep(method, jax.jit), init_train_state(jax.random.key(0), networks, extra=extra)


def with_extra(state, value):
    return state.replace(host_scalars={"extra": jnp.asarray(value, jnp.float32)})


def test_a_term_has_a_program_of_its_own_once_its_weight_is_not_zero():
    method = Descent()
    step, state = begun(method)
    changes = []
    for value in (None, None, 2.0, None, 3.0, 0.0, None):
        state = state if value is None else with_extra(state, value)
        state, metrics = step(state, BATCH)
        changes.append(float(metrics["change"]))
    assert changes == [1, 1, 3, 3, 4, 1, 1]
    assert method.traced == [["extra"], []] and step.num_compiled() == 2
    assert method.terms_off == frozenset()


def test_a_resumed_run_begins_with_the_program_it_stopped_in():
    step, state = begun(Descent(), extra=2.0)
    state, metrics = step(state, BATCH)
    assert metrics["change"] == 3 and step.num_compiled() == 1


def test_the_host_reads_a_scalar_only_when_it_changes(monkeypatch):
    step, state = begun(Descent())
    state, _ = step(state, BATCH)
    array = type(state.host_scalars["extra"])
    with monkeypatch.context() as patch:
        patch.setattr(array, "__float__", lambda _: pytest.fail("read"))
        state, _ = step(state, BATCH)


def test_shapes_are_checked_with_all_terms():
    method = Descent()
    step, state = begun(method)
    after, _ = step.eval_shape(state, BATCH)
    assert after.step.shape == () and method.traced == [[]]


class Normalized(Descent):
    """Reports the largest normalised value of a batch."""

    switches = ()

    def train_step(self, state, batch, key):
        module = BatchNorm()
        variables = {
            "params": {"scale": jnp.ones(1), "bias": jnp.zeros(1)},
            "batch_stats": {"mean": jnp.zeros(1), "var": jnp.ones(1)},
        }
        y, _ = module.apply(variables, batch["x"][:, None], True, mutable=["batch_stats"])
        return state.next_step(), {"largest": y.max()}


@pytest.mark.parametrize(("statistics", "largest"), [("global", 3**0.5), ("device", 1.0)])
def test_batch_statistics_are_of_the_global_batch_or_of_each_device(statistics, largest):
    mesh = sharding.make_mesh(jax.devices()[:2])
    groups = num_groups(ml_collections.ConfigDict({"batch_statistics": statistics}), mesh)
    networks = {"only": NetworkState(jnp.zeros(()), {})}
    state = init_train_state(jax.random.key(0), networks)
    batch = {"x": np.array([0, 0, 0, 1] if groups == 1 else [0, 1, 5, 6], np.float32)}
    _, metrics = TrainStep(Normalized(), jax.jit, StepOptions(groups))(state, batch)
    assert metrics["largest"] == pytest.approx(largest, rel=1e-3)


def test_unknown_batch_statistics_are_refused():
    config = ml_collections.ConfigDict({"batch_statistics": "local"})
    with pytest.raises(ValueError, match=r"batch_statistics='local': choose global, device"):
        num_groups(config, sharding.make_mesh())


class Convolutional(Method):
    """One block, whose loss is the mean square of its output."""

    def __init__(self):
        super().__init__({}, {})

    def train_step(self, state, batch, key):
        module = ConvBlock(2)

        def loss(params):
            variables = {"params": params, "batch_stats": state.networks["only"].batch_stats}
            y, _ = module.apply(variables, batch["x"], True, mutable=["batch_stats"])
            return (y**2).mean()

        grads = jax.grad(loss)(state.networks["only"].params)
        return state.next_step(), {"grad": jnp.sum(grads["conv"]["kernel"] ** 2)}


def test_blocks_are_rematerialised_where_the_config_says_so():
    networks = {"only": NetworkState(**random_variables(ConvBlock(2), (4, 4, 2)))}
    state = init_train_state(jax.random.key(0), networks)
    batch = {"x": random_array(1, 4, 4, 2)}
    texts, gradients = [], []
    for value in ("none", "blocks"):
        remat = uses_remat(ml_collections.ConfigDict({"remat": value}))
        step = TrainStep(Convolutional(), jax.jit, StepOptions(remat=remat))
        texts.append(step.lower(state, batch).as_text())
        _, metrics = step(jax.tree.map(jnp.copy, state), batch)
        gradients.append(float(metrics["grad"]))
    assert ["optimization_barrier" in text for text in texts] == [False, True]
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-5)


def test_unknown_values_are_refused():
    config = ml_collections.ConfigDict({"remat": "all", "gradient_sums": "float64"})
    with pytest.raises(ValueError, match=r"config.remat='all': choose none, blocks"):
        uses_remat(config)
    with pytest.raises(ValueError, match=r"gradient_sums='float64': choose precision, float32"):
        sums_gradients_in_float32(config)
