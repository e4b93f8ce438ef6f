"""Animates an image of a face by driving audio.

One program generates the frames of a batch; the recurrent state is passed from batch to batch.
Recordings are read in chunks, as streaming audio is, so memory does not grow with length.
"""

import contextlib
import math
import os
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax import faces, weights
from lipsync_jax.faces import alignment
from lipsync_jax.faces.roll import find_roll
from lipsync_jax.media import frame_source
from lipsync_jax.media.audio import SAMPLE_RATE
from lipsync_jax.media.planar import to_rgb
from lipsync_jax.media.video_reader import Frame, VideoWriter
from lipsync_jax.provenance import c2pa, metadata, visible_label
from lipsync_jax.synthesis import animation_model, blending, driving_audio, model_info
from lipsync_jax.synthesis.animation_model import AnimationModel
from lipsync_jax.synthesis.batch_sizes import default_batch_size
from lipsync_jax.synthesis.options import AnimationOptions
from lipsync_jax.synthesis.progress import GenerationResult, OnProgress, Progress
from lipsync_jax.synthesis.streaming_audio import StreamingAudio
from lipsync_jax.text import naming_options
from lipsync_jax.types import Argument

Pathlike = str | os.PathLike


def animate(
    checkpoint: Pathlike | None,
    face: Pathlike,
    audio: Pathlike,
    outfile: Pathlike,
    *,
    on_progress: OnProgress | None = None,
    **options: Argument,
) -> GenerationResult:
    """Animates a reference image by a recording of speech.

        animate("runs/vougioukas", "portrait.png", "speech.wav", "out.mp4", seed=3)

    The video has the network's frame rate, and as many frames as begin before the audio ends: the
    recording's duration times the rate, rounded up. The output has the audio of the recording.

    Args:
        checkpoint: a training run's workdir, or what `lipsync convert` wrote; None for the
            built-in model.
        face: an image of a frontal face, or a video whose first frame is one; of several faces the
            largest is animated.
        audio: any file with audio.
        outfile: .mp4, .m4v, .mov or .mkv; written under another name until complete.
        on_progress: called after each frame.
        **options: fields of `options.AnimationOptions`.

    Raises:
        FileNotFoundError: an input or the checkpoint is missing.
        ValueError: an input or the value of an option can't be used, or the image shows no face;
            raised before slow work.
    """
    settings = AnimationOptions(**options)
    settings.check(face, audio, outfile)
    return Animator.load(checkpoint)._animate(face, audio, outfile, settings, on_progress)


