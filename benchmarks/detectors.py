"""Recall, landmark agreement and time of the face detectors on one's own videos.

Every detector runs on frames of the videos and on harder versions of them: the face small in a
large frame, dark, partly outside the frame, rotated. The reference is the median of what the
detectors find in the unchanged frame, so a frame in which no detector finds a face is counted but
not used. Images without a face (the same frames with the faces covered, noise, stripes, one colour)
give the false detections.
"""

import argparse
import collections
import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax import faces
from lipsync_jax.media import video_reader

ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".mpg", ".webm")
CANVAS = (720, 1280)  # of the frames in which faces are small
LEAST_OVERLAP = 0.4  # intersection over union of a detection with its reference
Case = tuple[str, np.ndarray, np.ndarray]  # its name, the image, the matrix (2, 3) of its points


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, nargs="+", help="folders of videos, or videos")
    parser.add_argument("--detectors", nargs="+", default=list(faces.installed_detectors()))
    parser.add_argument("--frames", type=int, default=10, help="frames a video (10)")
    parser.add_argument("--videos", type=int, default=1000, help="most videos of one folder")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    found = {name: faces.get_detector(name) for name in arguments.detectors}
    images = list(read(arguments.folder, arguments.frames, arguments.videos))
    report(found, images)
    return 0


def read(folders: Iterable[Path], count: int, most: int) -> Iterator[np.ndarray]:
    """Frames spread evenly over each video, uint8 (height, width, 3) RGB."""
    for folder in folders:
        inside = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS)
        for path in inside[:most] or [folder]:
            total = sum(1 for _ in video_reader.read_frames(path))
            wanted = set(np.linspace(0, total - 1, count).astype(int).tolist())
            with contextlib.closing(video_reader.read_frames(path)) as frames:
                yield from (frame.image for frame in frames if frame.index in wanted)


def report(detectors: Mapping[str, faces.Detector], images: list[np.ndarray]) -> None:
    """Prints one table of recall and agreement, one of false detections."""
    scores = {name: collections.defaultdict(list) for name in detectors}
    num_without_face = 0
    for image in images:
        found = {name: largest(faces.detect(image, run)) for name, run in detectors.items()}
        reference = median_face([face for face in found.values() if face is not None])
        if reference is None:
            num_without_face += 1
            continue
        for case, changed, matrix in cases(image, reference):
            box, points = transformed(reference, matrix)
            for name, run in detectors.items():
                start = time.process_time()
                detections = faces.detect(changed, run)
                seconds = time.process_time() - start
                scores[name][case].append((*detection_errors(detections, box, points), seconds))
        covered = cover(image, [face for face in found.values() if face is not None])
        for name, run in detectors.items():
            scores[name]["covered face"].append(len(faces.detect(covered, run)))
    print(
        f"{len(images)} frames, {num_without_face} of them without a face that any detector finds\n"
    )
    print("| case | " + " | ".join(detectors) + " |\n|--|" + "--|" * len(detectors))
    names = [case for case in next(iter(scores.values()), {}) if case != "covered face"]
    for case in names:
        print(f"| {case} | " + " | ".join(cell(scores[name][case]) for name in detectors) + " |")
    print("\nrecall / box IoU / landmark error in eye distances / median processor time, ms\n")
    print("| images without a face | " + " | ".join(detectors) + " |")
    print("|--|" + "--|" * len(detectors))
    for case, blank in blanks().items():
        counts = [sum(len(faces.detect(i, run)) for i in blank) for run in detectors.values()]
        cells = [f"{count} in {len(blank)}" for count in counts]
        print(f"| {case} | " + " | ".join(cells) + " |")
    cells = [scores[name]["covered face"] for name in detectors]
    print("| covered face | " + " | ".join(f"{sum(c)} in {len(c)}" for c in cells) + " |")


def cell(rows: list[tuple[bool, float, float, float]]) -> str:
    hit, overlap, error, seconds = (np.array(column, float) for column in zip(*rows, strict=True))
    if not hit.any():
        return f"0 % / - / - / {1000 * np.median(seconds):.1f}"
    return (
        f"{100 * hit.mean():.1f} % / {np.nanmean(overlap):.2f} / {np.nanmean(error):.3f} / "
        f"{1000 * np.median(seconds):.1f}"
    )


def largest(found: list[faces.Face]) -> faces.Face | None:
    return found[0] if found else None


