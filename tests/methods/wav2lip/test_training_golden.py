"""Losses, gradients and BatchNorm statistics of one training step against the official networks.

The golden step ran in float64, so ours does: what differs then is a difference of the method.
"""

import jax
import numpy as np
import pytest

from lipsync_jax import losses
from lipsync_jax.methods.wav2lip.model import QualityDiscriminator, SyncExpert, Wav2Lip
from lipsync_jax.methods.wav2lip.torch_weights import from_variables, to_variables
from lipsync_jax.nn.batch_norm import BatchNorm
from lipsync_jax.nn.cpu.jit import jit
from tests.golden import recipe
from tests.helpers.double_precision import double_precision

pytestmark = pytest.mark.slow
WINDOWS, FRAMES = 4, 5
GENERATOR, EXPERT, DISCRIMINATOR = Wav2Lip(), SyncExpert(), QualityDiscriminator()


@pytest.fixture(scope="module", autouse=True)
def _double_precision():
    with double_precision():
        yield


@pytest.fixture(scope="module")
def golden():
    return recipe.expected("trainstep")


@pytest.fixture(scope="module")
def networks():
    """Variables by network, always passed to compiled functions, which fold constants slowly."""
    names = {
        "generator": ("wav2lip", "wav2lip"),
        "expert": ("syncnet_color", "sync_expert"),
        "quality": ("wav2lip_disc_qual", "quality_discriminator"),
    }
    return {
        name: jax.tree.map(np.float64, to_variables(recipe.weights(official), network))
        for name, (official, network) in names.items()
    }


def frames(x):
    """(windows, colours, time, rows, columns) -> (windows * time, rows, columns, colours)."""
    return x.transpose(0, 2, 3, 4, 1).reshape(-1, 96, 96, 3)


def stack(generated):
    """(windows * time, 96, 96, 3) -> the expert's (windows, 48, 96, 15)."""
    lower = generated.reshape(WINDOWS, FRAMES, 96, 96, 3)[:, :, 48:]
    return lower.transpose(0, 2, 3, 1, 4).reshape(WINDOWS, 48, 96, 15)


@pytest.fixture(scope="module")
def inputs():
    given = {name: x.astype(np.float64) for name, x in recipe.inputs("trainstep").items()}
    target = frames(given["gt"])
    masked = target.copy()
    masked[:, 48:] = 0
    return {
        "target": target,
        "faces": np.concatenate([masked, frames(given["ref"])], axis=-1),
        "audio": given["indiv_mels"].reshape(-1, 80, 16, 1),
        "mel": np.moveaxis(given["mel"], 1, -1),
        "expert_faces": np.moveaxis(given["exp_face"], 1, -1),
        "expert_mel": np.moveaxis(given["exp_mel"], 1, -1),
        "expert_label": given["exp_y"][:, 0],
    }


def generate(variables, inputs, train):
    return GENERATOR.apply(
        variables, inputs["audio"], inputs["faces"], train=train, mutable=["batch_stats"]
    )


def sync_loss_and_stats(variables, mel, generated, train):
    (audio, video), new = EXPERT.apply(
        variables, mel, stack(generated), train=train, mutable=["batch_stats"]
    )
    return losses.cosine_bce_loss(audio, video, 1.0), new["batch_stats"]


def quality(variables, images, label):
    return losses.binary_cross_entropy(DISCRIMINATOR.apply(variables, images), label)


# Losses of generated frames, by the golden file's names.
LOSSES = {
    "l1": lambda networks, inputs, generated: losses.l1(generated, inputs["target"]),
    "percep": lambda networks, inputs, generated: quality(networks["quality"], generated, 1.0),
    "sync_expert_trainmode": lambda networks, inputs, generated: sync_loss_and_stats(
        networks["expert"], inputs["mel"], generated, True
    )[0],
    "sync_expert_evalmode": lambda networks, inputs, generated: sync_loss_and_stats(
        networks["expert"], inputs["mel"], generated, False
    )[0],
}


def compute_losses(networks, inputs, generated):
    """Every loss of the golden file for generated frames."""
    values = {name: loss(networks, inputs, generated) for name, loss in LOSSES.items()}
    values["disc_real"] = quality(networks["quality"], inputs["target"], 1.0)
    values["disc_fake"] = quality(networks["quality"], generated, 0.0)
    return values


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
            capture_intermediates=lambda found, _: isinstance(found, BatchNorm),
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


