"""Extracts clips of one tracked face from a raw video, at 25 frames a second, with audio."""

import dataclasses
import warnings
from collections.abc import Iterator, Set
from fractions import Fraction

import cv2
import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import CROP_SPECS, Clip, Word, encode_frame
from lipsync_jax.data_prep import corpora, cropping
from lipsync_jax.data_prep.undecoded import UndecodedFrames
from lipsync_jax.media import audio, video_reader

FRAME_RATE = Fraction(25)
MAX_MISSING_AUDIO_FRAMES = 2  # frames at the end that may lack audio
UNREADABLE = "unreadable"  # a reason that a retry may remove
_MAX_CUT = 12  # frames at its ends that a clip may lack and still have the video's transcript
SILENCE_THRESHOLD = 33  # int16 steps: 60 dB below full scale


@dataclasses.dataclass(frozen=True)
class ExtractionSettings:
    """Settings of the extraction.

    Attributes:
        crop: key of `clip.CROP_SPECS`.
        detector: see `faces.get_detector`; or a function, in one process. `auto` becomes the name
            of the detector that is used, so that cache keys and reports contain that name.
        detect_every: frames from one detection to the next.
        smoothing: frames over which boxes are averaged, odd; aligned crops ignore this.
        max_seconds: longest clip.
        min_seconds: shortest clip.
        max_missing_fraction: largest fraction of a clip's frames without a detected face.
        min_face_height: smallest height of a face, pixels of the video.
        min_fps: lowest frame rate of the video; below it frames would only be repeated.
        quality: JPEG quality of the crops, 1 to 100.
    """

    crop: str = "face96"
    detector: str | faces.Detector = "auto"
    detect_every: int = 1
    smoothing: int = 5
    max_seconds: float = 3.0
    min_seconds: float = 1.0
    max_missing_fraction: float = 0.2
    min_face_height: float = 40.0
    min_fps: float = 20.0
    quality: int = 95

    def __post_init__(self):
        if self.crop not in CROP_SPECS:
            raise ValueError(f"unknown --crop {self.crop!r}; choose one of {', '.join(CROP_SPECS)}")
        if not 0 < self.min_seconds <= self.max_seconds:
            raise ValueError(
                f"clips of {self.min_seconds} to {self.max_seconds} s: the shortest must be "
                "positive and not above the longest"
            )
        if self.detect_every < 1:
            raise ValueError(
                f"--detect-every {self.detect_every}: detection needs a step of at least one frame"
            )
        if isinstance(self.detector, str):
            object.__setattr__(self, "detector", faces.resolve_detector(self.detector))


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A video, or a segment of a video, that was rejected, and the reason."""

    clip_id: str
    reason: str
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class ExtractionResult:
    """Clips and statistics of one video.

    Attributes:
        clips: in the order of time.
        rejected: segments, or the video, without a clip.
        num_frames: frames at 25 a second.
        num_frames_with_face: estimate of the frames with a face, from the inspected frames.
        notes: defects of a file that was used, e.g. damaged packets, interlacing.
    """

    clips: tuple[Clip, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    num_frames: int = 0
    num_frames_with_face: int = 0
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class _Segment:
    track: faces.Track
    start: int  # frame numbers of the video
    end: int

    @property
    def track_slice(self) -> slice:
        return slice(self.start - self.track.start, self.end - self.track.start)

    @property
    def height(self) -> float:
        boxes = self.track.boxes[self.track_slice]
        return float((boxes[:, 3] - boxes[:, 1]).mean())


def extract_clips(
    video: corpora.Video, corpus: str, settings: ExtractionSettings
) -> ExtractionResult:
    """Extracts the clips of one video; a defective file is reported in the result, not raised.

    Args:
        video: the video. Audio comes from the file itself or, if it has none or is silent, from
            `video.audio_path` or a `.wav` of the same name beside it, which then starts with the
            first frame.
        corpus: the corpus whose `words` returns the transcript.
        settings: of the extraction.
    """
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        try:
            result = _extract(video, corpus, settings)
        except (ValueError, OSError) as error:
            result = ExtractionResult(rejected=(Rejected(video.video_id, UNREADABLE, str(error)),))
        except Exception as error:  # whatever the cause, one file is affected
            detail = f"{type(error).__name__}: {error}"
            result = ExtractionResult(rejected=(Rejected(video.video_id, UNREADABLE, detail),))
    notes = dict.fromkeys([*result.notes, *(str(warning.message) for warning in caught_warnings)])
    return dataclasses.replace(result, notes=tuple(notes))


def _extract(video: corpora.Video, corpus: str, settings: ExtractionSettings) -> ExtractionResult:
    if video.fault:
        return ExtractionResult(rejected=(Rejected(video.video_id, "faulty", video.fault),))
    if fault := corpora.stub_fault(video.path):
        raise ValueError(f"{video.path} is {fault}")
    annotation = corpora.annotation(corpus, video)
    info = video_reader.probe(video.path)
    if info.frame_rate < settings.min_fps:
        detail = f"{float(info.frame_rate):.4g} a second"
        return ExtractionResult(rejected=(Rejected(video.video_id, "too few frames", detail),))
    loaded = _load_audio(video, info.has_audio)
    if loaded is None:
        return ExtractionResult(rejected=(Rejected(video.video_id, "no audio"),))
    samples, rate = loaded
    waveform = audio.to_int16(samples[round(video.start * rate) :])
    count, undecoded, undecoded_frames = 0, UndecodedFrames(), set()

    def counted_frames() -> Iterator[np.ndarray]:
        nonlocal count
        for frame in _read_frames(video):
            if undecoded(frame.image):
                undecoded_frames.add(count)
            count += 1
            yield frame.image

    detector = _CountingDetector(settings.detector)
    tracks = faces.track_faces(counted_frames(), detector, detect_every=settings.detect_every)
    # Audio often ends a little before the last frame; the frames after it are not used.
    frames_with_audio = int(len(waveform) * FRAME_RATE / rate + MAX_MISSING_AUDIO_FRAMES)
    segments, rejected = _select_segments(
        video.video_id, tracks, min(count, frames_with_audio), settings, undecoded_frames
    )
    if (expected := corpora.expected_frames(corpus, video)) not in (None, count):
        detail = f"{count} frames of the {expected} that its text file lists"
        segments, rejected = [], [Rejected(video.video_id, "incomplete", detail)]
    clip_ids = {
        segment: video.video_id if len(segments) == 1 else f"{video.video_id}/{segment.start:06d}"
        for segment in segments
    }
    segment_audio = {segment: _segment_audio(waveform, rate, segment) for segment in segments}
    for segment in [
        segment
        for segment, samples in segment_audio.items()
        if np.abs(samples).max() < SILENCE_THRESHOLD
    ]:
        rejected.append(Rejected(clip_ids[segment], "silent"))
        del segment_audio[segment]
    crops = _crop_segments(video, list(segment_audio), settings)
    clips = tuple(
        Clip(
            clip_id=clip_ids[segment],
            speaker=video.speaker,
            frames=tuple(encoded_frames),
            frame_rate=FRAME_RATE,
            audio=segment_audio[segment],
            audio_rate=rate,
            landmarks=landmarks,
            words=(words := _segment_words(annotation.words, segment)),
            transcript=" ".join(word.text for word in words)
            or (annotation.transcript if segment.end - segment.start >= count - _MAX_CUT else ""),
            phones=_segment_words(annotation.phones, segment),
        )
        for segment, (encoded_frames, landmarks) in crops.items()
    )
    notes = ["interlaced: deinterlaced"] if info.interlaced else []
    if undecoded_frames:
        notes.append(f"{len(undecoded_frames)} undecoded (grey) frames were left out")
    return ExtractionResult(
        clips, tuple(rejected), count, round(count * detector.face_fraction), tuple(notes)
    )


def _load_audio(video: corpora.Video, has_audio: bool) -> tuple[np.ndarray, int] | None:
    """The video's audio or, if it has none or only silence, that of the file beside it."""
    beside = (video.audio_path, video.path.with_suffix(".wav"))
    paths = [path for path in (video.path if has_audio else None, *beside)
             if path is not None and path.is_file()]  # fmt: skip
    for number, path in enumerate(paths, 1):
        try:
            samples, rate = audio.load_from_video_start(path)
        except ValueError:
            if number == len(paths):
                raise
            continue
        if number == len(paths) or np.abs(samples).max() * 32768 >= SILENCE_THRESHOLD:
            if path == video.audio_path:
                warnings.warn(f"audio of {path}, whose offset is not known", stacklevel=2)
            return samples, rate
    return None


