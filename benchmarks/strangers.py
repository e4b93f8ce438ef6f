"""Metrics of generators on people not seen in training, beside audio-independent baselines.

    python -m benchmarks.strangers CHECKPOINT [CHECKPOINT ...] --data DATA --split validation \\
        [--sync-model RUN] [--sheet sheet.png]

Each clip is generated from its own upper halves, its first frame as the reference image, and its
own audio; then again with the next clip's audio. `lipsync evaluate` computes LMD, SSIM and WER.

    mouth L1        absolute error around the mouth, values in 0..1; lower is better
    mismatched      mouth L1 with the next clip's audio; above mouth L1 if the audio matters
    PSNR            of the lower half, dB; higher is better
    sharpness       variance of the Laplacian around the mouth over that of real mouths; 1 is best
    motion          standard deviation over time over that of the real mouth; 1 is best
    correlation     of the mouth's changes with the real ones; and with the next clip's audio
    sync offset     clips whose best offset is within one frame of 0; the mean cosine at offset 0
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from benchmarks.audio_sensitivity import clip_range, images, with_mismatched_audio

COLUMNS = ("mouth L1", "mismatched", "PSNR", "sharpness", "motion", "correlation", "mismatched",
         "sync offset", "cosine")  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path, help="runs' workdirs")
    parser.add_argument("--data", type=Path, required=True, help="prepared shards")
    parser.add_argument("--split", default="test", help="of the data set (test)")
    parser.add_argument("--clips", type=int, default=0, help="number of clips; 0: all")
    parser.add_argument("--sync-model", type=Path, help="a run of configs/sync_expert.py")
    parser.add_argument("--sheet", type=Path, help="image: real and generated frames in rows")
    return parser.parse_args()


def clip_metrics(generated: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Computes metrics of one clip; images (time, size, size, 3), RGB in 0..1."""
    from lipsync_jax.faces.regions import MOUTH_FACE96, crop_mouth
    from lipsync_jax.methods.common.validation_metrics import motion_ratio_and_correlation
    from lipsync_jax.methods.wav2lip.image_losses import mouth_laplacian_variance

    real = real[: len(generated)]
    mouth, real_mouth = (crop_mouth(x, MOUTH_FACE96) for x in (generated, real))
    half = real.shape[1] // 2
    squared = np.mean((generated - real)[:, half:] ** 2, axis=(1, 2, 3))
    motion, correlation = motion_ratio_and_correlation(
        mouth[None], real_mouth[None], np.ones((1, len(real)), bool)
    )
    return {
        "l1": float(np.abs(mouth - real_mouth).mean()),
        "psnr": float(np.mean(-10 * np.log10(np.maximum(squared, 1e-6)))),
        "sharpness": float(mouth_laplacian_variance(generated[..., ::-1]).mean()),
        "sharpness_real": float(mouth_laplacian_variance(real[..., ::-1]).mean()),
        "motion": float(motion[0]),
        "correlation": float(correlation[0]),
    }


class SyncScores:
    """Offsets of images against audio by a sync expert."""

    def __init__(self, directory: Path) -> None:
        from lipsync_jax.evaluation.sync_models import SyncModel

        self._model = SyncModel.load(directory)

    def __call__(self, images: np.ndarray, samples: np.ndarray) -> tuple[int, float]:
        """Returns the best offset in frames, and the mean cosine at offset 0.

        Args:
            images: float32 (time, size, size, 3), RGB in [0, 1].
            samples: float32, 16 kHz.
        """
        from lipsync_jax.methods.common import sync_metrics

        frames = np.rint(images[..., ::-1] * 255).astype(np.uint8)
        video = np.asarray(self._model.embed_video(iter(frames)))
        audio = self._model.embed_audio(samples, len(video))
        cosine = video @ audio.T
        offset = sync_metrics.best_offset(cosine, np.ones(len(video), bool))
        return offset, float(np.mean(np.diagonal(cosine)))


