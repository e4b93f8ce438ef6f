"""Does the config's training learn at all? Verdicts about a few steps on one batch."""

import logging
import math
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np

from lipsync_jax.data.clip import Clip
from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, SKIPPED, Finding
from lipsync_jax.diagnostics.sync_expert.overfit import STEPS, Bench, Trial
from lipsync_jax.types import Json

FROZEN, TOO_HIGH, TOO_LOW = "frozen weights", "learning rate too high", "learning rate too low"
UNLEARNABLE, BROKEN = "clips can't be learnt", "training does not learn"

# Change of a layer's weights by a step, over their size. The configs here make 0.005 to 0.09.
LARGE_STEP = 0.3
_GOOD_STEP = 0.03

log = logging.getLogger(__name__)


def check(bench: Bench, known: Sequence[Clip], own: Sequence[Clip], mended: bool) -> list[Finding]:
    """Names weights that don't move, a rate that is wrong, clips that can't be learnt.

    Args:
        bench: the training.
        known: clips that can certainly be learnt, so that the data has no part in the verdict.
        own: clips of the data set.
        mended: whether no fault was found before; else the own clips are not tried.
    """
    if not bench.learns:
        return [_frozen("the config gives the expert no optimiser", {})]
    log.info("compiling, then %d steps at most on known-answer clips", STEPS)
    trial = bench.overfit(known)
    findings = [_weights(trial)]
    if findings[0].state != FAULT:
        findings.append(_rate(bench, trial, known))
    if any(finding.state == FAULT for finding in findings) or not mended:
        return [
            *findings,
            Finding(
                "batch",
                SKIPPED,
                "a batch of your clips was not tried",
                "What was found before would decide how it ends.",
            ),
        ]
    log.info("%d steps at most on your clips", STEPS)
    return [*findings, _own(bench.overfit(own), trial)]


def _weights(trial: Trial) -> Finding:
    if not trial.still and not trial.unreached:
        return Finding(
            "weights",
            OK,
            f"all {trial.kernels} layers move and have gradients (norm of all "
            f"{trial.gradient_norm:.3g})",
            "Every layer learns.",
            figures=trial.figures,
        )
    names = trial.still or trial.unreached
    where = f"{len(names)} of {trial.kernels} layers ({_few(names)})"
    steps = len(trial.losses)
    if trial.unreached:
        return _frozen(f"in {steps} steps no gradient reaches {where}", trial.figures)
    return _frozen(
        f"{where} have gradients (norm of all {trial.gradient_norm:.3g}) and did not change in "
        f"{steps} steps",
        trial.figures,
    )


def _frozen(measured: str, figures: Mapping[str, Json]) -> Finding:
    return Finding(
        "weights",
        FAULT,
        measured,
        "Weights that stand still can't learn; the loss stays where the initial weights put it.",
        "Look at `config.optimiser.learning_rate` (is it 0?), at the optimiser's masks, and for a "
        "stop_gradient in the network or its loss.",
        FROZEN,
        figures,
    )


def _rate(bench: Bench, trial: Trial, known: Sequence[Clip]) -> Finding:
    """Judges the learning rate; where it looks wrong, another one is tried on the same batch."""
    rate = float(bench.method.config.optimiser.learning_rate)
    change = f"one step at {rate:g} changes the median layer by {_percent(trial.step_size)}"
    figures = {"rate": rate, "step_size": trial.step_size, "configured": trial.figures}
    high = not trial.finite or trial.step_size > LARGE_STEP
    if trial.learnt and not high:
        return Finding(
            "rate",
            OK,
            f"{change}, and on one known-answer batch {trial.outcome}",
            "The learning rate and the loss work.",
            figures=figures,
        )
    power = round(math.log10(_GOOD_STEP / trial.step_size)) if 0 < trial.step_size < np.inf else -2
    factor = 10.0 ** (min(power, -1) if high else power or -1)
    log.info("the same batch at a rate of %g", rate * factor)
    other = bench.overfit(known, factor)
    figures["other"] = {"rate": rate * factor, **other.figures}
    measured = (
        f"{change}; on one known-answer batch {trial.outcome}, and at a rate of "
        f"{rate * factor:g} {other.outcome}"
    )
    if not high and not other.learnt:
        return Finding(
            "rate",
            FAULT,
            measured,
            "Not even lips and sound that follow each other exactly are learnt, at no rate that "
            "was tried; guessing gives "
            f"{trial.chance:.2f}.",
            "Look at the network and its loss rather than at the data: are the embeddings all "
            f"alike (spread of the cosines {trial.spread:.3f})?",
            BROKEN,
            figures,
        )
    high = factor < 1
    return Finding(
        "rate",
        FAULT,
        measured,
        "Each step overwrites what the steps before it have learnt."
        if high
        else "The steps are too small to leave chance in any sensible time.",
        f"Set --config.optimiser.learning_rate={rate * factor:.1g}.",
        TOO_HIGH if high else TOO_LOW,
        figures,
    )


def _own(trial: Trial, known: Trial) -> Finding:
    measured = (
        f"on one batch of your clips {trial.outcome}, where guessing gives {trial.chance:.2f}; "
        f"spread of its cosines {trial.spread:.2f}"
    )
    if trial.learnt:
        return Finding(
            "batch",
            OK,
            measured,
            "The expert can tell your clips' windows apart.",
            figures=trial.figures,
        )
    return Finding(
        "batch",
        FAULT,
        f"{measured}; the known-answer batch took {len(known.losses)} steps",
        "The training works, but the windows of your clips look or sound alike to the expert.",
        "Look at the contact sheet that `lipsync prepare` writes: the mouth has to be in the "
        "lower half of the crops, sharp and well lit.",
        UNLEARNABLE,
        trial.figures,
    )


def batch_size(config: ml_collections.ConfigDict, clips: int) -> Finding:
    """Whether batches are large enough for the loss and for BatchNorm.

    Args:
        config: of the sync expert.
        clips: in the training split.
    """
    size, windows = config.data.batch_size, config.data.batch_size * config.windows_per_clip
    measured = f"a batch has {windows} windows of {size} clips out of {clips}"
    figures = {"windows": windows, "batch_size": size, "clips": clips}
    few, repeated = windows < 16, clips < size
    if not few and not repeated:
        return Finding(
            "batch size",
            OK,
            measured,
            "That is enough for BatchNorm and the loss.",
            figures=figures,
        )
    return Finding(
        "batch size",
        NOTE,
        measured,
        "Statistics of so few windows are noisy, and a window has few others to be told from."
        if few
        else "The same clip comes several times in a batch, with little that is new.",
        "Raise config.data.batch_size or config.windows_per_clip."
        if few
        else f"Set config.data.batch_size to {clips} or less, or add clips.",
        figures=figures,
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"
