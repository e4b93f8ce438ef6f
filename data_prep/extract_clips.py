"""Extracts clips of one tracked face from a raw video, at 25 frames a second, with audio.

The stages and their order are those of `stages.STAGES`; alignment and the correction of the audio
offset decide whether networks learn from the clips (LatentSync, Li et al. 2024, section 4).
"""

import dataclasses
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import CROP_SPECS, Clip, Word, encode_frame
from lipsync_jax.data.feature_cache import ClipWithFeatures, compute_features
from lipsync_jax.data_prep import corpora, cropping, quality, segments, source_video
from lipsync_jax.data_prep import sync_correction as sync
from lipsync_jax.data_prep.cropping import CropPlan
from lipsync_jax.data_prep.segments import Segment
from lipsync_jax.data_prep.settings import FRAME_RATE, ExtractionSettings
from lipsync_jax.data_prep.stages import Rejected, StageCounts, StageLog
from lipsync_jax.data_prep.undecoded import UndecodedFrames
from lipsync_jax.faces.tracking import FaceTracker
from lipsync_jax.media import audio, video_reader

if TYPE_CHECKING:
    from lipsync_jax.evaluation.sync_models import SyncModel

MAX_MISSING_AUDIO_FRAMES = 2  # frames at the end that may lack audio
UNREADABLE = "unreadable"  # a reason that a retry may remove
_MAX_CUT = 12  # frames at its ends that a clip may lack and still have the video's transcript


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
    """

    clips: tuple[Clip, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    num_frames: int = 0
    num_frames_with_face: int = 0
    notes: tuple[str, ...] = ()
    stages: Mapping[str, StageCounts] = dataclasses.field(default_factory=dict)


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

    Raises:
        FileNotFoundError, ValueError: the sync model can't be loaded.
    """
    sync_model = sync.load_model(settings)
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        log = StageLog()
        try:
            result = _Extraction(video, corpus, settings, sync_model, log).run()
        except (ValueError, OSError) as error:
            result = unreadable(video, str(error), log)
        except Exception as error:  # whatever the cause, one file is affected
            result = unreadable(video, f"{type(error).__name__}: {error}", log)
    notes = dict.fromkeys([*result.notes, *(str(warning.message) for warning in caught_warnings)])
    return dataclasses.replace(result, notes=tuple(notes))


def unreadable(
    video: corpora.Video, detail: str, reached: StageLog | None = None
) -> ExtractionResult:
    """Returns the result of a video that can't be read.

    Args:
        video: the video.
        detail: why.
        reached: the log of the extraction that failed; None if its process died.
    """
    log, stage = StageLog(), "probe"
    log[stage].entered = 1
    if reached is None or "25 fps" in reached.counts:
        log[stage].left, stage = 1, "25 fps"
        log[stage].entered = 1
    log.reject(stage, video.video_id, UNREADABLE, detail)
    return ExtractionResult(rejected=tuple(log.rejected), stages=log.counts)


