"""Runs all checks of the training of a sync expert."""

from pathlib import Path
from typing import cast

import ml_collections

from lipsync_jax import methods
from lipsync_jax.data import loader
from lipsync_jax.diagnostics.findings import FAULT, Diagnosis
from lipsync_jax.diagnostics.sync_expert import (
    av_offset,
    data_checks,
    learning_checks,
    overfit,
    run_history,
    synthetic_clips,
)
from lipsync_jax.diagnostics.sync_expert.clip_stats import compute_clip_stats
from lipsync_jax.methods.common.sync_expert_method import SyncExpertMethod
from lipsync_jax.training import loop

_LABELS = 32  # windows a clip, for the balance of labels


def diagnose(config: ml_collections.ConfigDict, workdir: str | Path | None = None) -> Diagnosis:
    """Diagnoses why the training of a sync expert does not learn.

    Args:
        config: an experiment of a sync expert, e.g. configs/sync_expert.py.
        workdir: folder of a run; metrics and checkpoints of a started run are checked too.

    Raises:
        ValueError, FileNotFoundError: the config is not of a sync expert, or the data can't be
            read; raised before any step.
    """
    if not isinstance(methods.load(config), SyncExpertMethod):
        raise ValueError(
            f"config.method={config.method!r}: only the training of a sync expert can be "
            "diagnosed; give a variant of configs/sync_expert.py"
        )
    loop.load_method(config)  # refuses configs that can't be trained
    clips = loader.ClipDataSource(loader.find_dataset(config.data.dir, config.data.crop), "train")
    loader.check_crop(clips, config.data.crop)
    return examine(config, clips, workdir)


def examine(
    config: ml_collections.ConfigDict, clips: loader.DataSource, workdir: str | Path | None = None
) -> Diagnosis:
    """Diagnoses the training on given clips.

    Args:
        config: of a sync expert; its data folder is not read.
        clips: the training clips.
        workdir: see `diagnose`.

    Raises:
        ValueError: a clip or a run's metrics can't be read.
    """
    findings = run_history.check(Path(workdir), config) if workdir is not None else []
    stats = compute_clip_stats(clips)
    findings += [
        data_checks.check_variety(stats, len(clips), config.objective),
        data_checks.check_motion(stats),
        data_checks.check_speech(stats),
        av_offset.check(stats),
        learning_checks.batch_size(config, len(clips)),
        *synthetic_clips.check(
            cast(SyncExpertMethod, loop.load_method(overfit.strip_regularization(config, _LABELS)))
        ),
    ]
    user_clips = {each.fingerprint: each.clip for each in stats}
    findings += learning_checks.check(
        overfit.OverfitTest(config),
        synthetic_clips.clips(config.data.crop),
        list(user_clips.values()),
        no_faults=not any(finding.state == FAULT for finding in findings),
    )
    return Diagnosis(findings)
