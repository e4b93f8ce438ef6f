"""Decides by thresholds which candidates of a video become clips, and makes the clips."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from lipsync_jax.data.clip import Clip, Word
from lipsync_jax.data.feature_cache import ClipWithFeatures, compute_features
from lipsync_jax.data_prep import corpora, quality, segments
from lipsync_jax.data_prep import sync_correction as sync
from lipsync_jax.data_prep.candidates import Candidate, Candidates, MeasuredOffset
from lipsync_jax.data_prep.settings import FRAME_RATE, ExtractionSettings
from lipsync_jax.data_prep.stages import Rejected, StageCounts, StageLog

# Settings that change the decision, and nothing that is read from the video.
THRESHOLDS = (
    "max_sync_offset",
    "min_sync_confidence",
    "min_sync_prominence",
    "low_sync_confidence",
    "min_face_height",
    "max_outside_fraction",
    "min_sharpness",
)
_MAX_CUT = 12  # frames at its ends that a clip may lack and still have the video's transcript

Part = tuple[int, int, int]  # first frame, the frame after the last, offset of the audio
Features = Mapping[Part, Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class ExtractionResult:
    """Clips and statistics of one video.

    Attributes:
        clips: in the order of time, with their audio features.
        rejected: segments, or the video, without a clip.
        num_frames: frames at 25 a second.
        num_frames_with_face: estimate of the frames with a face, from the inspected frames.
        notes: defects of a file that was used, e.g. damaged packets, interlacing.
        stages: what each stage did, see `stages.STAGES`.
        features: the audio features of the clips.
    """

    clips: tuple[Clip, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    num_frames: int = 0
    num_frames_with_face: int = 0
    notes: tuple[str, ...] = ()
    stages: Mapping[str, StageCounts] = dataclasses.field(default_factory=dict)
    features: Features = dataclasses.field(default_factory=dict)


def thresholds(settings: ExtractionSettings) -> dict[str, Any]:
    """Returns the settings that change the decision."""
    return {name: getattr(settings, name) for name in THRESHOLDS}


def decide(
    video: corpora.Video,
    candidates: Candidates,
    settings: ExtractionSettings,
    features: Features | None = None,
) -> ExtractionResult:
    """Makes clips of the candidates that the thresholds accept.

    Args:
        video: the video.
        candidates: of the video; unchanged.
        settings: with the thresholds.
        features: audio features that were computed before.
    """
    log = StageLog()
    for name, counts in candidates.stages.items():
        log[name].add(counts)
    log.rejected += candidates.rejected
    passed = _filter(video, candidates, _correct(video, candidates, settings, log), settings, log)
    known, clips = dict(features or {}), []
    for synced in passed:
        clip = _clip(video, candidates, synced)
        if synced.part not in known:
            with log.timed("audio features"):
                known[synced.part] = compute_features(clip)
        clips.append(ClipWithFeatures.of(clip, known[synced.part]))
    for stage in ("crop", "audio features"):
        log[stage].entered = log[stage].left = len(clips)
    return ExtractionResult(
        tuple(clips),
        tuple(log.rejected),
        candidates.num_frames,
        candidates.num_frames_with_face,
        candidates.notes,
        log.counts,
        {synced.part: known[synced.part] for synced in passed},
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Synced:
    """A candidate whose audio offset is corrected.

    Attributes:
        candidate: the candidate.
        start: number of the first frame that has audio.
        end: number of the frame after the last.
        offset: frames by which the audio was later than the video.
        measured: the offset as measured; None where it is not known.
    """

    candidate: Candidate
    start: int
    end: int
    offset: int = 0
    measured: MeasuredOffset | None = None

    def __len__(self) -> int:
        return max(self.end - self.start, 0)

    @property
    def part(self) -> Part:
        """What the audio features depend on, within one video."""
        return self.start, self.end, self.offset

    @property
    def residual(self) -> float:
        """Seconds by which the audio is still later than the video, to a millisecond."""
        if self.measured is None:
            return float("nan")
        return round((self.measured.subframe - self.offset) / float(FRAME_RATE), 3)

    @property
    def confidence(self) -> float:
        """Confidence of the offset, to two decimals, which do not depend on the machine."""
        return float("nan") if self.measured is None else round(self.measured.confidence, 2)

    def audio(self, rate: int) -> np.ndarray:
        """Returns the audio, int16; what is missing at the end is silent."""
        first, last = (
            round((number + self.offset) * rate / FRAME_RATE) for number in (self.start, self.end)
        )
        before = self.candidate.first_sample
        found = self.candidate.audio[first - before : last - before]
        return np.pad(found, (0, last - first - len(found)))


def with_audio(
    start: int, end: int, num_frames: int, num_frames_with_audio: int, offset: int = 0
) -> tuple[int, int]:
    """Returns the part of a segment that has audio once an offset of it is corrected."""
    return max(start, -offset), min(end, num_frames_with_audio - offset, num_frames)


def _name(video: corpora.Video, candidate: Candidate) -> str:
    return f"{video.video_id}/{candidate.start:06d}"


def _correct(
    video: corpora.Video, candidates: Candidates, settings: ExtractionSettings, log: StageLog
) -> list[_Synced]:
    """Corrects the audio offset of candidates; drops those whose offset is not confident."""
    offsets, confident = log["sync offset"], log["sync confidence"]
    lengths = candidates.num_frames, candidates.num_frames_with_audio
    synced = []

    def keep(candidate: Candidate, measured: MeasuredOffset | None = None) -> None:
        offset = (measured and measured.frames) or 0
        part = with_audio(candidate.start, candidate.end, *lengths, offset)
        synced.append(_Synced(candidate, *part, offset, measured))

    offsets.entered = len(candidates.items)
    for candidate in candidates.items:
        measured = candidate.offset
        if measured is None:
            offsets.left, confident.entered = offsets.left + 1, confident.entered + 1
            keep(candidate)
            continue
        problem = sync.problem(measured, settings)
        is_kept = problem is None or (
            settings.low_sync_confidence == "keep" and problem[0] in sync.UNKNOWN_OFFSET
        )
        is_measured = measured.frames is not None
        stage = "sync confidence" if is_measured else "sync offset"
        offsets.left += is_measured or is_kept
        confident.entered += is_measured or is_kept
        if problem is None:
            if measured.frames:
                offsets.changed[f"audio shifted by {-measured.frames:+d} frames"] += 1
            keep(candidate, measured)
        elif is_kept:
            log[stage].changed[f"{problem[0]}, kept"] += 1
            keep(candidate)
        else:
            log.reject(stage, _name(video, candidate), *problem)
    confident.left = len(synced)
    return synced


def _filter(
    video: corpora.Video,
    candidates: Candidates,
    found: list[_Synced],
    settings: ExtractionSettings,
    log: StageLog,
) -> list[_Synced]:
    """Returns the candidates that are good enough for training."""
    passed = []
    with log.timed("quality") as counts:
        counts.entered = len(found)
        for synced in found:
            candidate = synced.candidate
            if len(synced) < segments.min_frames(settings):
                detail = f"{len(synced)} frames have audio"
                log.reject("quality", _name(video, candidate), "truncated", detail)
                continue
            problem = quality.problem(
                settings,
                face_height=candidate.face_height,
                outside=candidate.outside,
                sharpness=candidate.sharpness,
                samples=synced.audio(candidates.audio_rate),
                rate=candidates.audio_rate,
                relative_prominence=candidate.relative_prominence if synced.measured else None,
            )
            if problem:
                log.reject("quality", _name(video, candidate), *problem)
            else:
                passed.append(synced)
        counts.left = len(passed)
    return passed


def _clip(video: corpora.Video, candidates: Candidates, synced: _Synced) -> Clip:
    """Returns the clip of a candidate, without audio features."""
    candidate, annotation = synced.candidate, candidates.annotation
    rows = slice(synced.start - candidate.start, synced.end - candidate.start)
    words = _words_in(annotation.words, synced)
    whole = len(synced) >= candidates.num_frames - _MAX_CUT
    return Clip(
        # The name does not depend on what happens to the video's other segments.
        clip_id=video.video_id if candidates.is_whole else _name(video, candidate),
        speaker=video.speaker,
        frames=candidate.frames[rows],
        frame_rate=FRAME_RATE,
        audio=synced.audio(candidates.audio_rate),
        audio_rate=candidates.audio_rate,
        landmarks=candidate.landmarks[rows],
        sync_offset=synced.residual,
        sync_confidence=synced.confidence,
        words=words,
        transcript=" ".join(word.text for word in words)
        or (annotation.transcript if whole else ""),
        phones=_words_in(annotation.phones, synced),
    )


def _words_in(words: tuple[Word, ...], synced: _Synced) -> tuple[Word, ...]:
    """Returns the words whose middle lies in a clip, in seconds from its start.

    The times of words are those of the audio, and are shifted with it.
    """
    start, end = (
        float((frame + synced.offset) / FRAME_RATE) for frame in (synced.start, synced.end)
    )
    return tuple(
        Word(word.text, max(word.start, start) - start, min(word.end, end) - start)
        for word in words
        if start <= (word.start + word.end) / 2 < end
    )