class _Extraction:
    """The stages of one video; each method is one of them, or several that read the file at once.

    Args:
        video, corpus, settings: as of `extract_clips`.
        sync_model: None if offsets are neither measured nor corrected.
        log: counts what the stages do.
    """

    def __init__(
        self,
        video: corpora.Video,
        corpus: str,
        settings: ExtractionSettings,
        sync_model: "SyncModel | None",
        log: StageLog,
    ) -> None:
        self._video, self._corpus, self._settings = video, corpus, settings
        self._sync_model, self._log = sync_model, log
        self._annotation = corpora.Annotation()
        self._waveform, self._rate = np.zeros(0, np.int16), 0
        self._count = self._frames_with_audio = self._frames_with_face = 0
        self._image_size = 0, 0
        self._notes: list[str] = []

    def run(self) -> ExtractionResult:
        """Returns the clips.

        Raises:
            ValueError, OSError: the file can't be read.
        """
        clips: list[Clip] = []
        if self._probe():
            found = self._track()
            plans = self._align(found)
            kept = [segment for segment in found if id(segment.track) in plans]
            crops, measured = self._read_crops(kept, plans)
            synced = self._correct(kept, measured)
            # A name does not depend on what happens to the video's other segments.
            alone = len(found) == 1
            passed = self._filter(synced, crops, plans)
            for segment in passed:
                name = self._video.video_id + ("" if alone else f"/{segment.start:06d}")
                plan = plans[id(segment.track)]
                clips.append(self._clip(name, segment, synced[segment], crops[segment], plan))
            for stage in ("crop", "audio features"):
                self._log[stage].entered = self._log[stage].left = len(clips)
        return ExtractionResult(
            tuple(clips),
            tuple(self._log.rejected),
            self._count,
            self._frames_with_face,
            tuple(self._notes),
            self._log.counts,
        )

    def _probe(self) -> bool:
        """Reads the header and the audio; returns whether the video can be used."""
        video, log = self._video, self._log
        with log.timed("probe") as counts:
            counts.entered = 1
            if video.fault:
                log.reject("probe", video.video_id, "faulty", video.fault)
                return False
            if fault := corpora.stub_fault(video.path):
                raise ValueError(f"{video.path} is {fault}")
            self._annotation = corpora.annotation(self._corpus, video)
            info = video_reader.probe(video.path)
            if info.frame_rate < self._settings.min_fps:
                detail = f"{float(info.frame_rate):.4g} a second"
                log.reject("probe", video.video_id, "too few frames", detail)
                return False
            loaded = source_video.load_audio(video, info.has_audio)
            if loaded is None:
                log.reject("probe", video.video_id, "no audio")
                return False
            samples, self._rate = loaded
            self._waveform = audio.to_int16(samples[round(video.start * self._rate) :])
            counts.left = 1
        changed = log["25 fps"].changed
        if info.frame_rate != FRAME_RATE:
            changed[f"retimed from {float(info.frame_rate):.4g} fps"] += 1
        if info.rotation:
            changed["rotated"] += 1
        if info.interlaced:
            changed["deinterlaced"] += 1
            self._notes.append("interlaced: deinterlaced")
        return True

    def _track(self) -> list[Segment]:
        """Reads the frames, and cuts the tracks of the faces into segments."""
        log, settings, video_id = self._log, self._settings, self._video.video_id
        undecoded, undecoded_frames = UndecodedFrames(), set()
        decoding = 0.0

        def frames() -> Iterator[np.ndarray]:
            nonlocal decoding
            source = source_video.read_frames(self._video)
            while True:
                started = time.process_time()
                frame = next(source, None)
                if frame is not None and undecoded(frame.image):
                    undecoded_frames.add(self._count)
                decoding += time.process_time() - started
                if frame is None:
                    return
                self._count += 1
                self._image_size = frame.image.shape[:2]
                yield frame.image

        log["25 fps"].entered = 1
        detector = _CountingDetector(settings.detector)
        tracker = FaceTracker(detector, detect_every=settings.detect_every)
        started = time.process_time()
        for image in frames():
            tracker.add(image)
        tracks, cuts = tracker.end(), tracker.cuts
        seconds = time.process_time() - started
        self._frames_with_face = round(self._count * detector.face_fraction)
        log["25 fps"].seconds += decoding
        if undecoded_frames:
            log["25 fps"].changed["undecoded frames left out"] += 1
            self._notes.append(f"{len(undecoded_frames)} undecoded (grey) frames were left out")
        # Audio often ends a little before the last frame; the frames after it are not used.
        self._frames_with_audio = min(
            self._count,
            int(len(self._waveform) * FRAME_RATE / self._rate + MAX_MISSING_AUDIO_FRAMES),
        )
        expected = corpora.expected_frames(self._corpus, self._video)
        if expected not in (None, self._count):
            detail = f"{self._count} frames of the {expected} that its text file lists"
            log.reject("25 fps", video_id, "incomplete", detail)
            return []
        if self._frames_with_audio < segments.min_frames(settings):
            detail = f"audio and frames share {float(self._frames_with_audio / FRAME_RATE):.2f} s"
            log.reject("25 fps", video_id, "too short", detail)
            return []
        log["25 fps"].left = log["scene cuts"].entered = 1
        log["scene cuts"].left = log["face tracks"].entered = len(cuts) + 1
        log["face tracks"].seconds += seconds - decoding
        found = segments.cut(video_id, tracks, cuts, settings, undecoded_frames, log)
        log["face tracks"].left = len(found)
        return found

    def _align(self, found: list[Segment]) -> dict[int, CropPlan]:
        """Plans the crops of each track, by id; drops segments that can't be aligned."""
        log, spec, plans = self._log, CROP_SPECS[self._settings.crop], {}
        with log.timed("alignment") as counts:
            counts.entered = len(found)
            for segment in found:
                track = segment.track
                if spec.method == "aligned" and not np.isfinite(track.landmarks).all():
                    name = f"{self._video.video_id}/{segment.start:06d}"
                    detail = "the detector gives none, and alignment needs them"
                    log.reject("alignment", name, "no landmarks", detail)
                    continue
                counts.left += 1
                if id(track) not in plans:
                    plans[id(track)] = cropping.plan_crops(track, spec, self._settings.smoothing)
        return plans

    def _read_crops(
        self, kept: list[Segment], plans: Mapping[int, CropPlan]
    ) -> tuple[dict[Segment, "_Crops"], dict[int, sync.MeasuredTrack]]:
        """Reads the video again: crops each segment, and measures each track's audio offset."""
        log, settings = self._log, self._settings
        crops = {segment: _Crops() for segment in kept}
        streams: dict[int, sync.TrackEmbeddings] = {}
        if self._sync_model is not None:
            for segment in kept:
                track = segment.track
                if id(track) not in streams:
                    frames = range(track.start, min(track.frames.stop, self._count))
                    streams[id(track)] = sync.TrackEmbeddings(
                        self._sync_model, track, frames, settings.smoothing
                    )
        last = max((segment.end for segment in kept), default=0)
        last = max([last, *(stream.frames.stop for stream in streams.values())])
        with log.timed("crop"):
            for frame in source_video.read_frames(self._video) if last else ():
                if frame.index == last:
                    break
                bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
                for segment, found in crops.items():
                    if segment.start <= frame.index < segment.end:
                        plan = plans[id(segment.track)]
                        crop = plan.crop(bgr, frame.index - segment.track.start)
                        if len(found.frames) % quality.SHARPNESS_STEP == 0:
                            found.sharpness.append(quality.sharpness(crop))
                        found.frames.append(encode_frame(crop, settings.quality))
                with log.timed("sync offset") as counts:
                    before = counts.seconds
                    for stream in streams.values():
                        if frame.index in stream.frames:
                            stream.add(frame.image)
                log["crop"].seconds -= log["sync offset"].seconds - before
        if not streams:
            return crops, {}
        with log.timed("sync offset"):
            samples = audio.resample(
                np.asarray(self._waveform, np.float32) / 32768, self._rate, audio.SAMPLE_RATE
            )
            measured = {key: stream.measure(samples) for key, stream in streams.items()}
        return crops, measured

    def _correct(
        self, kept: list[Segment], measured: Mapping[int, sync.MeasuredTrack]
    ) -> dict[Segment, "_Synced"]:
        """Corrects the audio offset of segments, and drops those whose offset is not confident."""
        offsets, confident = self._log["sync offset"], self._log["sync confidence"]
        synced = {}
        offsets.entered = len(kept)
        for segment in kept:
            if self._sync_model is None:
                offsets.left, confident.entered = offsets.left + 1, confident.entered + 1
                synced[segment] = _Synced(self._with_audio(segment))
                continue
            track = measured[id(segment.track)]
            problem = track.problem(self._settings, self._sync_model.crop_style)
            is_kept = problem is None or (
                self._settings.low_sync_confidence == "keep" and problem[0] in sync.UNKNOWN_OFFSET
            )
            is_measured = track.sync.av_offset is not None
            stage = "sync confidence" if is_measured else "sync offset"
            offsets.left += is_measured or is_kept
            confident.entered += is_measured or is_kept
            if problem is None:
                offset = track.sync.av_offset.frames
                if offset:
                    offsets.changed[f"audio shifted by {-offset:+d} frames"] += 1
                synced[segment] = _Synced(self._with_audio(segment, offset), offset, track)
            elif is_kept:
                self._log[stage].changed[f"{problem[0]}, kept"] += 1
                synced[segment] = _Synced(self._with_audio(segment))
            else:
                name = f"{self._video.video_id}/{segment.start:06d}"
                self._log.reject(stage, name, *problem)
        confident.left = len(synced)
        return synced

    def _filter(
        self,
        synced: Mapping[Segment, "_Synced"],
        crops: Mapping[Segment, "_Crops"],
        plans: Mapping[int, CropPlan],
    ) -> list[Segment]:
        """Returns the segments that are good enough for training."""
        settings, passed = self._settings, []
        with self._log.timed("quality") as counts:
            counts.entered = len(synced)
            for segment, in_sync in synced.items():
                name = f"{self._video.video_id}/{segment.start:06d}"
                if len(in_sync.part) < segments.min_frames(settings):
                    detail = f"{len(in_sync.part)} frames have audio"
                    self._log.reject("quality", name, "truncated", detail)
                    continue
                boxes = plans[id(segment.track)].boxes[segment.rows]
                samples = self._audio(in_sync)
                problem = quality.problem(
                    settings,
                    face_height=segment.face_height,
                    outside=quality.outside_fraction(boxes, *self._image_size),
                    sharpness=float(np.mean(crops[segment].sharpness)),
                    samples=samples,
                    rate=self._rate,
                    relative_prominence=in_sync.relative_prominence,
                )
                if problem:
                    self._log.reject("quality", name, *problem)
                else:
                    passed.append(segment)
            counts.left = len(passed)
        return passed

    def _clip(
        self, name: str, segment: Segment, in_sync: "_Synced", crops: "_Crops", plan: CropPlan
    ) -> Clip:
        """Returns the clip of a segment, with audio features."""
        part, annotation = in_sync.part, self._annotation
        rows = slice(part.start - segment.start, part.end - segment.start)
        words = _words_in(annotation.words, in_sync)
        whole = len(part) >= self._count - _MAX_CUT
        clip = Clip(
            clip_id=name,
            speaker=self._video.speaker,
            frames=tuple(crops.frames[rows]),
            frame_rate=FRAME_RATE,
            audio=self._audio(in_sync),
            audio_rate=self._rate,
            landmarks=plan.landmarks[part.rows],
            sync_offset=in_sync.residual,
            sync_confidence=in_sync.confidence,
            words=words,
            transcript=" ".join(word.text for word in words)
            or (annotation.transcript if whole else ""),
            phones=_words_in(annotation.phones, in_sync),
        )
        with self._log.timed("audio features"):
            return ClipWithFeatures.of(clip, compute_features(clip))

    def _with_audio(self, segment: Segment, offset: int = 0) -> Segment:
        """Returns the part of a segment that has audio once an offset of it is corrected."""
        last = min(self._frames_with_audio - offset, self._count)
        return dataclasses.replace(
            segment, start=max(segment.start, -offset), end=min(segment.end, last)
        )

    def _audio(self, in_sync: "_Synced") -> np.ndarray:
        """Returns a clip's audio, int16; what is missing at the end is silent."""
        part, offset = in_sync.part, in_sync.offset
        first, last = (
            round((number + offset) * self._rate / FRAME_RATE) for number in (part.start, part.end)
        )
        found = self._waveform[first:last]
        return np.pad(found, (0, last - first - len(found)))


