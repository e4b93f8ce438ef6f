"""The Speech2Vid baseline of At a Glance, narrow, on clips of noise."""

import jax
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import speech2vid_lips as lips_config
from lipsync_jax.nn.cpu.jit import jit
from tests.helpers.networks import random_lip_clips, random_state

pytestmark = pytest.mark.usefixtures("quick_programs")


def make(**changes):
    config = lips_config.get_config("tiny")
    config.model.width_mult = 1 / 64
    config.update(changes)
    method = methods.load(config)
    method.validate_config()
    return method


def test_published_values():
    config = lips_config.get_config()
    assert (config.optimizer.learning_rate, config.optimizer.b1) == (2e-4, 0.5)
    assert (config.data.batch_size, config.segment_hop) == (24, 8)
    with pytest.raises(ValueError, match=r"speech2vid_lips takes 64x64: set --config.data.crop"):
        make(data={"crop": "face96"})


@pytest.mark.slow
def test_the_loss_is_the_absolute_error_and_falls():
    method, clips = make(optimizer={"warmup_steps": 0}), random_lip_clips()
    state = random_state(method, clips)
    update = jit(lambda state: method.train_step(state, clips, jax.random.key(0)))
    found = []
    for _ in range(6):
        state, scalars = update(state)
        found.append(jax.device_get(scalars))
    assert set(found[0]) == {"loss", "grad_norm"} and found[-1]["loss"] < found[0]["loss"]
    evaluated = jax.device_get(
        jit(method.eval_step)(state, {**clips, "mismatched_audio": clips["audio"][::-1]})
    )
    assert evaluated["psnr_y"].shape == (2,)
    assert (evaluated["l1"] != evaluated["l1_mismatched_audio"]).all()