MIXTURES = {
    "l1only": {"l1": 1},
    "hq_phase1": {"percep": 0.07, "l1": 0.93},
    "hq_phase2_expert_trainmode": {"sync_expert_trainmode": 0.03, "percep": 0.07, "l1": 0.9},
    "hq_phase2_expert_evalmode": {"sync_expert_evalmode": 0.03, "percep": 0.07, "l1": 0.9},
    "plain_phase2_expert_trainmode": {"sync_expert_trainmode": 0.01, "l1": 0.99},
}


@pytest.fixture(scope="module")
def step(networks, inputs):
    """Generated frames, loss values, gradients of each loss and new statistics of one step."""

    @jit
    def forward(variables, inputs):
        stats = variables["batch_stats"]
        return jax.vjp(
            lambda params: generate({"params": params, "batch_stats": stats}, inputs, True),
            variables["params"],
            has_aux=True,
        )

    generated, pull, new = forward(networks["generator"], inputs)
    apply = jit(lambda pull, gradient: pull(gradient)[0])
    grads = {}
    for name, loss in LOSSES.items():
        image_gradient = jit(jax.grad(loss, argnums=2))(networks, inputs, generated)
        grads[name] = apply(pull, image_gradient)
    return generated, jit(compute_losses)(networks, inputs, generated), grads, new["batch_stats"]


def test_losses(golden, step):
    _, values, _, _ = step
    for name, value in values.items():
        np.testing.assert_allclose(value, golden[f"train_{name}"], atol=1e-9, err_msg=name)
    for name, weights in MIXTURES.items():
        value = sum(weight * values[term] for term, weight in weights.items())
        np.testing.assert_allclose(value, golden[f"loss_{name}"], atol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", MIXTURES)
def test_generator_gradients(golden, networks, step, name):
    _, _, grads, _ = step
    weights = MIXTURES[name]
    mixed = jax.tree.map(
        lambda *gradients: sum(w * g for w, g in zip(weights.values(), gradients, strict=True)),
        *(grads[term] for term in weights),
    )
    stats = networks["generator"]["batch_stats"]
    expected = golden[f"gradnorm_{name}"]
    check_norms(mixed, stats, "wav2lip", golden["gen_param_keys"], expected)


def test_generator_statistics(golden, networks, inputs, step):
    _, _, _, new = step
    check_statistics(
        GENERATOR,
        "wav2lip",
        networks["generator"],
        new,
        (inputs["audio"], inputs["faces"]),
        golden["gen_bn_keys"],
        golden["gen_bn_norm_after_1_forward"],
    )


def test_expert_statistics(golden, networks, inputs, step):
    generated, *_ = step
    check_statistics(
        EXPERT,
        "sync_expert",
        networks["expert"],
        jit(lambda *given: sync_loss_and_stats(*given, True)[1])(
            networks["expert"], inputs["mel"], generated
        ),
        (inputs["mel"], stack(generated)),
        golden["expert_bn_keys"],
        golden["expert_bn_norm_after_1_trainmode_forward"],
    )


def test_discriminator_gradients(golden, networks, inputs, step):
    generated, *_ = step

    @jit
    def learn(params, real, fake):
        def loss(params):
            return quality({"params": params}, real, 1.0) + quality({"params": params}, fake, 0.0)

        return jax.grad(loss)(params)

    check_norms(
        learn(networks["quality"]["params"], inputs["target"], generated),
        {},
        "quality_discriminator",
        golden["disc_param_keys"],
        golden["gradnorm_disc"],
    )


def test_generator_in_eval_mode(golden, networks, inputs):
    @jit
    def run(networks, inputs):
        generated, _ = generate(networks["generator"], inputs, False)
        return compute_losses(networks, inputs, generated)

    for name, value in run(networks, inputs).items():
        np.testing.assert_allclose(value, golden[f"eval_{name}"], atol=1e-9, err_msg=name)


def test_expert_step(golden, networks, inputs):
    @jit
    def run(params, stats, inputs):
        def loss(params):
            (audio, video), _ = EXPERT.apply(
                {"params": params, "batch_stats": stats},
                inputs["expert_mel"],
                inputs["expert_faces"],
                train=True,
                mutable=["batch_stats"],
            )
            return losses.cosine_bce_loss(audio, video, inputs["expert_label"])

        return jax.value_and_grad(loss)(params)

    params, stats = (networks["expert"][kind] for kind in ("params", "batch_stats"))
    value, grads = run(params, stats, inputs)
    np.testing.assert_allclose(value, golden["expert_loss"], atol=1e-9)
    expected = golden["gradnorm_expert"]
    check_norms(grads, stats, "sync_expert", golden["expert_param_keys"], expected)
