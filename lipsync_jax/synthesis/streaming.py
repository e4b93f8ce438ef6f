"""Dubs a face by streaming audio: frames are generated while the audio is still arriving."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import numpy as np

from lipsync_jax.faces.trajectory import FaceTrajectory
from lipsync_jax.media.audio import SAMPLE_RATE
from lipsync_jax.media.frame_source import FrameSource
from lipsync_jax.media.video_reader import Frame
from lipsync_jax.provenance import visible_label
from lipsync_jax.synthesis import driving_audio
from lipsync_jax.synthesis.batching import Batcher
from lipsync_jax.synthesis.frame_schedule import ScheduledFrame, schedule_frames
from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.synthesis.renderer import FaceRenderer, SpeakerTrack

SPEECH_LOOK_AHEAD = Fraction(16, 100)  # seconds; less than the look-ahead of every network


class StreamingDubber:
    """The face of a video, detected, with the network compiled; made by `LipSyncPipeline.prepare`.

        dubber = pipeline.prepare("face.mp4", batch_size=1)
        for frame in dubber.stream(microphone, rate=16_000):
            show(frame.image, frame.time)

    **Look-ahead.** Wav2Lip's frame shown at second t is conditioned on the audio up to t + 0.16 s
    (a window of 0.2 s from 0.04 s before t; 0.04 s later with `audio_offset="reference"`). The mel
    spectrogram is computed in blocks of 0.05 s: at 16 kHz the frame is generated once t +
    `look_ahead` seconds of audio have arrived, 0.21 s (LipGAN: 0.24 s of MFCCs). Resampling from 22
    to 48 kHz needs up to 0.042 s more, from 8 kHz 0.12 s.

    **Latency.** The look-ahead, plus the chunk's length, plus the time until `batch_size` frames
    are due (none for `batch_size=1`; (batch_size - 1) / frame_rate in general), plus the time of
    generation. No chunk is consumed before all frames are yielded that do not need the chunk.

    **Equality.** The frames are bit for bit those that `LipSyncPipeline.generate` encodes with
    `lossless` for a recording of equal samples, with equal options and equal `batch_size` (another
    batch size is another program, whose sums may round differently). Without `lossless`, `generate`
    blends in the video's own YUV where it can. There is one exception: `generate` selects the most
    prominent face in the part of the video that the output shows, and this class in the whole
    video; where these are two persons, select one by `face_id`.

    Attributes:
        frame_rate: frames a second, exact.
        size: (width, height) of the frames.
        look_ahead: see above, exact.
    """

    def __init__(
        self,
        batcher: Batcher,
        video: FrameSource,
        face_trajectory: FaceTrajectory,
        options: DubbingOptions,
        label: visible_label.VisibleWatermark | None = None,
    ) -> None:
        self._batcher, self._video, self._face_trajectory, self._options = (
            batcher,
            video,
            face_trajectory,
            options,
        )
        self.frame_rate, self.size = video.output_rate, video.size
        self.look_ahead = driving_audio.look_ahead(
            batcher.model.audio_features, options.audio_offset
        )
        self._label = label

    def stream(
        self,
        chunks: Iterable[np.ndarray],
        rate: int = SAMPLE_RATE,
        *,
        is_wanted: Callable[[Fraction], bool] | None = None,
        speech: Callable[[Fraction], float] | None = None,
    ) -> Iterator[Frame]:
        """Generates frames while the audio arrives.

        May be called again for other audio; each call starts at the video's first frame. Memory
        does not grow with length.

        Args:
            chunks: driving audio in chunks of any length: int16, or float with full scale 1;
                (samples,) or (samples, channels). Consumed one by one, in the caller's thread.
            rate: samples a second.
            is_wanted: the time of the next frame -> whether to generate the frame; others are left
                out. Called before the frame's audio is consumed.
            speech: the time of a frame -> speech activity, 0 (the face video's own frame, at no
                cost) to 1. Called when the audio until `SPEECH_LOOK_AHEAD` after this time, or
                until its end, has been consumed.

        Yields:
            Frames (uint8 RGB (height, width, 3), time in exact seconds of the audio, and the index
            that the time has), until the audio ends or, with `loop="none"`, the video ends.

        Raises:
            ValueError: samples are not finite.
        """
        feature_spec = self._batcher.model.audio_features
        audio_features = driving_audio.StreamingFeatures(chunks, rate, feature_spec)
        options, envelope = self._options, None
        if speech is not None:  # frames without speech are those of the face video
            options = dataclasses.replace(options, silence_mode="passthrough")
            envelope = functools.partial(_envelope, audio_features, speech)
        speaker_track = SpeakerTrack(self._face_trajectory, audio_features, envelope)
        face_renderer = FaceRenderer(
            self._batcher, self._video, [speaker_track], options, self._label
        )
        moments: list[tuple[int, Fraction]] = []  # of frames that are being generated

        def schedule() -> Iterator[ScheduledFrame]:
            frames = schedule_frames(
                self._video, self._face_trajectory.times, audio_features.length, options.loop
            )
            for index, (number, moment) in enumerate(frames):
                # Frames that are left out, or show no face, ask for no window; those of the batch
                # that is being filled still will.
                earliest = moments[0][1] if moments else moment
                starts = feature_spec.window_starts([earliest], options.audio_offset)
                audio_features.discard_before(int(starts[0]))
                if is_wanted is None or is_wanted(moment):
                    moments.append((index, moment))
                    yield number, moment

        with contextlib.closing(face_renderer.images(schedule(), parallel=False)) as images:
            for image in images:
                index, moment = moments.pop(0)
                yield Frame(moment, image, index)


def _envelope(
    audio_features: driving_audio.StreamingFeatures,
    speech: Callable[[Fraction], float],
    moment: Fraction,
) -> float:
    """Returns the speech activity of a frame, once the audio that decides it has arrived."""
    audio_features.length(moment + SPEECH_LOOK_AHEAD)
    return speech(moment)
