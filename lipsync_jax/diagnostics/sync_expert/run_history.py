"""Checks of a started run: its loss, its config, and changes of its weights."""

from pathlib import Path

import jax
import ml_collections
import numpy as np

from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, SKIPPED, Finding
from lipsync_jax.diagnostics.sync_expert.learning_checks import FROZEN
from lipsync_jax.methods.common.sync_expert_method import chance_loss
from lipsync_jax.training import checkpoints, metric_writer, resume

# Without effect on a step.
_IGNORED_FIELDS = ("data.dir", "data.num_threads", "data.num_workers", "train.")
_CHANCE_MARGIN = 0.02  # of the chance loss


def check(workdir: Path, config: ml_collections.ConfigDict) -> list[Finding]:
    """Checks a run's metrics and checkpoints; [] without a run.

    Raises:
        ValueError: the metrics can't be read.
    """
    if not (workdir / "scalars.jsonl").is_file():
        return []
    findings = [_loss(workdir, config)]
    if (config_finding := _config_changes(workdir, config)) is not None:
        findings.append(config_finding)
    steps = sorted(
        (int(p.name), p)
        for p in ((workdir / "checkpoints").iterdir() if (workdir / "checkpoints").is_dir() else ())
        if p.name.isdigit() and (p / "expert").is_dir()
    )
    if len(steps) > 1:
        findings.append(_weights_changed(steps[-2], steps[-1]))
    return findings


def _loss(workdir: Path, config: ml_collections.ConfigDict) -> Finding:
    try:
        lines = metric_writer.read_scalars(workdir, "train")
        losses = [(int(line["step"]), float(line["loss"])) for line in lines]
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{workdir}/scalars.jsonl can't be read as the metrics of a sync expert ({error!r}); "
            "name another --workdir"
        ) from error
    if not losses:
        return Finding(
            "run",
            SKIPPED,
            f"{workdir}/scalars.jsonl has no training metrics yet",
            "The run has just started.",
        )
    chance = chance_loss(config.objective, config.data.batch_size, config.windows_per_clip)
    recent = [loss for _, loss in losses[-max(1, len(losses) // 5) :]]
    current_loss = float(np.mean(recent))
    cosine_std = float(np.mean([line.get("cosine_std", np.nan) for line in lines[-len(recent) :]]))
    measurement = (
        f"the run's loss was {losses[0][1]:.3f} at step {losses[0][0]} and is {current_loss:.3f} "
        f"at step {losses[-1][0]}, where chance is {chance:.3f}; standard deviation of the "
        f"cosines {cosine_std:.3f}"
    )
    metrics = {"losses": losses, "chance_loss": chance, "cosine_std": cosine_std}
    if current_loss < (1 - _CHANCE_MARGIN) * chance:
        return Finding("run", OK, measurement, "The loss is below chance.", metrics=metrics)
    return Finding(
        "run",
        NOTE,
        measurement,
        "The loss is at chance: the other findings say why; without one, the run needs more steps "
        "or more data.",
        "Published training with `cosine_bce` leaves chance after 100,000 steps and more; the "
        "objective `info_nce` of the variant `small_data` leaves it after hundreds.",
        metrics=metrics,
    )


def _config_changes(workdir: Path, config: ml_collections.ConfigDict) -> Finding | None:
    path = workdir / resume.CONFIG_FILE
    if not path.is_file():
        return None
    changes = {
        name.removeprefix("config."): values
        for name, values in (resume.differences(workdir, config) or {}).items()
    }
    differing = sorted(name for name in changes if not name.startswith(_IGNORED_FIELDS))
    if not differing:
        return None
    each = (f"{name} was {changes[name][0]}, is {changes[name][1]}" for name in differing[:4])
    differences_text = ", ".join(each)
    more = ", ..." if len(differing) > 4 else ""
    return Finding(
        "config",
        NOTE,
        f"the run was started with other values: {differences_text}{more}",
        "The findings here are about the values given now.",
        f"Give the values of {path} to diagnose the run itself.",
        metrics={name: list(changes[name]) for name in differing},
    )


def _weights_changed(before: tuple[int, Path], after: tuple[int, Path]) -> Finding:
    """Compares the weights of two checkpoints."""
    trees = [checkpoints.read_item(folder / "expert")["params"] for _, folder in (before, after)]
    pairs = zip(*map(jax.tree_util.tree_leaves_with_path, trees), strict=True)
    unchanged, kernels = [], 0
    for (path, old), (_, new) in pairs:
        if old.ndim > 1:
            kernels += 1
            if np.array_equal(old, new):
                unchanged.append(jax.tree_util.keystr(path, simple=True, separator="/"))
    measurement = (
        f"{kernels - len(unchanged)} of {kernels} layers differ between the run's checkpoints of "
        f"steps {before[0]} and {after[0]}"
    )
    if not unchanged:
        return Finding("run weights", OK, measurement, "The run's weights change.")
    return Finding(
        "run weights",
        FAULT,
        f"{measurement}; {unchanged[0]} does not",
        "Weights that do not change can't learn; the loss stays at its value.",
        "Check the learning rate in the run's config.json, its schedule (has it decayed to 0?) and "
        "the optimizer's masks.",
        FROZEN,
        {"unchanged": unchanged},
    )
