"""All checks in their order."""

from pathlib import Path
from typing import cast

import ml_collections

from lipsync_jax.data import loader
from lipsync_jax.diagnostics.findings import FAULT, Diagnosis
from lipsync_jax.diagnostics.sync_expert import (
    av_offset,
    data_checks,
    learning_checks,
    overfit,
    run_checks,
    synthetic_clips,
)
from lipsync_jax.diagnostics.sync_expert.clip_stats import observe
from lipsync_jax.methods.wav2lip.sync_expert import SyncExpertMethod
from lipsync_jax.training import loop

_LABELS = 32  # windows a clip: enough to tell a half


def diagnose(config: ml_collections.ConfigDict, workdir: str | Path | None = None) -> Diagnosis:
    """Looks for what keeps the training of a sync expert from learning.

    Args:
        config: an experiment of configs/sync_expert.py.
        workdir: folder of a run; if it was begun, its figures and checkpoints are read too.

    Raises:
        ValueError, FileNotFoundError: the config is not of a sync expert, or the data can't be
            read; said before any step.
    """
    if config.method != "sync_expert":
        raise ValueError(
            f"config.method={config.method!r}: only the training of a sync expert can be "
            "diagnosed; give a variant of configs/sync_expert.py"
        )
    loop.load_method(config)  # refuses what can't be trained
    clips = loader.Clips(loader.find_dataset(config.data.dir, config.data.geometry), "train")
    loader.check_geometry(clips, config.data.geometry)
    return examine(config, clips, workdir)


def examine(
    config: ml_collections.ConfigDict, clips: loader.Source, workdir: str | Path | None = None
) -> Diagnosis:
    """The same of clips that are at hand.

    Args:
        config: of a sync expert; its data folder is not looked at.
        clips: what it would be trained on.
        workdir: see `diagnose`.

    Raises:
        ValueError: a clip or a run's figures can't be read.
    """
    findings = run_checks.check(Path(workdir), config) if workdir is not None else []
    observed = observe(clips)
    findings += [
        data_checks.variety(observed, len(clips), config.loss),
        data_checks.movement(observed),
        data_checks.loudness(observed),
        av_offset.check(observed),
        learning_checks.batch_size(config, len(clips)),
        *synthetic_clips.check(
            cast(SyncExpertMethod, loop.load_method(overfit.bare(config, _LABELS)))
        ),
    ]
    own = {each.fingerprint: each.clip for each in observed}
    findings += learning_checks.check(
        overfit.Bench(config),
        synthetic_clips.clips(config.data.geometry),
        list(own.values()),
        mended=not any(finding.state == FAULT for finding in findings),
    )
    return Diagnosis(findings)
