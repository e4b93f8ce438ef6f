"""Dubs a face by streaming audio: frames are generated while the audio is still arriving."""

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np

from lipsync_jax.faces.trajectory import FaceTrajectory
from lipsync_jax.media.audio import SAMPLE_RATE
from lipsync_jax.media.frame_source import FrameSource
from lipsync_jax.media.video_reader import Frame
from lipsync_jax.synthesis import driving_audio, renderer
from lipsync_jax.synthesis.batching import Batcher
from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.synthesis.renderer import FaceRenderer, SpeakerTrack


class StreamingDubber:
    """The face of a video, detected, with the network compiled; made by `LipSyncPipeline.prepare`.

        dubber = pipeline.prepare("face.mp4", batch_size=1)
        for frame in dubber.stream(microphone, rate=16_000):
            show(frame.image, frame.time)

    **Look-ahead.** Wav2Lip's frame shown at second t is conditioned on the audio up to t + 0.15 s
    (a window of 0.2 s from 0.04 s before t; 0.04 s later with `audio_offset="reference"`). The mel
    spectrogram needs 0.025 s more, and is computed in blocks of 0.05 s: at 16 kHz the frame is
    generated once t + 0.225 s of audio have arrived. Resampling from 22 to 48 kHz needs up to 0.042
    s more, from 8 kHz 0.12 s. LipGAN's windows end 0.2 s after their frame, so LipGAN needs t +
    0.275 s.

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
    """

    def __init__(
        self,
        batcher: Batcher,
        video: FrameSource,
        face_trajectory: FaceTrajectory,
        options: DubbingOptions,
    ) -> None:
        self._batcher, self._video, self._face_trajectory, self._options = (
            batcher,
            video,
            face_trajectory,
            options,
        )
        self.frame_rate, self.size = video.output_rate, video.size

    def stream(self, chunks: Iterable[np.ndarray], rate: int = SAMPLE_RATE) -> Iterator[Frame]:
        """Generates frames while the audio arrives.

        May be called again for other audio; each call starts at the video's first frame. Memory
        does not grow with length.

        Args:
            chunks: driving audio in chunks of any length: int16, or float with full scale 1;
                (samples,) or (samples, channels). Consumed one by one, in the caller's thread.
            rate: samples a second.

        Yields:
            Frames (uint8 RGB (height, width, 3), time in exact seconds of the audio, index), until
            the audio ends or, with `loop="none"`, the video ends.

        Raises:
            ValueError: samples are not finite.
        """
        audio_features = driving_audio.StreamingFeatures(
            chunks, rate, self._batcher.model.audio_features
        )
        speaker_track = SpeakerTrack(self._face_trajectory, audio_features)
        face_renderer = FaceRenderer(self._batcher, self._video, [speaker_track], self._options)
        moments = []

        def schedule() -> Iterator[renderer.ScheduledFrame]:
            frames = renderer.schedule_frames(
                self._video, self._face_trajectory.times, audio_features.length, self._options.loop
            )
            for number, moment in frames:
                moments.append(moment)
                yield number, moment

        with contextlib.closing(face_renderer.images(schedule(), parallel=False)) as images:
            for index, image in enumerate(images):
                yield Frame(moments.pop(0), image, index)
