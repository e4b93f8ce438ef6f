"""Measures seams, colours, flicker and processor time of blending a generated mouth into frames.

    python benchmarks/seams.py CLIPS... [--checkpoint-path DIR] [--seconds 4] [--images-dir DIR]

Without a checkpoint, a stand-in generator is used: the true face, blurred, with less contrast, a
gradient of brightness and a colour cast that differs between the upper and the lower half. The
perfect result is then the true frame. With a checkpoint, the generator is driven by each clip's own
audio (or the .wav beside the clip).

Columns: the distance in CIELAB between bands just above and just below the mask's upper edge (mean
over five segments of the edge and all frames) in the source and in the result, at the same pixels;
the ratio of the two; the ratio of the worst segment; the mean CIELAB distance of the result from
the source within the mask; the mean change of that difference from frame to frame (flicker); the
variance of the Laplacian within the mask, divided by the source's; processor time.
"""

import argparse
import functools
import itertools
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lipsync_jax import faces
from lipsync_jax.data_prep.corpora import video_files
from lipsync_jax.faces import trajectory
from lipsync_jax.faces.trajectory import FaceTrajectory
from lipsync_jax.media import video_reader
from lipsync_jax.synthesis import blending
from lipsync_jax.synthesis.compositing import Compositor
from lipsync_jax.synthesis.options import DubbingOptions

SIZE = 96  # of the stand-in's faces
VIEW = 160  # pixels of the crops that are compared
BAND = 8  # rows of them above and below the edge
SEGMENTS = 5
COLUMNS = (
    "clip", "face (px)", "method", "source ΔE", "result ΔE", "ratio", "worst segment",
    "error ΔE", "flicker ΔE", "sharpness", "CPU ms/frame",
)  # fmt: skip

Generate = Callable[[np.ndarray, Path, list[Fraction]], np.ndarray]


class Clip(NamedTuple):
    path: Path
    images: list[np.ndarray]
    times: list[Fraction]
    trajectory: FaceTrajectory


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+", help="videos, and folders of videos")
    parser.add_argument("--checkpoint-path", type=Path, default=None, metavar="DIR")
    parser.add_argument("--seconds", type=Fraction, default=Fraction(4), help="of each clip")
    parser.add_argument("--images-dir", type=Path, default=None, metavar="DIR",
                        help="write source and results of some frames")  # fmt: skip
    return parser.parse_args()


def read(path: Path, seconds: Fraction) -> Clip:
    info = video_reader.probe(path)
    frames = itertools.takewhile(lambda f: f.time < seconds, video_reader.read_frames(path))
    kept, options = list(frames), DubbingOptions()
    video_faces = trajectory.track_video(kept, info.frame_rate, options)
    chosen = trajectory.face_trajectory(
        video_faces, trajectory.select_main_tracks(video_faces.tracks), options
    )
    return Clip(path, [f.image for f in kept], [f.time for f in kept], chosen)


