"""`lipsync demo`: the whole of Wav2Lip on faces made here, offline, in minutes of CPU.

Synthetic corpus, sync expert, generator, a lip-synced video, and figures on held-out clips against
two answers that need no learning. To be done in minutes it is about one person; what they say in
the video and the held-out clips is new.
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
    """Options of `lipsync demo`."""
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder to write to")
    parser.add_argument("--clips", type=int, default=160, help="synthetic clips of 3 seconds")
    parser.add_argument("--people", type=int, default=1, help="who share them")
    parser.add_argument("--expert-steps", type=int, help="training steps of the sync expert")
    parser.add_argument("--generator-steps", type=int, help="training steps of the generator")
    parser.add_argument("--min-accuracy", type=float, help="below it the generator isn't trained")


def run(arguments: argparse.Namespace) -> int:
    """Runs it all; a second run goes on where the first stopped."""
    started = time.monotonic()
    distributed.start()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    _stage("1/5 synthetic corpus")
    data = corpus.make(out / "data", clips=arguments.clips, people=arguments.people)

    _stage("2/5 sync expert")
    expert = sync_expert.get_config("tiny")
    _shorten(expert, arguments.expert_steps)
    expert.data.dir = str(data)
    loop.train(expert, out / "expert")
    sync = loop.evaluate(expert, out / "expert", "test")

    _stage("3/5 generator")
    generator = wav2lip.get_config("tiny")
    _shorten(generator, arguments.generator_steps)
    generator.data.dir = str(data)
    generator.frozen.expert.checkpoint = str(out / "expert")
    if arguments.min_accuracy is not None:
        generator.frozen.expert.min_accuracy = arguments.min_accuracy
    loop.train(generator, out / "wav2lip")
    mouth = loop.evaluate(generator, out / "wav2lip", "test")

    _stage("4/5 a new video says what it never said")
    face, voice = out / "face.mp4", out / "voice.wav"
    corpus.write_video(face, seed=0, person=0)
    corpus.write_speech(voice, seed=0, person=0)
    report = dubbing.generate(out / "wav2lip", face, voice, out / "demo.mp4")

    _stage("5/5 pictures and figures")
    sheet = _before_and_after(face, out / "demo.mp4", out / "contact_sheet.jpg")
    summary = _summary(sync, mouth, report)
    (out / "summary.txt").write_text(summary + "\n", encoding="utf-8")
    print(
        f"\n{summary}\n\nwatch  {out / 'demo.mp4'}\nlook   {sheet}\n"
        f"plots  {out / 'expert' / 'training.png'}  {out / 'wav2lip' / 'training.png'}\n"
        f"took   {(time.monotonic() - started) / 60:.1f} minutes"
    )
    return 0


def _stage(text: str) -> None:
    logging.info("--- %s", text)


def _shorten(config: ml_collections.ConfigDict, steps: int | None) -> None:
    if steps:
        config.train.steps = config.optimiser.decay_steps = steps
        config.optimiser.warmup = min(config.optimiser.warmup, steps // 4)


def _before_and_after(before: Path, after: Path, outfile: Path, columns: int = 8) -> Path:
    """A row of the face as filmed and a row of it dubbed, at the same times."""

    def closer(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        middle = image[height // 8 : -height // 5, width // 6 : -width // 6]
        return cv2.resize(middle, (192, 192), interpolation=cv2.INTER_AREA)

    shown = [
        [closer(frame.image) for frame in frames]
        for frames in map(video_reader.read_frames, (before, after))
    ]
    count = min(map(len, shown))
    chosen = np.linspace(0, count - 1, columns).astype(int)
    frames = np.stack([row[i] for row in shown for i in chosen])
    video_reader.write_image(outfile, video_reader.contact_sheet(frames, columns))
    return outfile


def _summary(sync: dict, mouth: dict, report: dubbing.Report) -> str:
    copied, mean = (mouth[f"mouth_error_{name}"] for name in ("copying_reference", "mean_mouth"))
    verdict = "beats both" if mouth["mouth_error"] < min(copied, mean) else "does NOT beat both"
    return "\n".join(
        (
            "on clips held out of training:",
            f"  sync expert   {sync['balanced_accuracy']:.1%} balanced accuracy on speech, "
            f"offset within a frame on {sync['offset_accuracy']:.1%} of clips",
            f"  mouth error   {mouth['mouth_error']:.4f} generated, {copied:.4f} copying the "
            f"reference, {mean:.4f} mean mouth: the generator {verdict}",
            f"  sync loss     {mouth['sync']:.3f} generated, {mouth['sync_of_real']:.3f} real",
            f"  generated     {report.frames} frames at {report.frames_per_second:.0f} frames/s",
        )
    )
