"""Audio sensitivity of generators: test clips with their own audio and with mismatched audio.

    python -m benchmarks.audio_sensitivity CHECKPOINT [CHECKPOINT ...] --data DATA [--clips 0]

For any generator that `lipsync evaluate --checkpoint_path` takes, beside two baselines: the static
first frame and the mean frame of the clip. Metrics are of the mouth region, or of a whole crop of
lips. A generator that ignores the audio has equal error and correlation with the audio of the next
clip. `lipsync evaluate` computes LMD, SSIM, PSNR and CPBD of these outputs.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

HEADINGS = (
    "mouth L1",
    "mouth L1, mismatched audio",
    "motion ratio",
    "motion correlation",
    "motion correlation, mismatched audio",
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path, help="runs' workdirs")
    parser.add_argument("--data", type=Path, required=True, help="prepared shards")
    parser.add_argument("--clips", type=int, default=0, help="number of test clips; 0: all")
    return parser.parse_args()


def clip_range(wanted: int, available: int) -> range:
    """Returns the numbers of the first clips of a split; all of them for 0.

    Raises:
        SystemExit: the split has fewer clips, or none.
    """
    if not 0 <= wanted <= available or not available:
        raise SystemExit(
            f"--clips {wanted}: the split has {available} clips; give a number up to that, or 0 "
            "for all"
        )
    return range(wanted or available)


def images(clip) -> np.ndarray:
    """Returns all frames, float32 (time, height, width, 3), RGB in 0..1."""
    return np.stack(list(clip.read_frames())).astype(np.float32) / 255


def with_mismatched_audio(clip, other):
    """Returns the clip with the audio of another clip, rotated by half of its length.

    Without the rotation, sentences that begin and end in silence are alike. The audio keeps the
    length of the clip.
    """

    def shifted(samples: np.ndarray, count: int) -> np.ndarray:
        return np.resize(np.roll(samples, len(samples) // 2), count)

    samples, rate = other.source_audio
    own, own_rate = clip.source_audio
    return dataclasses.replace(
        clip,
        samples=shifted(other.samples, len(clip.samples)),
        source_audio=(shifted(samples, len(own) * rate // own_rate), rate),
    )


def mouth_metrics(generated: np.ndarray, real: np.ndarray, crop: Callable) -> list[float]:
    """Returns L1, ratio of generated to real motion, and correlation of both motions."""
    from lipsync_jax.methods.common.validation_metrics import motion_ratio_and_correlation

    generated, real = crop(generated)[None], crop(real)[None]
    motion_metrics = motion_ratio_and_correlation(generated, real, np.ones(real.shape[:2], bool))
    return [float(np.abs(generated - real).mean()), *(float(x[0]) for x in motion_metrics)]


def main() -> None:
    chosen = arguments()
    from lipsync_jax.data import loader
    from lipsync_jax.data.clip import CROP_SPECS
    from lipsync_jax.evaluation import face_clip, generators
    from lipsync_jax.faces.regions import MOUTH_FACE96, crop_mouth
    from lipsync_jax.training import distributed

    distributed.initialize()
    for path in chosen.checkpoints:
        generator = generators.load(path)
        clips = loader.ClipDataSource(loader.find_dataset(chosen.data, generator.crop), "test")
        region = CROP_SPECS[generator.crop].region
        is_lips = region == "lips"
        crop = np.asarray if is_lips else functools.partial(crop_mouth, region=MOUTH_FACE96)
        numbers = clip_range(chosen.clips, len(clips))
        face_clips = [face_clip.from_clip(clips[i], region) for i in numbers]
        rows: dict[str, list] = {"static first frame": [], "mean frame": [], "generated": []}
        for reference_clip, other in zip(face_clips, [*face_clips[1:], face_clips[0]], strict=True):
            real = images(reference_clip)
            for name, static_frame in (
                ("static first frame", real[:1]),
                ("mean frame", real.mean(0)),
            ):
                rows[name].append(
                    mouth_metrics(np.broadcast_to(static_frame, real.shape), real, crop)
                )
            generated, mismatched = (
                images(generator(x))
                for x in (reference_clip, with_mismatched_audio(reference_clip, other))
            )
            own, mismatched_metrics = (
                mouth_metrics(x, real[: len(x)], crop) for x in (generated, mismatched)
            )
            rows["generated"].append(
                [own[0], mismatched_metrics[0], *own[1:], mismatched_metrics[2]]
            )
        print(f"{path}\n| | {' | '.join(HEADINGS)} |\n|--{'|--' * len(HEADINGS)}|")
        for name, row_metrics in rows.items():
            mean = np.mean(row_metrics, axis=0)
            if len(mean) == 3:  # a baseline without audio
                cells = [f"{mean[0]:.4f}", "", f"{mean[1]:.0%}", "", ""]
            else:
                error, mismatched, motion, *correlations = mean
                cells = [f"{error:.4f}", f"{mismatched:.4f}", f"{motion:.0%}"]
                cells += [f"{value:.2f}" for value in correlations]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
