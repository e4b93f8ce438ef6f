"""Losses, gradients and BatchNorm statistics of one training step against the official networks.

The golden step ran in float64, so ours does: what differs then is a difference of the method.
"""

import flax.linen as nn
import jax
import numpy as np
import pytest

from lipsync_jax import losses
from lipsync_jax.interop.wav2lip import from_variables, to_variables
from lipsync_jax.layers.compile import jit
from lipsync_jax.models.wav2lip import QualityDiscriminator, SyncExpert, Wav2Lip
from tests.golden import recipe

pytestmark = pytest.mark.slow
WINDOWS, FRAMES = 4, 5
GENERATOR, EXPERT, DISCRIMINATOR = Wav2Lip(), SyncExpert(), QualityDiscriminator()


@pytest.fixture(scope="module", autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def golden():
    return recipe.expected("trainstep")


def official(name, network):
    doubled = jax.tree.map(np.float64, to_variables(recipe.weights(name), network))
    return doubled["params"], doubled.get("batch_stats", {})


def frames(x):
    """(windows, colours, time, rows, columns) -> (windows * time, rows, columns, colours)."""
    return x.transpose(0, 2, 3, 4, 1).reshape(-1, 96, 96, 3)


def stack(drawn):
    """(windows * time, 96, 96, 3) -> the expert's (windows, 48, 96, 15)."""
    lower = drawn.reshape(WINDOWS, FRAMES, 96, 96, 3)[:, :, 48:]
    return lower.transpose(0, 2, 3, 1, 4).reshape(WINDOWS, 48, 96, 15)


@pytest.fixture(scope="module")
def inputs():
    drawn = {name: x.astype(np.float64) for name, x in recipe.inputs("trainstep").items()}
    target = frames(drawn["gt"])
    masked = target.copy()
    masked[:, 48:] = 0
    return {
        "target": target,
        "faces": np.concatenate([masked, frames(drawn["ref"])], axis=-1),
        "audio": drawn["indiv_mels"].reshape(-1, 80, 16, 1),
        "mel": np.moveaxis(drawn["mel"], 1, -1),
        "expert_faces": np.moveaxis(drawn["exp_face"], 1, -1),
        "expert_mel": np.moveaxis(drawn["exp_mel"], 1, -1),
        "expert_label": drawn["exp_y"][:, 0],
    }


def draw(params, stats, inputs, train):
    return GENERATOR.apply(
        {"params": params, "batch_stats": stats},
        inputs["audio"],
        inputs["faces"],
        train=train,
        mutable=["batch_stats"],
    )


def judge(mel, drawn, train):
    params, stats = official("syncnet_color", "sync_expert")
    (audio, video), new = EXPERT.apply(
        {"params": params, "batch_stats": stats},
        mel,
        stack(drawn),
        train=train,
        mutable=["batch_stats"],
    )
    return losses.cosine_bce(audio, video, 1.0), new["batch_stats"]


def quality(drawn, label):
    params, _ = official("wav2lip_disc_qual", "quality_discriminator")
    return losses.binary_cross_entropy(DISCRIMINATOR.apply({"params": params}, drawn), label)


def judge_all(inputs, drawn):
    """Every loss that the golden file has of drawn frames."""
    return {
        "l1": losses.l1(drawn, inputs["target"]),
        "percep": quality(drawn, 1.0),
        "sync_expert_trainmode": judge(inputs["mel"], drawn, True)[0],
        "sync_expert_evalmode": judge(inputs["mel"], drawn, False)[0],
        "disc_real": quality(inputs["target"], 1.0),
        "disc_fake": quality(drawn, 0.0),
    }


def check_norms(grads, stats, network, keys, expected):
    """Compares L2 norms of each tensor; biases that BatchNorm cancels have no gradient."""
    tensors = from_variables(
        {"params": grads, **({"batch_stats": stats} if stats else {})}, network
    )
    cancelled = ".conv_block.0.bias" if network != "quality_discriminator" else "none"
    kept = [i for i, key in enumerate(keys) if not key.endswith(cancelled)]
    ours = [np.linalg.norm(tensors[key]) for key in keys[kept]]
    np.testing.assert_allclose(ours, expected[kept], rtol=1e-7)


def check_statistics(module, network, before, after, arguments, keys, expected):
    """Compares norms of running statistics, after making our biased variances unbiased."""
    _, captured = jax.eval_shape(
        lambda variables: module.apply(
            variables,
            *arguments,
            train=False,
            capture_intermediates=lambda found, _: isinstance(found, nn.BatchNorm),
            mutable=["intermediates"],
        ),
        before,
    )
    outputs = captured["intermediates"]
    params, old = before["params"], before["batch_stats"]
    unbiased = {}
    for block, stats in after.items():
        count = np.prod(outputs[block]["norm"]["__call__"][0].shape[:3])
        kept = 0.9 * old[block]["norm"]["var"]
        var = kept + (stats["norm"]["var"] - kept) * count / (count - 1)
        unbiased[block] = {"norm": {"mean": stats["norm"]["mean"], "var": var}}
    tensors = from_variables({"params": params, "batch_stats": unbiased}, network)
    ours = [np.linalg.norm(tensors[key]) for key in keys]
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_generator_step(golden, inputs):
    params, stats = official("wav2lip", "wav2lip")

    @jit
    def step(params):
        drawn, pull, new = jax.vjp(lambda p: draw(p, stats, inputs, True), params, has_aux=True)
        values, of_drawn = {}, {}
        for name in ("l1", "percep", "sync_expert_trainmode", "sync_expert_evalmode"):
            values[name], of_drawn[name] = jax.value_and_grad(
                lambda x, name=name: judge_all(inputs, x)[name]
            )(drawn)
        grads = {name: pull(gradient)[0] for name, gradient in of_drawn.items()}
        return values, grads, new["batch_stats"], judge_all(inputs, drawn), drawn

    values, grads, new, all_values, drawn = step(params)
    for name, value in all_values.items():
        np.testing.assert_allclose(value, golden[f"train_{name}"], atol=1e-9, err_msg=name)

    mixtures = {
        "l1only": {"l1": 1},
        "hq_phase1": {"percep": 0.07, "l1": 0.93},
        "hq_phase2_expert_trainmode": {"sync_expert_trainmode": 0.03, "percep": 0.07, "l1": 0.9},
        "hq_phase2_expert_evalmode": {"sync_expert_evalmode": 0.03, "percep": 0.07, "l1": 0.9},
        "plain_phase2_expert_trainmode": {"sync_expert_trainmode": 0.01, "l1": 0.99},
    }
    for name, weights in mixtures.items():
        value = sum(weight * values[term] for term, weight in weights.items())
        np.testing.assert_allclose(value, golden[f"loss_{name}"], atol=1e-9, err_msg=name)
        mixed = jax.tree.map(
            lambda *gradients, weights=weights: sum(
                weight * g for weight, g in zip(weights.values(), gradients, strict=True)
            ),
            *(grads[term] for term in weights),
        )
        expected = golden[f"gradnorm_{name}"]
        check_norms(mixed, stats, "wav2lip", golden["gen_param_keys"], expected)

    check_statistics(
        GENERATOR,
        "wav2lip",
        {"params": params, "batch_stats": stats},
        new,
        (inputs["audio"], inputs["faces"]),
        golden["gen_bn_keys"],
        golden["gen_bn_norm_after_1_forward"],
    )

    @jit
    def expert_statistics(drawn):
        return judge(inputs["mel"], drawn, True)[1]

    params, stats = official("syncnet_color", "sync_expert")
    check_statistics(
        EXPERT,
        "sync_expert",
        {"params": params, "batch_stats": stats},
        expert_statistics(drawn),
        (inputs["mel"], stack(drawn)),
        golden["expert_bn_keys"],
        golden["expert_bn_norm_after_1_trainmode_forward"],
    )

    discriminator, _ = official("wav2lip_disc_qual", "quality_discriminator")

    @jit
    def learn(params, drawn):
        def loss(params):
            real, fake = (
                DISCRIMINATOR.apply({"params": params}, x) for x in (inputs["target"], drawn)
            )
            bce = losses.binary_cross_entropy
            return bce(real, 1.0) + bce(fake, 0.0)

        return jax.grad(loss)(params)

    check_norms(
        learn(discriminator, drawn),
        {},
        "quality_discriminator",
        golden["disc_param_keys"],
        golden["gradnorm_disc"],
    )


def test_generator_in_eval_mode(golden, inputs):
    params, stats = official("wav2lip", "wav2lip")
    values = jit(lambda p: judge_all(inputs, draw(p, stats, inputs, False)[0]))(params)
    for name, value in values.items():
        np.testing.assert_allclose(value, golden[f"eval_{name}"], atol=1e-9, err_msg=name)


def test_expert_step(golden, inputs):
    params, stats = official("syncnet_color", "sync_expert")

    @jit
    def step(params):
        def loss(params):
            (audio, video), _ = EXPERT.apply(
                {"params": params, "batch_stats": stats},
                inputs["expert_mel"],
                inputs["expert_faces"],
                train=True,
                mutable=["batch_stats"],
            )
            return losses.cosine_bce(audio, video, inputs["expert_label"])

        return jax.value_and_grad(loss)(params)

    value, grads = step(params)
    np.testing.assert_allclose(value, golden["expert_loss"], atol=1e-9)
    expected = golden["gradnorm_expert"]
    check_norms(grads, stats, "sync_expert", golden["expert_param_keys"], expected)