@dataclasses.dataclass(frozen=True, eq=False)
class _Crops:
    """What the second reading of a video collects of one segment."""

    frames: list[bytes] = dataclasses.field(default_factory=list)
    sharpness: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, eq=False)
class _Synced:
    """A segment whose audio offset is corrected.

    Attributes:
        part: the frames that have audio.
        offset: frames by which the audio was later than the video.
        track: the measure; None where the offset is not known.
    """

    part: Segment
    offset: int = 0
    track: sync.MeasuredTrack | None = None

    def relative_prominence(self) -> float | None:
        """See `MeasuredTrack.relative_prominence`; None where the offset is not known."""
        if self.track is None:
            return None
        return self.track.relative_prominence(self.part.start, self.part.end)

    @property
    def residual(self) -> float:
        """Seconds by which the audio is still later than the video, to a millisecond."""
        if self.track is None:
            return float("nan")
        return round((self.track.sync.av_offset.subframe - self.offset) / float(FRAME_RATE), 3)

    @property
    def confidence(self) -> float:
        """Confidence of the offset, to two decimals, which do not depend on the machine."""
        if self.track is None:
            return float("nan")
        return round(self.track.sync.av_offset.confidence, 2)


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


def _words_in(words: tuple[Word, ...], in_sync: _Synced) -> tuple[Word, ...]:
    """Returns the words whose middle lies in a clip, in seconds from its start.

    The times of words are those of the audio, and are shifted with it.
    """
    part, offset = in_sync.part, in_sync.offset
    start, end = (float((frame + offset) / FRAME_RATE) for frame in (part.start, part.end))
    return tuple(
        Word(word.text, max(word.start, start) - start, min(word.end, end) - start)
        for word in words
        if start <= (word.start + word.end) / 2 < end
    )
