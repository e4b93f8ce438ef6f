import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from lipsync_jax import losses
from tests.golden.glance import recipe


def random_array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def cosines(a, b):
    a, b = a.astype(float), b.astype(float)
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def entropy(p, y):
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def test_binary_cross_entropy():
    rng = np.random.default_rng(0)
    p, y = rng.uniform(0.01, 0.99, (2, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(losses.binary_cross_entropy(p, y), entropy(p, y).mean(), rtol=1e-6)
    each = losses.binary_cross_entropy(p, 1.0, mean=False)
    np.testing.assert_allclose(each, -np.log(p), rtol=1e-5)


def test_logarithms_are_clamped():
    p, y = np.float32([0, 1, 0, 1]), np.float32([1, 0, 0, 1])
    each = losses.binary_cross_entropy(p, y, mean=False)
    np.testing.assert_array_equal(each, [100, 100, 0, 0])


def test_gradient_of_binary_cross_entropy():
    p, y = np.float32([0.2, 0.9, 0.5]), np.float32([1, 0, 0.25])
    slope = jax.grad(lambda p: losses.binary_cross_entropy(p, y))(p)
    np.testing.assert_allclose(slope, (p - y) / (p * (1 - p)) / 3, rtol=1e-5)


@pytest.mark.parametrize(("p", "y", "slope"), [(0, 1, -1e12), (1, 0, 1e12), (0, 0, 0), (1, 1, 0)])
def test_gradient_is_finite_at_certainty(p, y, slope):
    found = jax.grad(losses.binary_cross_entropy)(jnp.float32(p), jnp.float32(y))
    np.testing.assert_allclose(found, slope, rtol=1e-6)


def test_cosine_similarity():
    a, b = random_array(4, 6, 7), random_array(4, 6, 7, seed=1)
    np.testing.assert_allclose(losses.cosine_similarity(a, b), cosines(a, b), atol=1e-6)
    assert losses.cosine_similarity(jnp.zeros(3), jnp.ones(3)) == 0


def test_cosine_bce():
    a, b = np.abs(random_array(6, 7)), np.abs(random_array(6, 7, seed=1))
    y = np.float32([1, 0, 1, 0, 0, 1])
    expected = entropy(cosines(a, b), y)
    np.testing.assert_allclose(losses.cosine_bce_loss(a, b, y, mean=False), expected, rtol=1e-5)
    np.testing.assert_allclose(losses.cosine_bce_loss(a, b, y), expected.mean(), rtol=1e-5)


def test_cosine_bce_at_the_ends():
    """Rounding takes cosines above 1, dead embeddings give 0, opposite ones count as 0."""
    unit = losses.l2_normalize(np.abs(random_array(200, 512)))
    assert losses.cosine_similarity(unit, unit).max() > 1
    assert losses.cosine_bce_loss(unit, unit, 1.0) < 1e-5
    assert losses.cosine_bce_loss(jnp.zeros((2, 3)), jnp.ones((2, 3)), 1.0) == 100
    assert losses.cosine_bce_loss(-jnp.ones((2, 3)), jnp.ones((2, 3)), 1.0) == 100


@pytest.mark.parametrize("y", [0.0, 1.0])
@pytest.mark.parametrize("sign", [-1.0, 0.0, 1.0])
def test_gradients_of_cosine_bce_are_finite(sign, y):
    b = np.abs(random_array(3, 4))
    gradients = jax.grad(losses.cosine_bce_loss, argnums=(0, 1))(sign * b, b, y)
    assert all(jnp.isfinite(gradient).all() for gradient in gradients)


def expected_contrastive(a, b, temperature, allowed):
    logits = cosines(a[:, None], b[None]) / temperature
    logits = np.where(allowed, logits, -np.inf)
    found = [np.diagonal(log_softmax(logits, axis=axis)).mean() for axis in (0, 1)]
    return -np.mean(found)


def test_contrastive():
    a, b = random_array(6, 5), 3 * random_array(6, 5, seed=1)
    np.testing.assert_allclose(
        losses.info_nce(a, b, 0.2), expected_contrastive(a, b, 0.2, True), rtol=1e-5
    )
    groups = np.array([0, 0, 1, 1, 1, 2])
    allowed = groups[:, None] == groups
    np.testing.assert_allclose(
        losses.info_nce(a, b, 0.2, jnp.asarray(groups)),
        expected_contrastive(a, b, 0.2, allowed),
        rtol=1e-5,
    )


def test_contrastive_of_equal_embeddings_is_chance():
    same = np.ones((8, 4), np.float32)
    np.testing.assert_allclose(losses.info_nce(same, same), np.log(8), rtol=1e-6)


def test_contrastive_gradients_with_groups_are_finite():
    groups = jnp.array([0, 1, 1, 2])
    gradients = jax.grad(losses.info_nce, argnums=(0, 1))(
        random_array(4, 3), random_array(4, 3, seed=1), 0.07, groups
    )
    assert all(jnp.isfinite(gradient).all() for gradient in gradients)


def test_l1():
    a, b = random_array(3, 4), random_array(3, 4, seed=1)
    np.testing.assert_allclose(losses.l1(a, b), np.abs(a - b).mean(), rtol=1e-6)


def test_l2_normalise():
    x = random_array(3, 4)
    lengths = np.linalg.norm(x, axis=-1, keepdims=True)
    np.testing.assert_allclose(losses.l2_normalize(x), x / lengths, rtol=1e-6)
    np.testing.assert_array_equal(losses.l2_normalize(jnp.zeros((2, 3))), jnp.zeros((2, 3)))
    slope = jax.grad(lambda x: losses.l2_normalize(x).sum())(jnp.zeros((2, 3)))
    assert jnp.isfinite(slope).all()


@pytest.mark.parametrize(
    "loss", [losses.l1, losses.cosine_bce_loss, losses.info_nce, losses.binary_cross_entropy]
)
def test_reduced_precision_is_widened(loss):
    half = jnp.full((2, 3), 0.5, jnp.bfloat16)
    target = (jnp.ones(2),) if loss is losses.cosine_bce_loss else ()
    assert loss(half, half, *target).dtype == jnp.float32


@pytest.fixture(scope="module")
def golden():
    """Losses of At a Glance, computed once by PyTorch."""
    return recipe.expected("frontends_losses")


def test_losses_of_at_a_glance(golden):
    audio, motion = golden["corr_audio"], golden["corr_flow"]
    each = {
        "corr_loss_profile15": losses.derivative_correlation_loss(audio, motion),
        "corr_loss_flat240": losses.derivative_correlation_loss(
            audio, motion, mean_over_features=False
        ),
        "loss_pix_l1_mean": losses.l1(golden["video_real"], golden["video_fake"]),
        "loss_perc_mse_mean": losses.mse(golden["feat_real"], golden["feat_fake"]),
    }
    real, drawn_, wrong = jax.nn.sigmoid(golden["gan_logits_real_fake_wrong"])
    entropy = losses.binary_cross_entropy
    each["loss_D"] = entropy(real, 1) + 0.5 * (entropy(drawn_, 0) + entropy(wrong, 0))
    each["loss_G_gen"] = entropy(drawn_, 1)
    for name, found in each.items():
        np.testing.assert_allclose(found, golden[name], rtol=1e-5, err_msg=name)
    names = ("corr_loss_profile15", "loss_pix_l1_mean", "loss_perc_mse_mean", "loss_G_gen")
    total = sum(w * each[name] for w, name in zip((1, 0.5, 1, 1), names, strict=True))
    np.testing.assert_allclose(total, golden["loss_total"], rtol=1e-5)


def test_correlation_is_0_for_equal_profiles_and_finite_for_none():
    features = np.abs(random_array(3, 15, 16))
    np.testing.assert_allclose(
        losses.derivative_correlation_loss(features, 2 * features), 0, atol=1e-6
    )
    slope = jax.grad(lambda x: losses.derivative_correlation_loss(x, features))(
        jnp.zeros((3, 15, 16))
    )
    assert np.isfinite(slope).all()


def test_margin_contrastive():
    distance, apart = np.float32([0.2, 0.4, 1.5]), np.float32([0, 1, 1])
    found = losses.contrastive_loss(distance, apart)
    np.testing.assert_allclose(found, (0.2**2 + 0.6**2 + 0) / 3, rtol=1e-6)
    np.testing.assert_allclose(losses.contrastive_loss(distance, 1.0, 2.0), 2.016667, rtol=1e-5)


def test_multiscale_endpoint_error(golden):
    flows = [np.moveaxis(golden[f"epe_pred{side}"], 1, -1) for side in (16, 8, 4, 2, 1)]
    true = np.moveaxis(golden["epe_target"], 1, -1)
    found = losses.multiscale_endpoint_error(tuple(flows), true, reduction="mean")
    np.testing.assert_allclose(found, golden["epe_loss_mean"], rtol=1e-5)
    # The coarse flows alone are off: by (3, 4), at one and at four pixels.
    exact = [true.reshape(2, s, 64 // s, s, 64 // s, 2).mean(axis=(2, 4)) for s in (16, 8, 4, 2, 1)]
    off = (*exact[:3], *(flow + np.float32([3, 4]) for flow in exact[3:]))
    np.testing.assert_allclose(
        losses.multiscale_endpoint_error(off, true), 5 * (4 * 0.08 + 0.32), rtol=1e-4
    )
