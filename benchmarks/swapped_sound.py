"""Does a generator listen? Test clips drawn to their own voices and to others'.

    python -m benchmarks.swapped_sound CHECKPOINT [CHECKPOINT ...] --data DATA [--clips 0]

Of any generator that `lipsync evaluate --checkpoint_path` takes, beside the first frame repeated
and the clip's mean picture; around the mouth, or all of a crop that shows lips alone. What does not
listen has the same error and correlation with the next clip's voice. `lipsync evaluate` has LMD,
SSIM, PSNR and CPBD of the same drawings.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

HEADS = ("error", "error, voice swapped", "motion", "correlation", "correlation, voice swapped")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path, help="runs' workdirs")
    parser.add_argument("--data", type=Path, required=True, help="prepared shards")
    parser.add_argument("--clips", type=int, default=0, help="of the test, 0 takes all")
    return parser.parse_args()


def pictures(footage) -> np.ndarray:
    """All frames, float32 (time, height, width, 3), RGB in 0..1."""
    return np.stack(list(footage.read())).astype(np.float32) / 255


def with_voice(footage, other):
    """The same frames with another clip's voice from its middle on, as long as their own.

    Sentences that begin and end in silence are alike otherwise.
    """

    def turned(samples: np.ndarray, count: int) -> np.ndarray:
        return np.resize(np.roll(samples, len(samples) // 2), count)

    samples, rate = other.voice
    own, own_rate = footage.voice
    return dataclasses.replace(
        footage,
        samples=turned(other.samples, len(footage.samples)),
        voice=(turned(samples, len(own) * rate // own_rate), rate),
    )


def moved(made: np.ndarray, real: np.ndarray, mouth: Callable) -> list[float]:
    """Mean absolute difference around the mouth, its motion as a share of the real one, theirs."""
    from lipsync_jax.methods.common.validation_metrics import motion_and_correlation

    made, real = mouth(made)[None], mouth(real)[None]
    figures = motion_and_correlation(made, real, np.ones(real.shape[:2], bool))
    return [float(np.abs(made - real).mean()), *(float(x[0]) for x in figures)]


def main() -> None:
    chosen = arguments()
    from lipsync_jax.data import loader
    from lipsync_jax.data.clip import GEOMETRIES
    from lipsync_jax.evaluation import face_clip, generators
    from lipsync_jax.methods.common import validation_metrics
    from lipsync_jax.training import distributed

    distributed.start()
    for path in chosen.checkpoints:
        drawer = generators.load(path)
        clips = loader.Clips(loader.find_dataset(chosen.data, drawer.geometry), "test")
        part = GEOMETRIES[drawer.geometry].part
        mouth = np.asarray if part == "lips" else validation_metrics.mouth
        films = [face_clip.from_clip(clips[i], part) for i in range(chosen.clips or len(clips))]
        rows: dict[str, list] = {"the first frame": [], "the mean picture": [], "drawn": []}
        for film, other in zip(films, [*films[1:], films[0]], strict=True):
            real = pictures(film)
            for name, still in (("the first frame", real[:1]), ("the mean picture", real.mean(0))):
                rows[name].append(moved(np.broadcast_to(still, real.shape), real, mouth))
            made, misled = (pictures(drawer(x)) for x in (film, with_voice(film, other)))
            own, swapped = (moved(x, real[: len(x)], mouth) for x in (made, misled))
            rows["drawn"].append([own[0], swapped[0], *own[1:], swapped[2]])
        print(f"{path}\n| | {' | '.join(HEADS)} |\n|--{'|--' * len(HEADS)}|")
        for name, figures in rows.items():
            mean = np.mean(figures, axis=0)
            if len(mean) == 3:  # what hears nothing
                cells = [f"{mean[0]:.4f}", "", f"{mean[1]:.0%}", "", ""]
            else:
                error, misled, motion, *correlations = mean
                cells = [f"{error:.4f}", f"{misled:.4f}", f"{motion:.0%}"]
                cells += [f"{value:.2f}" for value in correlations]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