def median_face(found: list[faces.Face]) -> faces.Face | None:
    """The median of the detections that overlap the most confident one."""
    if not found:
        return None
    best = max(found, key=lambda face: face.score)
    near = [face for face in found if iou(face.box, best.box) > LEAST_OVERLAP]
    box = np.median([face.box for face in near], axis=0)
    return faces.Face(box, best.score, np.nanmedian([face.landmarks for face in near], axis=0))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    common = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    return common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common)


def cases(image: np.ndarray, face: faces.Face) -> Iterator[Case]:
    """The frame itself and its harder versions."""
    height, width = image.shape[:2]
    same = np.eye(2, 3)
    yield "unchanged", image, same
    left, top, right, bottom = face.box
    for pixels in (80, 40, 24):
        scale = min(pixels / (bottom - top), min(CANVAS[0] / height, CANVAS[1] / width))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        canvas = np.full((*CANVAS, 3), small.mean(axis=(0, 1)), np.uint8)
        y, x = (CANVAS[0] - small.shape[0]) // 2, (CANVAS[1] - small.shape[1]) // 2
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
        yield f"{pixels} px in 1280 x 720", canvas, np.array([[scale, 0, x], [0, scale, y]])
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    yield "dark (1/8, noise)", (image / 8 + noise).clip(0, 255).astype(np.uint8), same
    cut = int(left + 0.35 * (right - left))
    if 0 < cut < width - 20:
        part = np.ascontiguousarray(image[:, cut:])
        yield "left 35 % outside", part, np.array([[1.0, 0, -cut], [0, 1, 0]])
    cut = int(bottom - 0.25 * (bottom - top))
    if 20 < cut < height:
        yield "lower 25 % outside", np.ascontiguousarray(image[:cut]), same
    middle = (float(left + right) / 2, float(top + bottom) / 2)
    for angle in (15, 30, 60):
        turn = cv2.getRotationMatrix2D(middle, angle, 1)
        yield f"rotated {angle}°", cv2.warpAffine(image, turn, (width, height)), turn


def transformed(face: faces.Face, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Box and landmarks of the reference in the changed image; a rotated box keeps its size."""
    scale = np.sqrt(np.linalg.det(matrix[:, :2]))
    middle = matrix[:, :2] @ (face.box[:2] + face.box[2:]) / 2 + matrix[:, 2]
    half = (face.box[2:] - face.box[:2]) / 2 * scale
    points = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    return np.hstack([middle - half, middle + half]), points


def detection_errors(
    detections: list[faces.Face], box: np.ndarray, points: np.ndarray
) -> tuple[bool, float, float]:
    """Whether the face was found, its overlap and the mean distance of its landmarks."""
    best = max(detections, key=lambda face: iou(face.box, box), default=None)
    if best is None or iou(best.box, box) < LEAST_OVERLAP:
        return False, np.nan, np.nan
    eyes = np.linalg.norm(points[1] - points[0])
    error = np.linalg.norm(best.landmarks - points, axis=1).mean() / max(eyes, 1e-6)
    return True, iou(best.box, box), error


def cover(image: np.ndarray, found: list[faces.Face]) -> np.ndarray:
    """The frame with a flat patch over every face and the hair around it."""
    image = image.copy()
    for face in found:
        half = (face.box[2:] - face.box[:2]) / 2
        middle = (face.box[2:] + face.box[:2]) / 2
        x0, y0 = np.maximum(middle - 1.6 * half, 0).astype(int)
        x1, y1 = np.maximum(middle + 1.6 * half, 0).astype(int)
        image[y0:y1, x0:x1] = image[:8].mean(axis=(0, 1))
    return image


def blanks() -> dict[str, list[np.ndarray]]:
    """Images without a face."""
    rng = np.random.default_rng(0)
    shape = (360, 640, 3)

    def cloud(size: int) -> np.ndarray:
        small = rng.integers(0, 256, (size, size * 2, 3)).astype(np.uint8)
        return cv2.resize(small, shape[1::-1], interpolation=cv2.INTER_CUBIC)

    def stripes(step: int) -> np.ndarray:
        row = (np.arange(shape[1]) // step % 2 * 255).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(row[None, :, None], shape))

    return {
        "one colour": [np.full(shape, shade, np.uint8) for shade in range(0, 256, 25)],
        "noise": [rng.integers(0, 256, shape).astype(np.uint8) for _ in range(10)],
        "clouds": [cloud(size) for size in range(4, 64, 3)],
        "stripes": [stripes(step) for step in range(2, 40, 2)],
    }


if __name__ == "__main__":
    sys.exit(main())
