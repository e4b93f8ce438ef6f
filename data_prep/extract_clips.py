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
from lipsync_jax.data.clip import CROP_SPECS, encode_frame
from lipsync_jax.data_prep import corpora, cropping, decision, quality, segments, source_video
from lipsync_jax.data_prep import sync_correction as sync
from lipsync_jax.data_prep.candidates import Candidate, Candidates, unreadable
from lipsync_jax.data_prep.cropping import CropPlan
from lipsync_jax.data_prep.decision import ExtractionResult
from lipsync_jax.data_prep.segments import Segment
from lipsync_jax.data_prep.settings import FRAME_RATE, ExtractionSettings
from lipsync_jax.data_prep.stages import StageLog
from lipsync_jax.data_prep.undecoded import UndecodedFrames
from lipsync_jax.faces.tracking import FaceTracker
from lipsync_jax.media import audio, video_reader

if TYPE_CHECKING:
    from lipsync_jax.evaluation.sync_models import SyncModel

MAX_MISSING_AUDIO_FRAMES = 2  # frames at the end that may lack audio


def extract_clips(
    video: corpora.Video, corpus: str, settings: ExtractionSettings
) -> ExtractionResult:
    """Extracts the clips of one video: reads the video, and decides by the thresholds.

    Args and errors as of `read_candidates`.
    """
    return decision.decide(video, read_candidates(video, corpus, settings), settings)


def read_candidates(video: corpora.Video, corpus: str, settings: ExtractionSettings) -> Candidates:
    """Reads what may become clips of one video; the thresholds of `decision` have no effect.

    A defective file is reported in the result, not raised.

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
            found = _Reading(video, corpus, settings, sync_model, log).run()
        except (ValueError, OSError) as error:
            found = unreadable(video, str(error), log)
        except Exception as error:  # whatever the cause, one file is affected
            found = unreadable(video, f"{type(error).__name__}: {error}", log)
    notes = dict.fromkeys([*found.notes, *(str(warning.message) for warning in caught_warnings)])
    return dataclasses.replace(found, notes=tuple(notes))


class _Reading:
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

    def run(self) -> Candidates:
        """Returns the candidates.

        Raises:
            ValueError, OSError: the file can't be read.
        """
        items: tuple[Candidate, ...] = ()
        found: list[Segment] = []
        if self._probe():
            found = self._track()
            plans = self._align(found)
            kept = [segment for segment in found if id(segment.track) in plans]
            crops, measured = self._read_crops(kept, plans)
            items = tuple(
                self._candidate(
                    segment,
                    plans[id(segment.track)],
                    crops[segment],
                    measured.get(id(segment.track)),
                )
                for segment in kept
            )
        return Candidates(
            items,
            tuple(self._log.rejected),
            num_frames=self._count,
            num_frames_with_face=self._frames_with_face,
            num_frames_with_audio=self._frames_with_audio,
            audio_rate=self._rate,
            is_whole=len(found) == 1,
            annotation=self._annotation,
            notes=tuple(self._notes),
            stages=self._log.counts,
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
            used = samples[round(video.start * self._rate) :]
            if not len(used):
                seconds = len(samples) / self._rate
                raise ValueError(
                    f"the audio of {video.path} ends at {seconds:.2f} s, before the part to use, "
                    f"from {video.start:g} s on; fetch the whole video"
                )
            self._waveform = audio.to_int16(used)
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
        cropped = segments.Passing((segment, range(segment.start, segment.end)) for segment in kept)
        embedded = segments.Passing((stream, stream.frames) for stream in streams.values())
        with log.timed("crop"):
            for frame in source_video.read_frames(self._video) if last else ():
                if frame.index == last:
                    break
                bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
                for segment in cropped.at(frame.index):
                    found, plan = crops[segment], plans[id(segment.track)]
                    crop = plan.crop(bgr, frame.index - segment.track.start)
                    if len(found.frames) % quality.SHARPNESS_STEP == 0:
                        found.sharpness.append(quality.sharpness(crop))
                    found.frames.append(encode_frame(crop, settings.quality))
                with log.timed("sync offset") as counts:
                    before = counts.seconds
                    for stream in embedded.at(frame.index):
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

    def _candidate(
        self,
        segment: Segment,
        plan: CropPlan,
        crops: "_Crops",
        measured: sync.MeasuredTrack | None,
    ) -> Candidate:
        """Returns the candidate of a segment; `measured` is None without a sync model."""
        found, relative_prominence = None, None
        if measured is not None and self._sync_model is not None:
            with self._log.timed("sync offset"):
                found = measured.offset(self._sync_model.crop_style)
                if found.frames is not None:
                    lengths = self._count, self._frames_with_audio
                    part = decision.with_audio(segment.start, segment.end, *lengths, found.frames)
                    relative_prominence = measured.relative_prominence(*part)
        shift = (found and found.frames) or 0
        first, last = (
            max(0, round(number * self._rate / FRAME_RATE))
            for number in (segment.start + min(shift, 0), segment.end + max(shift, 0))
        )
        return Candidate(
            segment.start,
            segment.end,
            face_height=segment.face_height,
            outside=quality.outside_fraction(plan.boxes[segment.rows], *self._image_size),
            sharpness=float(np.mean(crops.sharpness)),
            offset=found,
            relative_prominence=relative_prominence,
            frames=tuple(crops.frames),
            landmarks=plan.landmarks[segment.rows],
            audio=self._waveform[first:last],
            first_sample=first,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Crops:
    """What the second reading of a video collects of one segment."""

    frames: list[bytes] = dataclasses.field(default_factory=list)
    sharpness: list[float] = dataclasses.field(default_factory=list)


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