def stand_in(crops: np.ndarray, path: Path, times: list[Fraction]) -> np.ndarray:
    """Degrades the true faces as generators do: blur, colour cast, gradient, less contrast."""
    size = crops.shape[1]
    across = np.linspace(-1, 1, size, dtype=np.float32)
    degraded = []
    for crop in crops:
        blurred = cv2.GaussianBlur(crop.astype(np.float32) / 255, (0, 0), size / 80)
        lab = cv2.cvtColor(blurred, cv2.COLOR_RGB2Lab)
        lower = lab[size // 2 :]
        lower[..., 0] = (
            0.85 * (lower[..., 0] - 50) + 50 + 6 * across + 5 * across[size // 2 :, None]
        )
        lower[..., 1:] += np.float32([7, -6]) + 3 * across[size // 2 :, None, None]
        lab[: size // 2] += np.float32([4, -3, 2])
        degraded.append(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB))
    return np.rint(np.clip(np.stack(degraded), 0, 1) * 255).astype(np.uint8)


def generator(checkpoint: Path) -> tuple[Generate, int]:
    from lipsync_jax.synthesis import driving_audio
    from lipsync_jax.synthesis.dubbing_model import DubbingModel

    model = DubbingModel.load(checkpoint)

    def generate(crops: np.ndarray, path: Path, times: list[Fraction]) -> np.ndarray:
        wav = path.with_suffix(".wav")
        audio = driving_audio.load(wav if wav.is_file() else path, model.audio_features)
        windows = audio.windows(model.audio_features.window_starts(times, "corrected"))
        batches = [
            np.asarray(model(windows[i : i + 16], crops[i : i + 16, ..., ::-1], 16))
            for i in range(0, len(crops), 16)
        ]
        return np.concatenate(batches)[: len(crops), ..., ::-1]

    return generate, model.size


class RGBShift:
    """The baseline: one RGB shift along the mask's fading edge, a rounded box as the mask."""

    def __call__(self, image, generated, original, box, landmarks, seconds):
        mask = blending.mouth_mask(landmarks, len(generated))
        moved = blending.match_colours(generated, original, mask)
        return blending.blend(image, moved, mask, box), mask


class CurrentCompositor:
    def __init__(self, **options) -> None:
        self._compositor = Compositor(DubbingOptions(**options))

    def __call__(self, image, generated, original, box, landmarks, seconds):
        result = self._compositor(image, generated, original, box, landmarks, seconds)
        return result, self._compositor.mask


METHODS: dict[str, Callable] = {
    "RGB shift": RGBShift,
    "without the frame's detail": functools.partial(CurrentCompositor, source_detail=False),
    "compositor": CurrentCompositor,
}


def edge_distance(lab: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns CIELAB distances across the mask's upper edge, (SEGMENTS,); NaN without an edge."""
    columns = np.flatnonzero(mask.max(axis=0) > 0.95)
    distances = np.full(SEGMENTS, np.nan)
    if len(columns) < 2 * SEGMENTS:
        return distances
    for i, part in enumerate(np.array_split(columns, SEGMENTS)):
        above, below = [], []
        for x in part:
            top = int(np.argmax(mask[:, x] > 0.02))
            bottom = int(np.argmax(mask[:, x] > 0.95))
            above.append(lab[max(top - BAND, 0) : top, x].mean(axis=0))
            below.append(lab[bottom : bottom + BAND, x].mean(axis=0))
        distances[i] = np.linalg.norm(np.mean(above, axis=0) - np.mean(below, axis=0))
    return distances


def lab_of(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)


def detail(rgb: np.ndarray) -> np.ndarray:
    return cv2.Laplacian(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.CV_32F)


def measure(clip: Clip, generate: Generate, size: int, images_dir: Path | None) -> list[list[str]]:
    track = clip.trajectory
    numbers = np.flatnonzero(np.isfinite(track.boxes[:, 0]))
    boxes, landmarks = track.boxes[numbers], track.landmarks[numbers]
    times = [clip.times[i] for i in numbers]
    images = [clip.images[i] for i in numbers]
    crops = np.stack([faces.crop(*pair, size) for pair in zip(images, boxes, strict=True)])
    generated = generate(crops, clip.path, times)
    methods = {name: make() for name, make in METHODS.items()}
    spent = dict.fromkeys(methods, 0.0)
    edges: dict[str, list] = {name: [] for name in methods}
    errors, flickers, sharp = ({name: [] for name in methods} for _ in range(3))
    before: dict[str, np.ndarray] = {}
    tiles = []
    shown = set(np.linspace(0, len(images) - 1, 6).round().astype(int)[1:-1].tolist())
    for i, image in enumerate(images):
        truth = faces.crop(image, boxes[i], VIEW)
        row = [truth, cv2.resize(generated[i], (VIEW, VIEW), interpolation=cv2.INTER_LINEAR)]
        for name, method in methods.items():
            begun = time.process_time()
            place = boxes[i], landmarks[i], float(times[i])
            result, mask = method(image, generated[i], crops[i], *place)
            spent[name] += time.process_time() - begun
            view = faces.crop(result, boxes[i], VIEW)
            large = cv2.resize(mask, (VIEW, VIEW), interpolation=cv2.INTER_LINEAR)
            pair = [edge_distance(lab_of(v), large) for v in (truth, view)]
            edges[name].append(pair)
            residual = lab_of(view) - lab_of(truth)
            inside = large > 0.5
            errors[name].append(np.linalg.norm(residual, axis=-1)[inside].mean())
            sharp[name].append([detail(v)[large > 0.9].var() for v in (truth, view)])
            slow = cv2.GaussianBlur(residual, (0, 0), VIEW / 24)
            if name in before:
                change = np.linalg.norm(slow - before[name], axis=-1)
                flickers[name].append(change[inside].mean())
            before[name] = slow
            row.append(view)
            if i in shown:
                lit = (view * (1 - 0.4 * large[..., None])).astype(np.uint8)
                lit[..., 1] = np.clip(lit[..., 1] + 100 * large, 0, 255)
                row.append(lit)
        if i in shown:
            tiles.append(np.concatenate(row, axis=1))
    if images_dir is not None:
        images_dir.mkdir(parents=True, exist_ok=True)
        video_reader.write_image(images_dir / f"{clip.path.stem}.png", np.concatenate(tiles))
    rows = []
    for name in methods:
        source, result = np.nanmean(np.array(edges[name]), axis=0)
        true_detail, own_detail = np.mean(sharp[name], axis=0)
        rows.append([
            clip.path.stem, f"{np.median(boxes[:, 3] - boxes[:, 1]):.0f}", name,
            f"{np.nanmean(source):.1f}", f"{np.nanmean(result):.1f}",
            f"{np.nanmean(result) / np.nanmean(source):.2f}", f"{np.nanmax(result / source):.2f}",
            f"{np.mean(errors[name]):.2f}", f"{np.mean(flickers[name]):.3f}",
            f"{own_detail / true_detail:.2f}",
            f"{1000 * spent[name] / len(images):.2f}",
        ])  # fmt: skip
    return rows


def main() -> None:
    cv2.setNumThreads(1)
    chosen = arguments()
    generate, size = stand_in, SIZE
    if chosen.checkpoint_path:
        generate, size = generator(chosen.checkpoint_path)
    print("| " + " | ".join(COLUMNS) + " |\n" + "|" + "--|" * len(COLUMNS), flush=True)
    for path, _ in video_files(chosen.clips):
        for row in measure(read(path, chosen.seconds), generate, size, chosen.images_dir):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