class Animator:
    """A trained network that animates images, loaded and compiled once for many videos."""

    def __init__(self, model: AnimationModel, credit: str = "") -> None:
        """Takes a model that is loaded.

        Args:
            model: the network.
            credit: the model's name and licence, for the report, see `model_info.credit`.
        """
        self.model, self.credit = model, credit

    @classmethod
    def load(cls, checkpoint: Pathlike | None = None) -> "Animator":
        """Loads a checkpoint, or the built-in model.

        Args:
            checkpoint: see the function `animate`.

        Raises:
            FileNotFoundError, ValueError: see `weights.resolve` and
                `animation_model.load`.
        """
        folder = weights.resolve(checkpoint, weights.ANIMATION)
        return cls(animation_model.load(folder), model_info.credit(folder))

    def animate(
        self,
        face: Pathlike,
        audio: Pathlike,
        outfile: Pathlike,
        *,
        on_progress: OnProgress | None = None,
        **options: Argument,
    ) -> GenerationResult:
        """See the function `animate`."""
        settings = AnimationOptions(**options)
        settings.check(face, audio, outfile)
        return self._animate(face, audio, outfile, settings, on_progress)

    def prepare(self, face: Pathlike, **options: Argument) -> "StreamingAnimator":
        """Detects the face of an image and compiles, for streaming audio: see `StreamingAnimator`.

        Args:
            face: see `animate`.
            **options: fields of `options.AnimationOptions`; those about files have no effect.

        Raises:
            FileNotFoundError, ValueError: as `animate`.
        """
        settings = AnimationOptions(**options)
        settings.check_inputs(face)
        with naming_options(settings.files(face)):
            animator = StreamingAnimator(self.model, face, settings)
        animator.compile()
        return animator

    def _animate(
        self,
        face: Pathlike,
        audio: Pathlike,
        outfile: Pathlike,
        options: AnimationOptions,
        on_progress: OnProgress | None,
    ) -> GenerationResult:
        started = time.monotonic()
        with contextlib.ExitStack() as cleanup:
            files = options.files(face, audio) | {"outfile": outfile}
            cleanup.enter_context(naming_options(files))
            duration = driving_audio.duration(audio)
            animator = StreamingAnimator(self.model, face, options)
            sign = c2pa.sign_on_close(outfile, options.c2pa_certificate, options.c2pa_key)
            writer = VideoWriter(
                cleanup.enter_context(sign),
                animator.frame_rate,
                animator.size,
                **options.encoding,
                metadata=metadata.tags(self.model.model_hash, self.credit),
                audio=audio,
            )
            cleanup.enter_context(writer)
            begun, total = time.monotonic(), math.ceil(duration * animator.frame_rate)
            stream, chunks = driving_audio.open_mono_stream(audio)
            for frame in animator.stream_overlapped(chunks, stream.rate):
                writer.write(frame.image, frame.time)
                if on_progress:
                    seconds = time.monotonic() - begun
                    on_progress(Progress("generate", writer.frames, total, seconds))
        now = time.monotonic()
        return GenerationResult(
            outfile=Path(outfile),
            frames=writer.frames,
            edited=writer.frames,
            unchanged=0,
            missing_intervals=(),
            duration=float(writer.frames / animator.frame_rate),
            frame_rate=animator.frame_rate,
            wall_seconds=now - started,
            frames_per_second=writer.frames / max(now - begun, 1e-6),
            model_hash=self.model.model_hash,
            credit=self.credit,
            notes=driving_audio.notes(stream),
        )


