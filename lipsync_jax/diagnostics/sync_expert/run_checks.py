"""What a run that was begun says: where its loss stands, and whether its weights moved."""

import math
from pathlib import Path

import jax
import ml_collections
import numpy as np

from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, SKIPPED, Finding
from lipsync_jax.diagnostics.sync_expert.learning_checks import FROZEN
from lipsync_jax.training import checkpoints, metric_writer, resume

_HARMLESS = ("data.dir", "data.threads", "train.")  # values that no step depends on
_NEAR = 0.02  # of the loss of guessing


def check(workdir: Path, config: ml_collections.ConfigDict) -> list[Finding]:
    """Reads a run's figures and checkpoints; [] where there is no run yet.

    Raises:
        ValueError: the figures can't be read.
    """
    if not (workdir / "scalars.jsonl").is_file():
        return []
    findings = [_loss(workdir, config)]
    if (told := _another_config(workdir, config)) is not None:
        findings.append(told)
    steps = sorted(
        (int(p.name), p)
        for p in ((workdir / "checkpoints").iterdir() if (workdir / "checkpoints").is_dir() else ())
        if p.name.isdigit() and (p / "expert").is_dir()
    )
    if len(steps) > 1:
        findings.append(_moved(steps[-2], steps[-1]))
    return findings


def _loss(workdir: Path, config: ml_collections.ConfigDict) -> Finding:
    try:
        lines = metric_writer.read_scalars(workdir, "train")
        losses = [(int(line["step"]), float(line["loss"])) for line in lines]
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{workdir}/scalars.jsonl can't be read as the figures of a sync expert ({error!r}); "
            "name another --workdir"
        ) from error
    if not losses:
        return Finding(
            "run",
            SKIPPED,
            f"{workdir}/scalars.jsonl has no figures of training yet",
            "The run has just begun.",
        )
    windows = config.data.batch_size * config.windows_per_clip
    chance = math.log(2 if config.loss == "cosine_bce" else windows)
    recent = [loss for _, loss in losses[-max(1, len(losses) // 5) :]]
    now = float(np.mean(recent))
    spread = float(np.mean([line.get("cosine_spread", np.nan) for line in lines[-len(recent) :]]))
    measured = (
        f"the run's loss was {losses[0][1]:.3f} at step {losses[0][0]} and is {now:.3f} at step "
        f"{losses[-1][0]}, where guessing gives {chance:.3f}; spread of the cosines {spread:.3f}"
    )
    figures = {"losses": losses, "chance": chance, "cosine_spread": spread}
    if now < (1 - _NEAR) * chance:
        return Finding("run", OK, measured, "The run has left chance behind.", figures=figures)
    return Finding(
        "run",
        NOTE,
        measured,
        "The run stands at chance: the other findings say why, and if none does it needs more "
        "steps or more data.",
        "Published training with `cosine_bce` leaves chance only after 100,000 steps and more; "
        "`loss=contrastive` as in the variant `small_data` does so in hundreds.",
        figures=figures,
    )


def _another_config(workdir: Path, config: ml_collections.ConfigDict) -> Finding | None:
    path = workdir / resume.NAME
    if not path.is_file():
        return None
    changes = {
        name.removeprefix("config."): values
        for name, values in (resume.differences(workdir, config) or {}).items()
    }
    differing = sorted(name for name in changes if not name.startswith(_HARMLESS))
    if not differing:
        return None
    each = (f"{name} was {changes[name][0]}, is {changes[name][1]}" for name in differing[:4])
    said = ", ".join(each)
    more = ", ..." if len(differing) > 4 else ""
    return Finding(
        "config",
        NOTE,
        f"the run was made with other values: {said}{more}",
        "What is found here is about the values given now.",
        f"Give the values of {path} to diagnose the run as it was.",
        figures={name: list(changes[name]) for name in differing},
    )


def _moved(before: tuple[int, Path], after: tuple[int, Path]) -> Finding:
    """Compares the weights of two checkpoints."""
    trees = [checkpoints.read_item(folder / "expert")["params"] for _, folder in (before, after)]
    pairs = zip(*map(jax.tree_util.tree_leaves_with_path, trees), strict=True)
    still, kernels = [], 0
    for (path, old), (_, new) in pairs:
        if old.ndim > 1:
            kernels += 1
            if np.array_equal(old, new):
                still.append(jax.tree_util.keystr(path, simple=True, separator="/"))
    measured = (
        f"{kernels - len(still)} of {kernels} layers differ between the run's checkpoints of steps "
        f"{before[0]} and {after[0]}"
    )
    if not still:
        return Finding("run moves", OK, measured, "The run's weights are learning.")
    return Finding(
        "run moves",
        FAULT,
        f"{measured}; {still[0]} does not",
        "Weights that stand still can't learn; the loss stays where they put it.",
        "Look at the learning rate that the run's config.json has, at its schedule (has it decayed "
        "to 0?) and at the optimiser's masks.",
        FROZEN,
        {"still": still},
    )
