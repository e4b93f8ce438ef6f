import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import sync_expert as sync_expert_config
from lipsync_jax.configs import wav2lip as wav2lip_config
from lipsync_jax.configs import wav2lip_gan as wav2lip_gan_config
from lipsync_jax.methods.base import NetworkState, init_train_state
from lipsync_jax.methods.wav2lip import image_losses, warp_model
from lipsync_jax.methods.wav2lip.warp_model import WarpWav2Lip
from tests.conftest import toy_clip
from tests.helpers import networks

SMALL = WarpWav2Lip(width_mult=0.02, depth_mult=0.5, image_size=24)


def _inputs(n=2, size=24):
    return networks.random_array(n, 80, 16, 1), networks.random_array(n, size, size, 6, seed=1)


def test_the_upper_half_is_the_input_and_the_lower_half_depends_on_audio():
    audio, faces = _inputs()
    faces = jax.nn.sigmoid(faces)
    variables = networks.random_variables(SMALL, (80, 16, 1), (24, 24, 6))
    generated = SMALL.apply(variables, audio, faces)
    assert generated.shape == (2, 24, 24, 3) and generated.dtype == jnp.float32
    np.testing.assert_array_equal(generated[:, :12], faces[:, :12, :, :3])
    other = SMALL.apply(variables, -audio, faces)
    assert float(jnp.abs(generated - other)[:, 12:].max()) > 0
    assert float(generated.min()) >= 0 and float(generated.max()) <= 1


@pytest.mark.parametrize("size", [24, 48, 64, 96])
def test_every_size_that_the_published_network_has_is_possible(size):
    module = WarpWav2Lip(width_mult=0.02, depth_mult=0.0, image_size=size)
    out = jax.eval_shape(
        lambda audio, faces: module.init_with_output(jax.random.key(0), audio, faces)[0],
        np.zeros((1, 80, 16, 1), np.float32),
        np.zeros((1, size, size, 6), np.float32),
    )
    assert out.shape == (1, size, size, 3)


def test_a_wrong_shape_is_refused():
    audio, faces = _inputs()
    with pytest.raises(ValueError, match="faces has shape"):
        SMALL.init(jax.random.key(0), audio, faces[..., :3])


def test_no_flow_copies_and_a_flow_of_whole_pixels_shifts():
    images = networks.random_array(2, 8, 6, 3)
    unmoved = warp_model.warp_lower_half(images, jnp.zeros((2, 4, 6, 2)))
    np.testing.assert_allclose(unmoved, images[:, 4:], atol=1e-6)
    flow = jnp.zeros((2, 4, 6, 2)).at[..., 0].set(-2.0).at[..., 1].set(1.0)
    moved = warp_model.warp_lower_half(images, flow)
    np.testing.assert_allclose(moved[:, :, :-1], images[:, 2:6, 1:], atol=1e-6)
    np.testing.assert_allclose(moved[:, :, -1], images[:, 2:6, -1], atol=1e-6)  # the border's


def test_half_a_pixel_is_the_mean_of_two():
    images = networks.random_array(1, 8, 6, 3)
    flow = jnp.zeros((1, 4, 6, 2)).at[..., 0].set(-0.5)
    expected = (images[:, 3:7] + images[:, 4:8]) / 2
    np.testing.assert_allclose(warp_model.warp_lower_half(images, flow), expected, atol=1e-6)


def test_space_to_depth_is_undone():
    x = networks.random_array(2, 6, 4, 3)
    deep = warp_model.space_to_depth(x)
    assert deep.shape == (2, 3, 2, 12)
    np.testing.assert_array_equal(warp_model.depth_to_space(deep), x)


def test_weights_lie_on_the_mouth_and_have_mean_one():
    weights = image_losses.weight_map(96, 2.0, 4.0)
    assert weights.mean() == pytest.approx(1)
    assert weights[72, 48] / weights[0, 0] == pytest.approx(6)
    assert weights[90, 2] / weights[0, 0] == pytest.approx(2)


