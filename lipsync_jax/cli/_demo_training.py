"""The training part of `lipsync demo --train`: Wav2Lip on rendered faces, in minutes on a CPU.

Renders a corpus, trains a sync expert and a generator, and computes metrics on held-out clips next
to two baselines that need no training. One identity is rendered, which keeps training short.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import ml_collections
from absl import logging

from lipsync_jax.configs import sync_expert, wav2lip
from lipsync_jax.data_prep.synthetic import corpus
from lipsync_jax.training import distributed, loop, sharding

CLIPS, IDENTITIES = 160, 1


@dataclasses.dataclass(frozen=True)
class Trained:
    """What the training made.

    Attributes:
        generator: the run's folder.
        expert: the run's folder.
        summary: lines of metrics on held-out clips.
    """

    generator: Path
    expert: Path
    summary: str


def train(
    out: Path,
    clips: int,
    identities: int,
    expert_steps: int | None,
    generator_steps: int | None,
    min_accuracy: float | None,
) -> Trained:
    """Renders, trains and evaluates; a second call resumes the first.

    Args:
        out: folder for the data and both runs.
        clips: number of rendered clips of 3 seconds.
        identities: number of identities in these clips.
        expert_steps: training steps of the sync expert; None for those of its config.
        generator_steps: the same of the generator.
        min_accuracy: of the sync expert, see `config.frozen.expert.min_accuracy`.
    """
    distributed.initialize()
    log_stage("1/5 synthetic corpus")
    data = corpus.generate_corpus(out / "data", clips=clips, num_identities=identities)

    log_stage("2/5 sync expert")
    expert = sync_expert.get_config("tiny")
    _fit(expert, expert_steps)
    expert.data.dir = str(data)
    loop.train(expert, out / "expert")
    sync_metrics = loop.evaluate(expert, out / "expert", "test")

    log_stage("3/5 generator")
    generator = wav2lip.get_config("tiny")
    _fit(generator, generator_steps)
    generator.data.dir = str(data)
    generator.frozen.expert.checkpoint = str(out / "expert")
    if min_accuracy is not None:
        generator.frozen.expert.min_accuracy = min_accuracy
    loop.train(generator, out / "wav2lip")
    generator_metrics = loop.evaluate(generator, out / "wav2lip", "test")
    return Trained(out / "wav2lip", out / "expert", _summary(sync_metrics, generator_metrics))


def log_stage(text: str) -> None:
    """Logs the beginning of a stage."""
    logging.info("--- %s", text)


def _fit(config: ml_collections.ConfigDict, steps: int | None) -> None:
    """Sets the number of steps, if given, and batch sizes that split over the devices."""
    sharding.fit_batch_sizes(config)
    if steps:
        config.train.steps = config.optimizer.lr_decay_steps = steps
        config.optimizer.warmup_steps = min(config.optimizer.warmup_steps, steps // 4)


def _summary(sync_metrics: Mapping[str, float], generator_metrics: Mapping[str, float]) -> str:
    copy_baseline, mean_baseline = (
        generator_metrics[f"mouth_l1_{name}_baseline"] for name in ("copy", "mean")
    )
    conclusion = (
        "beats both baselines"
        if generator_metrics["mouth_l1"] < min(copy_baseline, mean_baseline)
        else "does NOT beat both baselines"
    )
    return "\n".join(
        (
            "on clips held out of training:",
            f"  sync expert   {sync_metrics['balanced_accuracy']:.1%} balanced accuracy on speech, "
            f"offset within a frame on {sync_metrics['offset_accuracy']:.1%} of clips",
            f"  mouth L1      {generator_metrics['mouth_l1']:.4f} generated, {copy_baseline:.4f} "
            f"copy-reference, {mean_baseline:.4f} mean-mouth: the generator {conclusion}",
            f"  sync loss     {generator_metrics['sync_loss']:.3f} generated, "
            f"{generator_metrics['sync_loss_real']:.3f} real",
        )
    )
