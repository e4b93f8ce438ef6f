"""`lipsync demo`: the whole of Wav2Lip on rendered faces, offline, in minutes on a CPU.

Renders a corpus, trains a sync expert and a generator, dubs a video, and prints metrics on held-out
clips next to two baselines that need no training. One identity is rendered, which keeps training
short; the sentences of the video and of the held-out clips are not in the training data.
"""

import argparse
import time
from pathlib import Path

import cv2
import ml_collections
import numpy as np
from absl import logging

from lipsync_jax.configs import sync_expert, wav2lip
from lipsync_jax.data_prep.synthetic import corpus
from lipsync_jax.media import video_reader
from lipsync_jax.synthesis import dubbing
from lipsync_jax.training import distributed, loop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync demo`."""
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder to write to")
    parser.add_argument("--clips", type=int, default=160, help="synthetic clips of 3 seconds")
    parser.add_argument("--identities", type=int, default=1, help="identities in the clips")
    parser.add_argument("--expert-steps", type=int, help="training steps of the sync expert")
    parser.add_argument("--generator-steps", type=int, help="training steps of the generator")
    parser.add_argument(
        "--min-accuracy", type=float, help="of the sync expert; below, the generator isn't trained"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs all stages; a second run resumes the first."""
    started = time.monotonic()
    distributed.initialize()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    _stage("1/5 synthetic corpus")
    data = corpus.generate_corpus(
        out / "data", clips=arguments.clips, num_identities=arguments.identities
    )

    _stage("2/5 sync expert")
    expert = sync_expert.get_config("tiny")
    _shorten(expert, arguments.expert_steps)
    expert.data.dir = str(data)
    loop.train(expert, out / "expert")
    sync_metrics = loop.evaluate(expert, out / "expert", "test")

    _stage("3/5 generator")
    generator = wav2lip.get_config("tiny")
    _shorten(generator, arguments.generator_steps)
    generator.data.dir = str(data)
    generator.frozen.expert.checkpoint = str(out / "expert")
    if arguments.min_accuracy is not None:
        generator.frozen.expert.min_accuracy = arguments.min_accuracy
    loop.train(generator, out / "wav2lip")
    generator_metrics = loop.evaluate(generator, out / "wav2lip", "test")

    _stage("4/5 dub a new video with new audio")
    face, speech = out / "face.mp4", out / "voice.wav"
    corpus.write_video(face, seed=0, identity_index=0)
    corpus.write_speech(speech, seed=0, identity_index=0)
    result = dubbing.generate(out / "wav2lip", face, speech, out / "demo.mp4")

    _stage("5/5 contact sheet and metrics")
    contact_sheet = _before_and_after(face, out / "demo.mp4", out / "contact_sheet.jpg")
    summary = _summary(sync_metrics, generator_metrics, result)
    (out / "summary.txt").write_text(summary + "\n", encoding="utf-8")
    print(
        f"\n{summary}\n\nwatch  {out / 'demo.mp4'}\nimage  {contact_sheet}\n"
        f"plots  {out / 'expert' / 'training.png'}  {out / 'wav2lip' / 'training.png'}\n"
        f"took   {(time.monotonic() - started) / 60:.1f} minutes"
    )
    return 0


def _stage(text: str) -> None:
    logging.info("--- %s", text)


def _shorten(config: ml_collections.ConfigDict, steps: int | None) -> None:
    if steps:
        config.train.steps = config.optimizer.lr_decay_steps = steps
        config.optimizer.warmup_steps = min(config.optimizer.warmup_steps, steps // 4)


def _before_and_after(before: Path, after: Path, outfile: Path, columns: int = 8) -> Path:
    """Writes a row of original frames above the dubbed frames of the same times."""

    def closer(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        middle = image[height // 8 : -height // 5, width // 6 : -width // 6]
        return cv2.resize(middle, (192, 192), interpolation=cv2.INTER_AREA)

    rows = [
        [closer(frame.image) for frame in frames]
        for frames in map(video_reader.read_frames, (before, after))
    ]
    count = min(map(len, rows))
    chosen = np.linspace(0, count - 1, columns).astype(int)
    frames = np.stack([row[i] for row in rows for i in chosen])
    video_reader.write_image(outfile, video_reader.contact_sheet(frames, columns))
    return outfile


def _summary(sync_metrics: dict, generator_metrics: dict, result: dubbing.GenerationResult) -> str:
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
            f"  generated     {result.frames} frames at {result.frames_per_second:.0f} frames/s",
        )
    )