def row(name: str, metrics: list[dict[str, float]], mismatched: list[dict[str, float]]) -> str:
    """Returns a row of the table."""

    def mean(key: str, rows: list[dict[str, float]] = metrics) -> float:
        return float(np.mean([clip[key] for clip in rows]))

    cells = [f"{mean('l1'):.4f}", f"{mean('l1', mismatched):.4f}" if mismatched else ""]
    cells += [f"{mean('psnr'):.2f}", f"{mean('sharpness') / mean('sharpness_real'):.2f}"]
    cells += [f"{mean('motion'):.0%}", f"{mean('correlation'):.2f}" if mismatched else ""]
    cells += [f"{mean('correlation', mismatched):.2f}" if mismatched else ""]
    if "offset" in metrics[0]:
        near = sum(abs(clip["offset"]) <= 1 for clip in metrics)
        cells += [f"{near} of {len(metrics)}", f"{mean('cosine'):.3f}"]
    else:
        cells += ["", ""]
    return f"| {name} | {' | '.join(cells)} |"


def write_grid(rows: list[np.ndarray], file: Path) -> None:
    """Writes images (time, size, size, 3), RGB in 0..1, one row each, enlarged twice."""
    image = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    image = cv2.resize((image[..., ::-1] * 255).astype(np.uint8), None, fx=2, fy=2)
    cv2.imwrite(str(file), image)


def main() -> None:
    chosen = arguments()
    from lipsync_jax.data import loader
    from lipsync_jax.evaluation import face_clip, generators
    from lipsync_jax.training import distributed

    distributed.initialize()
    sync_scores = SyncScores(chosen.sync_model) if chosen.sync_model else None
    models = {str(path): generators.load(path) for path in chosen.checkpoints}
    crop = next(iter(models.values())).crop
    source = loader.ClipDataSource(loader.find_dataset(str(chosen.data), crop), chosen.split)
    numbers = clip_range(chosen.clips, len(source))
    clips = [face_clip.from_clip(source[i], "face") for i in numbers]
    baselines = ("copy-reference baseline", "mean-mouth baseline")
    metrics: dict[str, list] = {name: [] for name in (*baselines, *models, "real")}
    mismatched_metrics: dict[str, list] = {name: [] for name in metrics}
    rows: list[np.ndarray] = []

    def measure(frames: np.ndarray, real: np.ndarray, samples: np.ndarray) -> dict[str, float]:
        measured = clip_metrics(frames, real)
        if sync_scores is not None:
            measured["offset"], measured["cosine"] = sync_scores(frames, samples)
        return measured

    for number, (clip, other) in enumerate(zip(clips, [*clips[1:], clips[0]], strict=True)):
        real = images(clip)
        half = real.shape[1] // 2
        in_grid = number % max(1, len(clips) // 4) == 0
        times = np.linspace(10, len(real) - 15, 12).astype(int)
        for name, static in zip(baselines, (real[:1], real.mean(0, keepdims=True)), strict=True):
            lower = np.broadcast_to(static, real.shape)[:, half:]
            frames = np.concatenate([real[:, :half], lower], axis=1)
            metrics[name].append(measure(frames, real, clip.samples))
        metrics["real"].append(measure(real, real, clip.samples))
        if in_grid:
            rows.append(real[times])
        for name, model in models.items():
            generated = images(model(clip))
            mismatched = images(model(with_mismatched_audio(clip, other)))
            metrics[name].append(measure(generated, real, clip.samples))
            mismatched_metrics[name].append(clip_metrics(mismatched, real))
            if in_grid:
                rows.append(generated[times])
    print(f"| | {' | '.join(COLUMNS)} |\n|--{'|--' * len(COLUMNS)}|")
    for name, each in metrics.items():
        print(row(name, each, mismatched_metrics[name]), flush=True)
    if chosen.sheet:
        write_grid(rows, chosen.sheet)


if __name__ == "__main__":
    main()
