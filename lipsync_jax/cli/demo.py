"""`lipsync demo`: dubs a rendered person with the built-in model, in under a minute on a CPU.

The person is in no training data. The result is compared with the person rendered with the mouth of
the new speech, which no model saw. `--train` first trains a small model from nothing, on one
rendered person; so does an installation without built-in models.
"""

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax import weights
from lipsync_jax.cli import _demo_training as training
from lipsync_jax.cli import _terminal
from lipsync_jax.data_prep.synthetic import recordings
from lipsync_jax.evaluation import baselines, protocol, results, samples
from lipsync_jax.evaluation.evaluator import Evaluator
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.media import mux, video_reader
from lipsync_jax.synthesis import dubbing
from lipsync_jax.synthesis.progress import GenerationResult
from lipsync_jax.types import Json

_PERSON = 104  # seed of a person that is in no corpus
_TRAINED_PERSON = {"seed": 0, "identity_index": 0}  # the person of the corpus that --train renders
_TRAINING_OPTIONS = ("clips", "identities", "expert_steps", "generator_steps", "min_accuracy")
_BEFORE, _DUBBED = "before dubbing", "dubbed"
_ROWS = {  # of the sheet: file -> caption
    "before": "rendered person, before dubbing",
    "dubbed": "dubbed: mouth generated from other speech",
    "real": "target: rendered with the mouth of that speech",
}
_TILE, _CAPTION = 160, 24  # pixels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync demo`."""
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder to write to")
    parser.add_argument(
        "--train", action="store_true", help="first train a small model, in minutes"
    )
    group = parser.add_argument_group("training, with --train")
    group.add_argument("--clips", type=int,
                       help=f"synthetic clips of 3 seconds ({training.CLIPS})")  # fmt: skip
    group.add_argument("--identities", type=int,
                       help=f"identities in the clips ({training.IDENTITIES})")  # fmt: skip
    group.add_argument("--expert-steps", type=int, help="training steps of the sync expert")
    group.add_argument("--generator-steps", type=int, help="training steps of the generator")
    group.add_argument(
        "--min-accuracy", type=float, help="of the sync expert; below, the generator isn't trained"
    )


def run(arguments: argparse.Namespace) -> int:
    """Dubs a rendered person and compares; a second run with --train resumes the training.

    Raises:
        ValueError: an option of the training is given without --train.
    """
    started, out = time.monotonic(), arguments.out
    given = [name for name in _TRAINING_OPTIONS if getattr(arguments, name) is not None]
    if given and not arguments.train:
        option = f"--{given[0].replace('_', '-')}"
        raise ValueError(f"{option} is an option of the training; add --train or leave it out")
    out.mkdir(parents=True, exist_ok=True)
    built_in = weights.default(weights.DUBBING)
    if not arguments.train and built_in is None:
        print(
            "This installation has no built-in model for dubbing, so the demo trains a small one "
            "first, as `lipsync demo --train` does; that takes some minutes.",
            flush=True,
        )
    trained = None
    if arguments.train or built_in is None:
        trained = training.train(
            out,
            arguments.clips or training.CLIPS,
            arguments.identities or training.IDENTITIES,
            arguments.expert_steps,
            arguments.generator_steps,
            arguments.min_accuracy,
        )
    else:
        _terminal.quiet()
    summary = _dub_and_compare(out, trained)
    (out / "summary.txt").write_text(summary + "\n", encoding="utf-8")
    plots = [trained.expert / "training.png", trained.generator / "training.png"] if trained else []
    lines = [f"\n{summary}\n", f"watch  {out / 'demo.mp4'}", f"image  {out / 'contact_sheet.jpg'}"]
    lines += [f"plots  {'  '.join(map(str, plots))}"] if plots else []
    seconds = time.monotonic() - started
    took = f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.1f} minutes"
    print("\n".join([*lines, f"took   {took}"]))
    return 0


