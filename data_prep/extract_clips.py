"""One raw video -> clips of one tracked face, at 25 frames a second, with their sound."""

import dataclasses
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import GEOMETRIES, Clip, Word, encode_frame
from lipsync_jax.data_prep import corpora, cropping
from lipsync_jax.media import audio, video_reader

FRAME_RATE = Fraction(25)
AUDIO_SLACK = 2  # frames at the end that may lack their sound
UNREADABLE = "unreadable"  # a reason that a second try may mend
SILENCE = 33  # int16 steps: 60 dB below full scale


@dataclasses.dataclass(frozen=True)
class Settings:
    """How videos are cut.

    Attributes:
        geometry: key of `records.GEOMETRIES`.
        detector: see `faces.get_detector`; or a function, in one process. `auto` becomes the name
            of the detector that it stands for, so that keys and reports hold that.
        every: frames from one detection to the next.
        smoothing: frames over which boxes are averaged, odd; aligned crops have their own rule.
        max_seconds: longest clip.
        min_seconds: shortest clip.
        max_missing: largest fraction of a clip's frames in which the face was not detected.
        min_face: least height of a face, pixels of the video.
        min_rate: least frames a second of the video; a slower one would only repeat frames.
        quality: of the JPEG crops.
    """

    geometry: str = "face96"
    detector: str | faces.Detector = "auto"
    every: int = 1
    smoothing: int = 5
    max_seconds: float = 3.0
    min_seconds: float = 1.0
    max_missing: float = 0.2
    min_face: float = 40.0
    min_rate: float = 20.0
    quality: int = 95

    def __post_init__(self):
        if self.geometry not in GEOMETRIES:
            raise ValueError(
                f"unknown geometry {self.geometry!r}; choose one of {', '.join(GEOMETRIES)}"
            )
        if not 0 < self.min_seconds <= self.max_seconds:
            raise ValueError(
                f"clips of {self.min_seconds} to {self.max_seconds} s: the shortest must be "
                "positive and not above the longest"
            )
        if self.every < 1:
            raise ValueError(f"every={self.every}: detection needs a step of at least one frame")
        if isinstance(self.detector, str):
            object.__setattr__(self, "detector", faces.resolve_detector(self.detector))


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
        found: of those, frames with a face, by the share of frames inspected that have one.
        notes: what was wrong with the file though it was used, e.g. damaged packets, interlacing.
    """

    clips: tuple[Clip, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    frames: int = 0
    found: int = 0
    notes: tuple[str, ...] = ()


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
    """Cuts one video; what is wrong with the file is part of the outcome, not an exception.

    Args:
        source: the video. Sound comes from the file itself or, if it has none, from a `.wav` of the
            same name beside it, which then starts with the first picture.
        corpus: whose `words` gives the transcript.
        settings: how.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = _cut(source, corpus, settings)
        except (ValueError, OSError) as error:
            outcome = Outcome(dropped=(Dropped(source.video_id, UNREADABLE, str(error)),))
        except Exception as error:  # a decoder's or a program's fault still concerns one file
            detail = f"{type(error).__name__}: {error}"
            outcome = Outcome(dropped=(Dropped(source.video_id, UNREADABLE, detail),))
    notes = dict.fromkeys([*outcome.notes, *(str(warning.message) for warning in caught)])
    return dataclasses.replace(outcome, notes=tuple(notes))


def _cut(source: corpora.Video, corpus: str, settings: Settings) -> Outcome:
    words = corpora.get(corpus).words(source)
    about = video_reader.probe(source.path)
    if about.frame_rate < settings.min_rate:
        detail = f"{float(about.frame_rate):.4g} a second"
        return Outcome(dropped=(Dropped(source.video_id, "too few frames", detail),))
    voice = source.path if about.has_audio else source.path.with_suffix(".wav")
    if not voice.is_file():
        return Outcome(dropped=(Dropped(source.video_id, "no audio"),))
    samples, rate = audio.load_aligned(voice)
    sound = audio.to_int16(samples)
    count = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        for frame in video_reader.constant_rate(video_reader.read_frames(source.path), FRAME_RATE):
            count += 1
            yield frame.image

    detector = _Counted(settings.detector)
    tracks = faces.track(counted(), detector, every=settings.every)
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
    notes = ("interlaced: its combs were removed",) if about.interlaced else ()
    return Outcome(clips, tuple(dropped), count, round(count * detector.share), notes)


class _Counted:
    """A detector that counts in how many of the frames it inspects there is a face."""

    def __init__(self, detector: str | faces.Detector):
        self._find = faces.get_detector(detector) if isinstance(detector, str) else detector
        self._inspected = self._with_face = 0

    def __call__(self, rgb: np.ndarray) -> list[faces.Face]:
        found = self._find(rgb)
        self._inspected += 1
        self._with_face += bool(found)
        return found

    @property
    def share(self) -> float:
        """Frames with a face over frames inspected."""
        return self._with_face / max(self._inspected, 1)


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
    if (
        GEOMETRIES[settings.geometry].cut == "aligned"
        and not np.isfinite(piece.track.landmarks).all()
    ):
        return "no landmarks", "the detector gives none, and alignment needs them"
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
    tracks = {id(p.track): p.track for p in pieces}
    plans = {k: cropping.plan(track, geometry, settings.smoothing) for k, track in tracks.items()}
    done = {piece: ([], plans[id(piece.track)].landmarks[piece.part]) for piece in pieces}
    last = max((piece.end for piece in pieces), default=0)
    for frame in video_reader.constant_rate(video_reader.read_frames(path), FRAME_RATE):
        if frame.index == last:
            break
        bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        for piece in pieces:
            if piece.start <= frame.index < piece.end:
                crop = plans[id(piece.track)].crop(bgr, frame.index - piece.track.start)
                done[piece][0].append(encode_frame(crop, settings.quality))
    return done