def _read_frames(video: corpora.Video) -> Iterator[video_reader.Frame]:
    """The used part of a video at 25 frames a second; times from its first used frame."""
    # Times of lists are decimal: 1.6 must not be a little more than frame 40.
    start = Fraction(video.start).limit_denominator(1000)
    end = None if video.end is None else Fraction(video.end).limit_denominator(1000)
    frames = video_reader.read_frames(video.path, start)

    def used() -> Iterator[video_reader.Frame]:
        for frame in frames:
            if end is not None and frame.time >= end:
                return
            image = frame.image
            if video.region:
                x, y, width, height = (round(value * len(image)) for value in video.region)
                image = np.ascontiguousarray(image[y : y + height, x : x + width])
            yield video_reader.Frame(frame.time - start, image, frame.index)

    return video_reader.resample_fps(used(), FRAME_RATE)


class _CountingDetector:
    """A detector that counts the inspected frames and those with a face."""

    def __init__(self, detector: str | faces.Detector):
        self._detect = faces.get_detector(detector) if isinstance(detector, str) else detector
        self._inspected = self._with_face = 0

    def __call__(self, rgb: np.ndarray) -> list[faces.Face]:
        detected = self._detect(rgb)
        self._inspected += 1
        self._with_face += bool(detected)
        return detected

    @property
    def face_fraction(self) -> float:
        """Frames with a face divided by frames inspected."""
        return self._with_face / max(self._inspected, 1)