def test_blur_lowers_the_sharpness_of_a_mouth_and_raises_the_edge_loss():
    sharp = jax.nn.sigmoid(3 * networks.random_array(2, 96, 96, 3))
    blurred = (sharp + jnp.roll(sharp, 1, axis=1)) / 2
    ratio = image_losses.mouth_laplacian_variance(blurred)
    ratio /= image_losses.mouth_laplacian_variance(sharp)
    assert np.all(np.asarray(ratio) < 0.8)
    weights = image_losses.weight_map(96, 1.0, 0.0)
    assert float(image_losses.edge_l1(sharp, sharp, weights)) == 0
    assert float(image_losses.edge_l1(blurred, sharp, weights)) > 0


EXPERT = sync_expert_config.get_config("in_the_box")
EXPERT.model.width_mult = 0.02


def _make(variant="in_the_box", **changes):
    config = wav2lip_config.get_config(variant)
    config.model.width_mult = 0.02
    config.update(changes)
    return methods.load(config, {"expert": {"config": EXPERT.to_dict()}})


def test_few_frames_of_a_window_lie_apart_and_keep_their_own_audio():
    clip = toy_clip("s/0", 0)
    plain = {"augment_magnitude": 0.0, "degrade_magnitude": 0.0, "windows_per_clip": 1}
    few = _make(**plain, frames_per_window=2).make_example(clip, np.random.default_rng(3))
    every = _make(**plain, frames_per_window=0).make_example(clip, np.random.default_rng(3))
    assert few["frames"].shape == few["reference"].shape == (1, 2, 96, 96, 3)
    np.testing.assert_array_equal(few["frames"], every["frames"][:, [0, 2]])
    np.testing.assert_array_equal(few["audio"], every["audio"][:, [0, 2]])


