"""Checks of the training by a few steps on one batch: weights, learning rate, overfitting."""

import logging
import math
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np

from lipsync_jax.data.clip import Clip
from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, SKIPPED, Finding
from lipsync_jax.diagnostics.sync_expert.overfit import MAX_STEPS, OverfitResult, OverfitTest
from lipsync_jax.types import Json

FROZEN, TOO_HIGH, TOO_LOW = "frozen weights", "learning rate too high", "learning rate too low"
CANNOT_OVERFIT, NOT_LEARNING = "cannot overfit one batch", "training does not learn"

# Change of a layer's weights by a step, over their norm; 0.005 to 0.09 with the configs here.
LARGE_STEP = 0.3
_GOOD_STEP = 0.03

log = logging.getLogger(__name__)


def check(
    overfit_test: OverfitTest,
    synthetic: Sequence[Clip],
    user_clips: Sequence[Clip],
    no_faults: bool,
) -> list[Finding]:
    """Checks for weights that do not change, a wrong learning rate, and clips that can't be learnt.

    Args:
        overfit_test: of the config.
        synthetic: synthetic clips, which can be learnt.
        user_clips: clips of the data set.
        no_faults: whether no fault was found before; else the user's clips are not tested.
    """
    if not overfit_test.trainable:
        return [_frozen("the config gives the expert no optimizer", {})]
    log.info("compiling, then %d steps at most on synthetic clips", MAX_STEPS)
    result = overfit_test.overfit(synthetic)
    findings = [_weights(result)]
    if findings[0].state != FAULT:
        findings.append(_rate(overfit_test, result, synthetic))
    if any(finding.state == FAULT for finding in findings) or not no_faults:
        return [
            *findings,
            Finding(
                "batch",
                SKIPPED,
                "a batch of your clips was not tested",
                "The faults found before would decide the result.",
            ),
        ]
    log.info("%d steps at most on your clips", MAX_STEPS)
    return [*findings, _user_batch(overfit_test.overfit(user_clips), result)]


def _weights(result: OverfitResult) -> Finding:
    if not result.unchanged and not result.without_gradient:
        return Finding(
            "weights",
            OK,
            f"all {result.kernels} layers change and have gradients (global norm "
            f"{result.grad_norm:.3g})",
            "Every layer learns.",
            metrics=result.metrics,
        )
    names = result.unchanged or result.without_gradient
    layers = f"{len(names)} of {result.kernels} layers ({_first_names(names)})"
    steps = len(result.losses)
    if result.without_gradient:
        return _frozen(f"in {steps} steps no gradient reaches {layers}", result.metrics)
    return _frozen(
        f"{layers} have gradients (global norm {result.grad_norm:.3g}) and did not change in "
        f"{steps} steps",
        result.metrics,
    )


def _frozen(measurement: str, metrics: Mapping[str, Json]) -> Finding:
    return Finding(
        "weights",
        FAULT,
        measurement,
        "Weights that do not change can't learn; the loss stays at its initial value.",
        "Check `config.optimizer.learning_rate` (is it 0?), the optimizer's masks, and the network "
        "and its loss for a stop_gradient.",
        FROZEN,
        metrics,
    )


def _rate(overfit_test: OverfitTest, result: OverfitResult, synthetic: Sequence[Clip]) -> Finding:
    """Checks the learning rate; a suspect one is compared with another rate on the same batch."""
    rate = float(overfit_test.method.config.optimizer.learning_rate)
    step_text = f"one step at {rate:g} changes the median layer by {_percent(result.step_size)}"
    metrics = {"rate": rate, "step_size": result.step_size, "configured": result.metrics}
    too_large = not result.finite or result.step_size > LARGE_STEP
    if result.converged and not too_large:
        return Finding(
            "rate",
            OK,
            f"{step_text}, and on one synthetic batch {result.outcome}",
            "The learning rate and the loss work.",
            metrics=metrics,
        )
    exponent = (
        round(math.log10(_GOOD_STEP / result.step_size)) if 0 < result.step_size < np.inf else -2
    )
    factor = 10.0 ** (min(exponent, -1) if too_large else exponent or -1)
    log.info("the same batch at a rate of %g", rate * factor)
    other_result = overfit_test.overfit(synthetic, factor)
    metrics["other"] = {"rate": rate * factor, **other_result.metrics}
    measurement = (
        f"{step_text}; on one synthetic batch {result.outcome}, and at a rate of "
        f"{rate * factor:g} {other_result.outcome}"
    )
    if not too_large and not other_result.converged:
        return Finding(
            "rate",
            FAULT,
            measurement,
            "Not even synthetic clips with exactly matching audio are learnt at the tested rates; "
            f"the loss of chance is {result.chance_loss:.2f}.",
            "Check the network and its loss, not the data: are all embeddings equal (standard "
            f"deviation of the cosines {result.cosine_std:.3f})?",
            NOT_LEARNING,
            metrics,
        )
    too_large = factor < 1
    return Finding(
        "rate",
        FAULT,
        measurement,
        "Each step undoes the steps before."
        if too_large
        else "The steps are too small to leave chance in reasonable time.",
        f"Set --config.optimizer.learning_rate={rate * factor:.1g}.",
        TOO_HIGH if too_large else TOO_LOW,
        metrics,
    )


def _user_batch(result: OverfitResult, synthetic_result: OverfitResult) -> Finding:
    measurement = (
        f"on one batch of your clips {result.outcome}, where chance is {result.chance_loss:.2f}; "
        f"standard deviation of the cosines {result.cosine_std:.2f}"
    )
    if result.converged:
        return Finding(
            "batch",
            OK,
            measurement,
            "The expert can discriminate the windows of your clips.",
            metrics=result.metrics,
        )
    return Finding(
        "batch",
        FAULT,
        f"{measurement}; the synthetic batch took {len(synthetic_result.losses)} steps",
        "The training works, but the expert can't discriminate the windows of your clips.",
        "Check the contact sheet of `lipsync prepare`: mouths must be in the lower half of the "
        "crops, sharp and well lit.",
        CANNOT_OVERFIT,
        result.metrics,
    )


def batch_size(config: ml_collections.ConfigDict, clips: int) -> Finding:
    """Checks that batches are large enough for the loss and for BatchNorm.

    Args:
        config: of the sync expert.
        clips: number of clips in the training split.
    """
    size, windows = config.data.batch_size, config.data.batch_size * config.windows_per_clip
    measurement = f"a batch has {windows} windows of {size} clips out of {clips}"
    metrics = {"windows": windows, "batch_size": size, "clips": clips}
    too_few, repeated = windows < 16, clips < size
    if not too_few and not repeated:
        return Finding(
            "batch size",
            OK,
            measurement,
            "The batch is large enough for BatchNorm and the loss.",
            metrics=metrics,
        )
    return Finding(
        "batch size",
        NOTE,
        measurement,
        "BatchNorm's statistics of so few windows are noisy, and there are few negatives."
        if too_few
        else "A clip is repeated within a batch.",
        "Raise config.data.batch_size or config.windows_per_clip."
        if too_few
        else f"Set config.data.batch_size to {clips} or less, or add clips.",
        metrics=metrics,
    )


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g} %" if fraction < 1 else f"{100 * fraction:.0f} %"