def _select_segments(
    video_id: str,
    tracks: list[faces.Track],
    end: int,
    settings: ExtractionSettings,
    undecoded_frames: Set[int] = frozenset(),
) -> tuple[list[_Segment], list[Rejected]]:
    """Splits tracks into segments and rejects the unusable ones."""
    max_frames, min_frames = (
        max(1, round(s * FRAME_RATE)) for s in (settings.max_seconds, settings.min_seconds)
    )
    segments = [
        _Segment(track, start, min(start + max_frames, stop))
        for track in tracks
        for first, stop in _runs(range(track.start, min(track.frames.stop, end)), undecoded_frames)
        for start in range(first, stop, max_frames)
    ]
    long_enough = [segment for segment in segments if segment.end - segment.start >= min_frames]
    if not long_enough:
        if end < min_frames:
            detail = f"audio and frames share {float(end / FRAME_RATE):.2f} s"
            return [], [Rejected(video_id, "too short", detail)]
        longest_track = max((len(track) for track in tracks), default=0)
        detail = f"longest segment with a face: {float(longest_track / FRAME_RATE):.2f} s"
        return [], [Rejected(video_id, "no face", detail)]
    accepted, rejected = [], []
    for segment in long_enough:
        relative_sizes = [
            _relative_size(segment, track) for track in tracks if track is not segment.track
        ]
        if max(relative_sizes, default=0) > 2:
            continue  # a bystander
        if reason := _reject_reason(segment, max(relative_sizes, default=0), settings):
            rejected.append(Rejected(f"{video_id}/{segment.start:06d}", *reason))
        else:
            accepted.append(segment)
    return accepted, rejected


def _reject_reason(
    segment: _Segment, relative_size: float, settings: ExtractionSettings
) -> tuple[str, str] | None:
    """Returns why a segment is rejected, as (reason, detail), or None."""
    missing = 1 - float(segment.track.detected[segment.track_slice].mean()) * settings.detect_every
    if missing > settings.max_missing_fraction:
        return "face often lost", f"in {missing:.0%} of the frames"
    if segment.height < settings.min_face_height:
        return "face too small", f"{segment.height:.0f} pixels high"
    if (
        CROP_SPECS[settings.crop].method == "aligned"
        and not np.isfinite(segment.track.landmarks).all()
    ):
        return "no landmarks", "the detector gives none, and alignment needs them"
    if relative_size > 0.5:
        return "several faces", f"another one has {relative_size:.0%} of its area"
    return None


def _runs(frames: range, without: Set[int]) -> Iterator[tuple[int, int]]:
    """The runs of consecutive frames, first and one past the last, that avoid some frames."""
    start = frames.start
    for number in sorted(number for number in without if number in frames):
        if number > start:
            yield start, number
        start = number + 1
    if frames.stop > start:
        yield start, frames.stop


def _relative_size(segment: _Segment, other: faces.Track) -> float:
    """Returns the relative area of another face; 0 if visible for less than half of the segment."""
    first, last = max(segment.start, other.start), min(segment.end, other.frames.stop)
    if 2 * (last - first) < segment.end - segment.start:
        return 0.0
    sizes = [
        np.prod(track.boxes[part][:, 2:] - track.boxes[part][:, :2], axis=1).mean()
        for track, part in (
            (other, slice(first - other.start, last - other.start)),
            (segment.track, segment.track_slice),
        )
    ]
    return float(sizes[0] / sizes[1])


def _segment_audio(waveform: np.ndarray, rate: int, segment: _Segment) -> np.ndarray:
    first, last = (round(number * rate / FRAME_RATE) for number in (segment.start, segment.end))
    part = waveform[first:last]
    return np.pad(part, (0, last - first - len(part)))


def _segment_words(words: tuple[Word, ...], segment: _Segment) -> tuple[Word, ...]:
    """Returns the words whose middle lies in the segment, in seconds from its start."""
    start, end = float(segment.start / FRAME_RATE), float(segment.end / FRAME_RATE)
    return tuple(
        Word(word.text, max(word.start, start) - start, min(word.end, end) - start)
        for word in words
        if start <= (word.start + word.end) / 2 < end
    )


def _crop_segments(
    video: corpora.Video, segments: list[_Segment], settings: ExtractionSettings
) -> dict[_Segment, tuple[list[bytes], np.ndarray]]:
    """Reads the video again; returns each segment's JPEG crops and landmarks in crop pixels."""
    crop_spec = CROP_SPECS[settings.crop]
    tracks = {id(segment.track): segment.track for segment in segments}
    plans = {
        k: cropping.plan_crops(track, crop_spec, settings.smoothing) for k, track in tracks.items()
    }
    crops = {
        segment: ([], plans[id(segment.track)].landmarks[segment.track_slice])
        for segment in segments
    }
    last = max((segment.end for segment in segments), default=0)
    for frame in _read_frames(video):
        if frame.index == last:
            break
        bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        for segment in segments:
            if segment.start <= frame.index < segment.end:
                crop = plans[id(segment.track)].crop(bgr, frame.index - segment.track.start)
                crops[segment][0].append(encode_frame(crop, settings.quality))
    return crops
