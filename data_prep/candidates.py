"""What the reading of a video leaves for the thresholds to decide: see `decision.decide`."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from lipsync_jax.data_prep.corpora import Annotation, Video
from lipsync_jax.data_prep.stages import Rejected, StageCounts, StageLog

UNREADABLE = "unreadable"  # a reason that a retry may remove


@dataclasses.dataclass(frozen=True)
class MeasuredOffset:
    """The audio offset of a track, without the embeddings that it is from.

    Attributes:
        crop_style: of the sync model, see `SyncModel.crop_style`.
        frames: frames by which the audio is later than the video; None where not measured.
        subframe, confidence, prominence, stability, at_limit: see `offset.AVOffset`.
        is_confident: see `video_sync.TrackSync.is_confident`.
        reason: why the offset was not measured.
    """

    crop_style: str
    frames: int | None = None
    subframe: float = 0.0
    confidence: float = 0.0
    prominence: float = 0.0
    stability: float = 0.0
    at_limit: bool = False
    is_confident: bool = False
    reason: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A segment of a track that becomes a clip if the thresholds accept it.

    Attributes:
        start: number of the first frame of the video at 25 a second.
        end: number of the frame after the last.
        face_height: mean height of the face, pixels of the video.
        outside: fraction of the face box outside of the image.
        sharpness: mean of `quality.sharpness` over some crops.
        offset: the audio offset of the track; None if offsets are not measured.
        relative_prominence: of the corrected clip, see `MeasuredTrack.relative_prominence`; None
            where no offset was measured.
        frames: JPEGs of the crops.
        landmarks: float32 (frames, 5, 2), crop pixels.
        audio: int16 (samples,), that of the frames, before and after the offset is corrected.
        first_sample: number of the first of these samples in the audio of the video.
    """

    start: int
    end: int
    face_height: float
    outside: float
    sharpness: float
    offset: MeasuredOffset | None
    relative_prominence: float | None
    frames: tuple[bytes, ...]
    landmarks: np.ndarray
    audio: np.ndarray
    first_sample: int


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The candidates of one video.

    Attributes:
        items: in the order of time.
        rejected: segments, or the video, that were dropped before.
        num_frames: frames at 25 a second.
        num_frames_with_face: estimate of the frames with a face, from the inspected frames.
        num_frames_with_audio: frames from the start that have audio.
        audio_rate: samples a second.
        is_whole: whether the video was found to be one segment, which has the video's id.
        annotation: transcript of the video.
        notes: defects of a file that was used, e.g. damaged packets, interlacing.
        stages: what the stages did until then, see `stages.STAGES`.
    """

    items: tuple[Candidate, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    num_frames: int = 0
    num_frames_with_face: int = 0
    num_frames_with_audio: int = 0
    audio_rate: int = 0
    is_whole: bool = False
    annotation: Annotation = dataclasses.field(default_factory=Annotation)
    notes: tuple[str, ...] = ()
    stages: Mapping[str, StageCounts] = dataclasses.field(default_factory=dict)

    @property
    def is_unreadable(self) -> bool:
        """Whether the video could not be read, which another run may try again."""
        return any(item.reason == UNREADABLE for item in self.rejected)


def unreadable(video: Video, detail: str, reached: StageLog | None = None) -> Candidates:
    """Returns the candidates, none, of a video that can't be read.

    The video is dropped by the last stage that takes videos, whichever stage failed; those after
    it take shots and clips, of which there are none.

    Args:
        video: the video.
        detail: why.
        reached: the log of the reading that failed; None if its process died.
    """
    log, stage = StageLog(), "probe"
    log[stage].entered = 1
    if reached is None or "25 fps" in reached.counts:
        log[stage].left, stage = 1, "25 fps"
        log[stage].entered = 1
    for name, counts in reached.counts.items() if reached else ():
        log[name].seconds = counts.seconds
    log.reject(stage, video.video_id, UNREADABLE, detail)
    return Candidates(rejected=tuple(log.rejected), stages=log.counts)
