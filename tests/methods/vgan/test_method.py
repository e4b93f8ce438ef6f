"""VGAN with sound, narrow, on clips of noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import vgan as vgan_config
from lipsync_jax.methods.common import lip_video_gan
from lipsync_jax.nn.cpu.jit import jit
from tests.helpers.networks import drawn_state

pytestmark = pytest.mark.usefixtures("quick_programs")


def made(variant="tiny", **changes):
    config = vgan_config.get_config(variant)
    config.model.width = config.adversarial.model.width = 1 / 64
    config.data.batch_size = 2
    config.update(changes)
    method = methods.load(config)
    method.check()
    return method


def batch(n=2):
    rng = np.random.default_rng(0)
    return {
        "still": rng.integers(0, 255, (n, 64, 64, 3)).astype(np.uint8),
        "frames": rng.integers(0, 255, (n, 16, 64, 64, 3)).astype(np.uint8),
        "audio": rng.normal(60, 20, (n, 64, 128)).astype(np.float32),
    }


def test_variants_differ_in_whether_the_still_is_seen():
    still, released = (vgan_config.get_config(name) for name in ("still", "released"))
    assert still.model.image_cond and not released.model.image_cond
    released.model.image_cond = True
    assert released == still == vgan_config.get_config()
    assert vgan_config.get_config("tiny") == vgan_config.get_config("tiny_still")
    assert not vgan_config.get_config("tiny_released").model.image_cond
    assert still.adversarial.drawn_share == still.adversarial.mismatched_share == 0.5
    assert still.mask_weight == still.first_frame_weight == 0  # as released
    with pytest.raises(ValueError, match="no variant 'tiny_tiny'"):
        vgan_config.get_config("tiny_tiny")


def test_what_it_lacks_is_refused():
    with pytest.raises(ValueError, match=r"method=vgan draws 64x64, choose lips64"):
        made(data={"geometry": "face96"})
    with pytest.raises(ValueError, match=r"set config.data.batch_size to 2"):
        made(data={"batch_size": 1})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "weight", "more"),
    [("tiny", 0.0, set()), ("tiny", 10.0, {"first_frame"}), ("tiny_released", 0.0, set())],
)
def test_the_loss_is_the_discriminators_unless_terms_are_added(variant, weight, more):
    method = made(variant, first_frame_weight=weight)
    state = jax.eval_shape(method.init, jax.random.key(0), batch())
    after, scalars = jax.eval_shape(method.update, state, batch(), jax.random.key(1))
    judged = {f"of_{name}" for name in ("real", "wrong_sound", "drawn")} | {"gradient_norm"}
    expected = {f"discriminator_{name}" for name in judged}
    assert set(scalars) == expected | {"loss", "deceived", "l1", "mask", "gradient_norm"} | more
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.slow
def test_both_players_learn():
    method, clips = made(mask_weight=0.1, first_frame_weight=10.0), batch()
    state = drawn_state(method, batch())
    before = jax.device_get(state.players)
    update = jit(lambda state: method.update(state, clips, jax.random.key(1)))
    found = []
    for _ in range(5):
        state, scalars = update(state)
        found.append(jax.device_get(scalars))
    first, last = found[0], found[-1]
    expected = first["deceived"] + 0.1 * first["mask"] + 10 * first["first_frame"]
    assert first["loss"] == pytest.approx(expected, rel=1e-5)
    assert last["first_frame"] < first["first_frame"]
    assert last["discriminator_of_real"] < first["discriminator_of_real"]
    for name, player in state.players.items():
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), player.params, before[name].params)
        assert min(jax.tree.leaves(moved["verdict" if name == "discriminator" else "mask_output"]))


@pytest.mark.slow
def test_noise_makes_the_video_and_figures_are_the_same_each_time():
    method, clips = made(), batch(1)
    state = drawn_state(method, batch())
    scene = method._scene(clips)
    draw = jit(method.draw)
    noise = jnp.stack([jnp.zeros(100), jnp.ones(100)])[:, None]
    one, other = (
        draw(state.players["generator"].variables, scene.still, scene.audio, z) for z in noise
    )
    assert (
        one.shape == (1, lip_video_gan.FRAMES, 64, 64, 3) and float(jnp.abs(one - other).max()) > 0
    )
    measure = jit(method.measure)
    heard = {**clips, "other_audio": clips["audio"]}
    found = [jax.device_get(measure(state, heard)) for _ in range(2)]
    assert found[0] == found[1] and np.isfinite(list(found[0].values())).all()