def test_an_unknown_network_is_refused_by_name():
    with pytest.raises(ValueError, match=r"config\.network='wide'"):
        _make(network="wide")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"frames_per_window": 6}, r"config\.frames_per_window=6: choose 0 for all 5 frames"),
        ({"frames_per_window": 2, "loss": {"sync": 0.1}}, r"with config\.loss\.sync=0"),
        ({"sync_objective": "l1"}, r"config\.sync_objective='l1': choose cosine_bce, info_nce"),
        (
            {"loss": {"motion": 0.0}},
            r"config\.loss\.motion=0\.0 and config\.motion_features=16",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        _make(**changes).validate_config()


def test_only_the_warping_network_paints_and_has_motion_codes():
    with pytest.raises(ValueError, match=r"motion_features=16 needs config\.network=warp"):
        _make(network="published").validate_config()
    with pytest.raises(ValueError, match=r"config\.loss\.painted=1\.0 needs config\.network=warp"):
        _make("tiny", loss={"painted": 1.0}).validate_config()


def test_motion_codes_and_their_loss_are_float32_in_bfloat16_too():
    module = SMALL.clone(motion_features=4, dtype=jnp.bfloat16)

    def loss(audio, faces):
        variables = module.init(jax.random.key(0), audio, faces)
        parts = module.apply(variables, audio, faces, target=faces[..., 3:], method="parts")
        codes = parts["audio_motion"], parts["target_motion"]
        return *codes, image_losses.motion_l2(*codes, num_clips=1)

    assert {x.dtype.name for x in jax.eval_shape(loss, *_inputs())} == {"float32"}


def test_a_new_run_can_begin_with_the_audio_encoder_of_the_expert():
    method = _make()
    generator, expert = method.networks["generator"], method.expert.module
    audio, faces = (80, 16, 1), (96, 96, 6)
    state = init_train_state(
        jax.random.key(0),
        {
            "generator": generator.init_state(
                networks.random_variables(generator.module, audio, faces)
            ),
            "expert": NetworkState(**networks.random_variables(expert, audio, (48, 96, 15))),
        },
    )
    begun = method.init_from_frozen(state).networks["generator"]
    for kind in ("params", "batch_stats"):
        own = getattr(begun, kind)
        given, before = (getattr(state.networks[name], kind) for name in ("expert", "generator"))
        assert sum(name.startswith("audio_encoder") for name in own) == 10
        for name in own:
            source = given if name.startswith("audio_encoder") else before
            jax.tree.map(np.testing.assert_array_equal, own[name], source[name])


def test_weights_of_a_checkpoint_keep_their_audio_encoder():
    method = _make(init_from={"generator": "runs/before"})
    assert method.init_from_frozen("state") == "state"


def test_an_expert_of_another_width_cannot_give_its_encoder():
    method = _make()
    one, other = (NetworkState({"audio_encoder_0": {"kernel": np.zeros(n)}}, {}) for n in (1, 2))
    state = init_train_state(jax.random.key(0), {"generator": one, "expert": other})
    with pytest.raises(ValueError, match="the width_mult of the expert"):
        method.init_from_frozen(state)


def test_a_checkpoint_of_the_warping_generator_can_dub():
    inference = methods.load_inference({"config": _make().config.to_dict()})
    assert isinstance(inference._generator, WarpWav2Lip)
    faces = np.zeros((1, 96, 96, 3), np.float32)
    variables = jax.eval_shape(
        inference._generator.init,
        jax.random.key(0),
        np.zeros((1, 80, 16, 1), np.float32),
        np.zeros((1, 96, 96, 6), np.float32),
    )
    mel = np.zeros((1, 16, 80), np.float32)
    generated = jax.eval_shape(inference.generate, variables, mel, faces, faces)
    assert generated.shape == (1, 96, 96, 3)


def test_what_is_painted_has_a_gradient_where_it_is_invisible():
    audio, faces = _inputs()
    variables = networks.random_variables(SMALL, (80, 16, 1), (24, 24, 6))
    parts = SMALL.apply(variables, audio, faces, method="parts")
    np.testing.assert_array_equal(parts["generated"], SMALL.apply(variables, audio, faces))
    assert parts["painted"].shape == (2, 24, 24, 3) and parts["opacity"].shape == (2, 12, 24, 1)


MOTION = SMALL.clone(motion_features=4)


def test_a_face_is_generated_with_the_motion_code_of_the_target_or_of_the_audio():
    audio, faces = _inputs()
    faces = jax.nn.sigmoid(faces)
    target = jax.nn.sigmoid(networks.random_array(2, 24, 24, 3, seed=2))
    variables = networks.random_variables(MOTION, (80, 16, 1), (24, 24, 6))
    chosen = jnp.array([True, False])

    def generate(audio, target):
        return MOTION.apply(variables, audio, faces, False, target, chosen, method="parts")

    parts = generate(audio, target)
    assert parts["audio_motion"].shape == parts["target_motion"].shape == (2, 4)
    other_audio, other_target = generate(-audio, target), generate(audio, 1 - target)
    changed = jnp.abs(other_audio["generated"] - parts["generated"]).max((1, 2, 3)) > 0
    np.testing.assert_array_equal(changed, [False, True])
    changed = jnp.abs(other_target["generated"] - parts["generated"]).max((1, 2, 3)) > 0
    np.testing.assert_array_equal(changed, [True, False])
    plain = MOTION.apply(variables, audio, faces)  # without a target, all from audio
    np.testing.assert_allclose(plain[1], parts["generated"][1], atol=1e-6)


def test_the_motion_loss_is_of_motion_within_clips():
    motion = networks.random_array(3, 4, 5)
    codes = (motion - motion.mean(1, keepdims=True)).reshape(12, 5)
    assert float(image_losses.motion_l2(codes, codes, 3)) == pytest.approx(0, abs=1e-6)
    of_people = jnp.repeat(jnp.arange(3.0), 4)[:, None]
    assert float(image_losses.motion_l2(codes + of_people, codes + of_people, 3)) > 0.1
    wrong = float(image_losses.motion_l2(-codes, codes, 3))
    assert wrong == pytest.approx(float(image_losses.motion_l2(-9 * codes, 9 * codes, 3)), rel=0.01)


@pytest.mark.slow
def test_a_step_trains_both_encoders_of_motion():
    no_warmup = {"warmup_steps": 0}  # it begins at a rate of 0
    method = _make(augment_magnitude=0.0, degrade_magnitude=0.0, optimizer=no_warmup)
    example = method.make_example(toy_clip("s/0", 0), np.random.default_rng(3))
    batch = method.collate([example, example])
    state = method.init(jax.random.key(0), batch)
    after, scalars = jax.jit(method.train_step)(state, batch, jax.random.key(1))
    assert float(scalars["motion_loss"]) > 0
    before, params = (x.networks["generator"].params for x in (state, after))
    for name in ("audio_motion", "motion_encoder_last", "head"):
        assert float(jnp.abs(params[name]["kernel"] - before[name]["kernel"]).max()) > 0


def test_patches_of_the_mouth_alone_are_classified():
    patches = warp_model.PatchDiscriminator(width_mult=0.1)
    frames = jax.nn.sigmoid(networks.random_array(1, 96, 96, 3))
    variables = patches.init(jax.random.key(0), frames)
    probabilities = patches.apply(variables, frames)
    assert probabilities.shape == (1, 12, 16, 1)
    assert float(probabilities.min()) > 0 and float(probabilities.max()) < 1
    elsewhere = patches.apply(variables, frames.at[:, :48].set(0).at[:, :, :16].set(0))
    np.testing.assert_array_equal(elsewhere, probabilities)
    mouth = np.asarray(patches.apply(variables, frames.at[:, 90:, 30:34].set(0)))
    changed = (mouth != probabilities)[0, ..., 0]
    assert changed[-1].any() and not changed[:6].any()


def test_an_unknown_discriminator_is_refused_by_name():
    config = wav2lip_gan_config.get_config("in_the_box")
    assert methods.load(config, {}).networks["discriminator"].module.width_mult == 0.5
    config.discriminators.quality.network = "frames"
    with pytest.raises(ValueError, match=r"quality\.network='frames': choose published, patch"):
        methods.load(config, {})


@pytest.mark.parametrize("light", [(1.0, 1.0, 1.0), (0.4, 0.7, 1.0)])
def test_painted_pixels_are_not_greener_than_skin_in_any_light(light):
    skin = jnp.array([0.5, 0.6, 0.8]) * jnp.ones((1, 1, 3, 3)) * jnp.array(light)
    teeth, lips, olive = [0.6, 0.65, 0.7], [0.4, 0.4, 0.7], [0.4, 0.55, 0.5]
    painted = jnp.array([[teeth, lips, olive]])[None] * jnp.array(light)
    limited = warp_model.limit_green(painted, skin)
    np.testing.assert_array_equal(limited[..., ::2], painted[..., ::2])
    np.testing.assert_allclose(limited[0, 0, :2], painted[0, 0, :2], atol=0.01)
    assert float(limited[0, 0, 2, 1]) < 0.9 * float(painted[0, 0, 2, 1])


def test_a_grey_wall_beside_the_face_lets_no_mouth_be_greener():
    skin = jnp.broadcast_to(jnp.array([0.5, 0.6, 0.8]), (1, 4, 8, 3))
    beside_a_wall = skin.at[:, :, jnp.array([0, 1, 6, 7])].set(0.5)
    painted = jnp.broadcast_to(jnp.array([0.4, 0.55, 0.5]), (1, 4, 8, 3))
    expected = warp_model.limit_green(painted, skin)
    np.testing.assert_allclose(warp_model.limit_green(painted, beside_a_wall), expected, rtol=1e-6)


def test_painted_changes_have_little_chroma_and_any_brightness():
    change = jnp.array([[0.9, 0.9, 0.9], [0.02, 0.0, -0.02], [1.0, -1.0, 0.0]])
    limited = warp_model.limit_chroma(change)
    np.testing.assert_allclose(limited[:2], change[:2], atol=2e-4)
    assert float(jnp.abs(limited[2]).max()) <= warp_model.MAX_CHROMA