class StreamingAnimator:
    """The face of an image, detected, with the network compiled; made by `Animator.prepare`.

        streaming = animator.prepare("portrait.png", batch_size=1)
        for frame in streaming.stream(microphone, rate=16_000):
            show(frame.image, frame.time)

    **Look-ahead.** The frame shown at second t is conditioned on the audio up to t + `look_ahead`:
    0.10 s with windows of 0.16 s (Vougioukas et al. 2018), 0.12 s with windows of 0.2 s (2020 and
    the published checkpoints), 0.215 s with MFCCs (Jain et al.; 0.21 s Speech2Vid), 0.64 s where 16
    frames are generated at once (Chen et al. 2018, VGAN). Resampling to the network's rate needs up
    to 0.06 s more, and 0.13 s from 8 kHz.

    **Latency.** The look-ahead, plus the chunk's length, plus the time until `batch_size` frames
    are due (none for `batch_size=1`; (batch_size - 1) / frame_rate in general; batches are
    multiples of eight frames where 16 frames are generated at once), plus the time of generation.
    No chunk is consumed before all frames are yielded that do not need the chunk.

    **Equality.** The frames are bit for bit those that `Animator.animate` encodes for a recording
    of equal samples, with equal options and equal `batch_size`. Another batch size is another
    program, whose sums may round differently: a pixel may then differ by one level.

    Attributes:
        frame_rate: frames a second, exact.
        size: (width, height) of the frames.
        look_ahead: see above, exact.
    """

    def __init__(self, model: AnimationModel, face: Pathlike, options: AnimationOptions) -> None:
        """Detects the face; see `animate` for what it raises."""
        self._model, self._options = model, options
        requested = options.batch_size or default_batch_size()
        self._batch_size = math.ceil(requested / model.frame_multiple) * model.frame_multiple
        self._image, self._crop, self._matrix = _load_reference_image(model, face, options)
        self._encoded_image = model.encode_image(self._crop)
        self._mask = self._paste_mask() if options.paste_back else None
        canvas = self._image if options.paste_back else self._crop
        self.size = canvas.shape[1::-1]
        self._label = visible_label.watermark(options.label, self.size)
        self.frame_rate, self.look_ahead = model.frame_rate, model.audio_frontend.look_ahead

    def stream(self, chunks: Iterable[np.ndarray], rate: int = SAMPLE_RATE) -> Iterator[Frame]:
        """Generates frames while the audio arrives.

        May be called again for other audio; each call starts from the initial state, with equal
        noise. Memory does not grow with length.

        Args:
            chunks: driving audio in chunks of any length: int16, or float with full scale 1;
                (samples,) or (samples, channels). Consumed one by one, in the caller's thread.
            rate: samples a second.

        Yields:
            Frames (uint8 RGB (height, width, 3), time in exact seconds of the audio, index), until
            the audio ends.

        Raises:
            ValueError: samples are not finite.
        """
        for batch in self._generate_batches(chunks, rate):
            yield from self._finish_frames(*batch)

    def stream_overlapped(self, chunks: Iterable[np.ndarray], rate: int) -> Iterator[Frame]:
        """Yields what `stream` yields; each batch is blended while the next is generated."""
        previous = None
        for batch in self._generate_batches(chunks, rate):
            if previous:
                yield from self._finish_frames(*previous)
            previous = batch
        if previous:
            yield from self._finish_frames(*previous)

    def compile(self) -> None:
        """Compiles the program by generating a batch, which is discarded."""
        model, n = self._model, self._batch_size
        features, noise = (
            np.zeros((n, *shape), np.float32)
            for shape in (model.audio_frontend.shape, (model.noise_size,))
        )
        np.asarray(model.step(self._encoded_image, features, noise, model.initial_state())[1])

    def _generate_batches(
        self, chunks: Iterable[np.ndarray], rate: int
    ) -> Iterator[tuple[range, np.ndarray]]:
        audio = StreamingAudio(chunks, rate, self._model.audio_frontend.rate)
        std, seed = self._options.noise_std, self._options.seed
        return self._model.generate(self._encoded_image, audio, self._batch_size, seed, std)

    def _paste_mask(self) -> np.ndarray:
        white = np.full_like(self._image, 255)
        assert self._matrix is not None  # set where the face is pasted back
        covered = alignment.warp_crop(white, self._matrix, self._model.size) == 255
        return blending.frame_mask(covered.all(axis=-1))

    def _finish_frames(self, frames: range, generated: np.ndarray) -> Iterator[Frame]:
        for number, image in zip(frames, np.asarray(generated), strict=False):
            if self._options.paste_back:
                assert self._matrix is not None and self._mask is not None
                image = blending.match_colours(image, self._crop, self._mask)
                image = to_rgb(blending.blend_aligned(self._image, image, self._mask, self._matrix))
            if self._label:
                image = self._label(image)
            yield Frame(Fraction(number) / self.frame_rate, image, number)


def _load_reference_image(
    model: AnimationModel, path: Pathlike, options: AnimationOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Reads an image; returns the image, the network's input crop, and the matrix between them."""
    source = frame_source.open_frame_source(path, static=True, resize_factor=options.resize_factor)
    with contextlib.closing(source.frames()) as frames:
        image = next(frames).image
    if options.aligned:
        smaller = image.shape[0] > model.size[0]
        interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return image, cv2.resize(image, model.size[::-1], interpolation=interpolation), None
    found = faces.detect(image, options.detector)
    if not found:
        raise ValueError(
            f"{path}: no face was found; give an image of a frontal face, or use `aligned` if the "
            "image is a face crop already"
        )
    try:
        matrix = model.align(find_roll(image, found[0], options.detector))
    except ValueError as error:
        raise ValueError(
            f"{path}: its face can't be aligned ({error}); give a frontal one"
        ) from error
    return image, alignment.warp_crop(image, matrix, model.size), matrix
