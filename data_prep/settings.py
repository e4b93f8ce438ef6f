"""Settings of the preparation; the help of `lipsync prepare` names the source of each threshold."""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

from lipsync_jax import faces
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.evaluation.metrics.lse import MAX_OFFSET

FRAME_RATE = Fraction(25)
BUILT_IN, NO_SYNC_MODEL = "built-in", "none"
LOW_CONFIDENCE = ("drop", "keep")
RUNNERS = ("local", "beam")


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
        sync_model: the network that measures audio offsets: BUILT_IN, a folder as of
            `SyncModel.load`, or NO_SYNC_MODEL, with which offsets are neither measured nor
            corrected. A function that returns a `SyncModel` is possible in one process.
        max_sync_offset: largest audio offset that is corrected, frames.
        min_sync_confidence: least confidence of an offset that SyncNet measured.
        min_sync_prominence: least prominence of an offset that another model measured, see
            `MeasuredTrack.problem`.
        low_sync_confidence: whether clips without a confident offset are dropped, or kept as they
            are: one of LOW_CONFIDENCE.
        min_face_height: smallest height of a face, pixels of the video.
        max_outside_fraction: largest fraction of the face box outside of the image.
        min_sharpness: least variance of the Laplacian of a crop, see `quality.sharpness`.
        min_fps: lowest frame rate of a video; below it frames would only be repeated.
        quality: JPEG quality of the crops, 1 to 100.
    """

    crop: str = "face96"
    detector: str | faces.Detector = "auto"
    detect_every: int = 1
    smoothing: int = 5
    max_seconds: float = 3.0
    min_seconds: float = 1.0
    max_missing_fraction: float = 0.2
    sync_model: str = BUILT_IN
    max_sync_offset: int = 6
    min_sync_confidence: float = 3.0
    min_sync_prominence: float = 0.12
    low_sync_confidence: str = "drop"
    min_face_height: float = 40.0
    max_outside_fraction: float = 0.2
    min_sharpness: float = 10.0
    min_fps: float = 20.0
    quality: int = 95

    def __post_init__(self) -> None:
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
        if self.smoothing < 1 or self.smoothing % 2 == 0:
            raise ValueError(
                f"--smoothing {self.smoothing}: a centred average needs an odd number of frames"
            )
        if not 1 <= self.quality <= 100:
            raise ValueError(f"--quality {self.quality}: JPEG has 1 to 100, higher is better")
        if self.low_sync_confidence not in LOW_CONFIDENCE:
            raise ValueError(
                f"--low-sync-confidence {self.low_sync_confidence!r}: "
                f"choose {' or '.join(LOW_CONFIDENCE)}"
            )
        if not 0 <= self.max_sync_offset < MAX_OFFSET:
            raise ValueError(
                f"--max-sync-offset {self.max_sync_offset}: offsets are looked for up to "
                f"{MAX_OFFSET} frames; give 0 to {MAX_OFFSET - 1}"
            )
        if isinstance(self.detector, str):
            object.__setattr__(self, "detector", faces.resolve_detector(self.detector))


@dataclasses.dataclass(frozen=True)
class RunnerSettings:
    """Which processes extract clips.

    Attributes:
        runner: one of RUNNERS: this machine's processes, or a pipeline of Apache Beam.
        workers: processes of this machine; 0 works in this one.
        beam_options: of the pipeline, see `beam_runner.fill_cache`.
    """

    runner: str = "local"
    workers: int = 0
    beam_options: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.runner not in RUNNERS:
            raise ValueError(f"--runner {self.runner!r}: choose {' or '.join(RUNNERS)}")
        if self.beam_options and self.runner != "beam":
            raise ValueError("--beam-options are of --runner beam; give that too")


@dataclasses.dataclass(frozen=True)
class SplitSettings:
    """Which clips are held out.

    Attributes:
        split_by: see `splits.assign_splits`; or the name of a published split of the corpus. `auto`
            takes the official one where there is one.
        validation: fraction of speakers or videos for validation.
        test: fraction for the test, unless its speakers are the published ones.
        validation_speakers: speakers held out for validation, by name; with these or
            `test_speakers`, the fields above have no effect, and all other speakers are for
            training.
        test_speakers: speakers held out for the test, by name.
    """

    split_by: str = "auto"
    validation: float = 0.1
    test: float = 0.1
    validation_speakers: Sequence[str] = ()
    test_speakers: Sequence[str] = ()

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise ValueError(
                f"--validation {self.validation} and --test {self.test} leave nothing to train on"
            )
