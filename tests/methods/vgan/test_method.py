"""VGAN with audio, narrow, on clips of noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import vgan as vgan_config
from lipsync_jax.methods.common import lip_video_gan
from lipsync_jax.nn.cpu.jit import jit
from tests.helpers.networks import random_lip_clips, random_state

pytestmark = pytest.mark.usefixtures("quick_programs")


def make_method_and_batch(variant="tiny", **changes):
    config = vgan_config.get_config(variant)
    config.model.width_mult = config.discriminators.clip.model.width_mult = 1 / 64
    config.data.batch_size = 2
    config.update(changes)
    method = methods.load(config)
    method.validate_config()
    return method


def test_variants_differ_in_whether_the_reference_is_an_input():
    conditional, plain = (vgan_config.get_config(name) for name in ("image_cond", "no_image_cond"))
    assert conditional.model.condition_on_image and not plain.model.condition_on_image
    plain.model.condition_on_image = True
    assert plain == conditional == vgan_config.get_config()
    assert vgan_config.get_config("tiny") == vgan_config.get_config("tiny_image_cond")
    assert not vgan_config.get_config("tiny_no_image_cond").model.condition_on_image
    assert (
        conditional.discriminators.clip.fake_weight
        == conditional.discriminators.clip.mismatched_weight
        == 0.5
    )
    assert conditional.loss.mask == conditional.loss.first_frame == 0  # as released
    with pytest.raises(ValueError, match="no variant 'tiny_tiny'"):
        vgan_config.get_config("tiny_tiny")


def test_what_it_lacks_is_refused():
    with pytest.raises(ValueError, match=r"method=vgan takes 64x64: set --config.data.crop=lips64"):
        make_method_and_batch(data={"crop": "face96"})
    with pytest.raises(ValueError, match=r"set config.data.batch_size to 2"):
        make_method_and_batch(data={"batch_size": 1})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "weight", "more"),
    [("tiny", 0.0, set()), ("tiny", 10.0, {"first_frame"}), ("tiny_no_image_cond", 0.0, set())],
)
def test_the_loss_is_the_discriminators_unless_terms_are_added(variant, weight, more):
    method = make_method_and_batch(variant, loss={"first_frame": weight})
    state = jax.eval_shape(method.init, jax.random.key(0), random_lip_clips())
    after, scalars = jax.eval_shape(method.train_step, state, random_lip_clips(), jax.random.key(1))
    names = {f"loss_{name}" for name in ("real", "mismatched", "fake")} | {"grad_norm"}
    expected = {f"discriminator/{name}" for name in names}
    assert (
        set(scalars) == expected | {"loss", "gen_adv_loss", "l1", "mask_mean", "grad_norm"} | more
    )
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.slow
def test_both_networks_learn():
    method = make_method_and_batch(loss={"mask": 0.1, "first_frame": 10.0})
    clips = random_lip_clips()
    state = random_state(method, clips)
    before = jax.device_get(state.networks)
    update = jit(lambda state: method.train_step(state, clips, jax.random.key(1)))
    found = []
    for _ in range(5):
        state, scalars = update(state)
        found.append(jax.device_get(scalars))
    first, last = found[0], found[-1]
    expected = first["gen_adv_loss"] + 0.1 * first["mask_mean"] + 10 * first["first_frame"]
    assert first["loss"] == pytest.approx(expected, rel=1e-5)
    assert last["first_frame"] < first["first_frame"]
    assert last["discriminator/loss_real"] < first["discriminator/loss_real"]
    for name, network in state.networks.items():
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), network.params, before[name].params)
        assert min(jax.tree.leaves(moved["logits" if name == "discriminator" else "mask_output"]))


@pytest.mark.slow
def test_noise_changes_the_video_and_metrics_repeat():
    method, clips = make_method_and_batch(), random_lip_clips(1)
    state = random_state(method, random_lip_clips())
    real = method._clip_batch(clips)
    generate = jit(method.generate_frames)
    noise = jnp.stack([jnp.zeros(100), jnp.ones(100)])[:, None]
    one, other = (
        generate(state.networks["generator"].variables, real.reference, real.audio, z)
        for z in noise
    )
    assert (
        one.shape == (1, lip_video_gan.FRAMES, 64, 64, 3) and float(jnp.abs(one - other).max()) > 0
    )
    evaluate = jit(method.eval_step)
    validation = {**clips, "mismatched_audio": clips["audio"]}
    found = [jax.device_get(evaluate(state, validation)) for _ in range(2)]
    assert found[0] == found[1] and np.isfinite(list(found[0].values())).all()