def _dub_and_compare(out: Path, trained: training.Trained | None) -> str:
    """Writes the videos and the sheet; returns the metrics as text."""
    training.log_stage("4/5 dub a new video with new audio")
    person = {"seed": _PERSON} if trained is None else _TRAINED_PERSON
    face, speech, real = recordings.write_dubbing_example(out, **person)
    pipeline = dubbing.LipSyncPipeline.load(trained.generator if trained else None)
    with _terminal.generation_progress() as show:
        result = pipeline.generate(face, speech, out / "demo.mp4", on_progress=show)

    training.log_stage("5/5 contact sheet and metrics")
    files = {"before": face, "dubbed": out / "demo.mp4", "real": real}
    _contact_sheet(files, out / "contact_sheet.jpg")
    sync_folder = trained.expert if trained else None
    if sync_folder is None and (name := weights.default(weights.SYNC)):
        sync_folder = weights.path(name)
    sync_model = SyncModel.load(sync_folder) if sync_folder else None
    scores = _evaluate(out, face, speech, real, sync_model)
    person_text = "of the training data" if trained else "in no training data"
    return "\n".join(
        (
            *([trained.summary] if trained else []),
            f"a rendered person {person_text}, dubbed with speech that is in none:",
            *_score_lines(scores),
            *_generation_lines(result),
        )
    )


def _evaluate(
    out: Path, face: Path, speech: Path, real: Path, sync_model: SyncModel | None
) -> Mapping[str, Json]:
    """Computes metrics of the dubbed and of the original frames against the target."""
    folders = {_BEFORE: out / "compare" / "before", _DUBBED: out / "compare" / "dubbed"}
    references = out / "compare" / "real"
    for folder in (*folders.values(), references):
        folder.mkdir(parents=True, exist_ok=True)
    mux.mux(face, speech, folders[_BEFORE] / "demo.mp4")
    (folders[_DUBBED] / "demo.mp4").write_bytes((out / "demo.mp4").read_bytes())
    (references / "demo.mp4").write_bytes(real.read_bytes())
    chosen = protocol.get("face-2")
    evaluator = Evaluator(chosen, sync_model, None, None)
    eval_samples = samples.from_folders(folders, references, chosen, {})
    scores, _ = results.evaluate(eval_samples, evaluator, report_clips=0)
    return scores["methods"]


def _score_lines(scores: Mapping[str, Json]) -> list[str]:
    def mean(name: str, metric: str) -> float:
        entry = scores.get(name, {}).get("metrics", {}).get(metric) or {}
        return math.nan if entry.get("mean") is None else float(entry["mean"])

    compared = (_DUBBED, _BEFORE, baselines.COPY_REFERENCE, baselines.MEAN_MOUTH)
    parts = [f"{mean(name, 'mouth_l1'):.4f} {name}" for name in compared]
    lines = [f"  mouth L1      {', '.join(parts)} (lower is better)"]
    if np.isfinite(mean(_DUBBED, "sync_c")):
        parts = [
            f"{mean(name, 'sync_c'):.2f} at {mean(name, 'sync_offset'):+.1f} frames {shown}"
            for name, shown in ((_DUBBED, _DUBBED), (_BEFORE, _BEFORE), (results.TRUTH, "target"))
        ]
        lines.append(f"  Sync-C        {', '.join(parts)} (higher is better)")
    return lines


def _generation_lines(result: GenerationResult) -> list[str]:
    rate = f"{result.frames} frames at {result.frames_per_second:.0f} frames/s"
    return [f"  generated     {rate}", f"  by            {result.credit}"]


def _contact_sheet(files: Mapping[str, Path], outfile: Path, columns: int = 8) -> None:
    """Writes a row of frames for each file, of equal times, each below its caption."""
    rows = {
        name: [_closer(frame.image) for frame in video_reader.read_frames(path)]
        for name, path in files.items()
    }
    count = min(map(len, rows.values()))
    chosen = np.linspace(0, count - 1, columns).astype(int)
    parts = [
        part
        for name, row in rows.items()
        for part in (_caption(_ROWS[name], columns * _TILE), _tile([row[i] for i in chosen]))
    ]
    video_reader.write_image(outfile, np.concatenate(parts))


def _tile(images: Sequence[np.ndarray]) -> np.ndarray:
    return video_reader.contact_sheet(np.stack(images), len(images))


def _caption(text: str, width: int) -> np.ndarray:
    bar = np.full((_CAPTION, width, 3), 255, np.uint8)
    position = (6, _CAPTION - 7)
    font = cv2.FONT_HERSHEY_SIMPLEX
    return np.asarray(cv2.putText(bar, text, position, font, 0.5, (0, 0, 0), 1, cv2.LINE_AA))


def _closer(image: np.ndarray) -> np.ndarray:
    """Returns the face, from the eyes to the chin, as a tile."""
    height, width = image.shape[:2]
    face = image[height * 34 // 100 : height * 86 // 100, width * 24 // 100 : width * 76 // 100]
    return cv2.resize(face, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
