"""A still and a voice in, the still saying it out.

One program draws the frames of a batch; what the network remembers is handed from batch to batch.
A recording is heard just as a live voice is, piece by piece, so memory does not grow with length.
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

from lipsync_jax import faces
from lipsync_jax.faces import alignment
from lipsync_jax.media import frame_source
from lipsync_jax.media.audio import SAMPLE_RATE
from lipsync_jax.media.video_reader import Frame, VideoWriter
from lipsync_jax.provenance import c2pa, metadata, visible_label
from lipsync_jax.synthesis import animation_model, blending, driving_audio
from lipsync_jax.synthesis.animation_model import Performer
from lipsync_jax.synthesis.audio_frontends import Samples
from lipsync_jax.synthesis.batching import usual_batch
from lipsync_jax.synthesis.options import AnimationOptions
from lipsync_jax.synthesis.progress import OnProgress, Progress, Report
from lipsync_jax.types import Argument

Pathlike = str | os.PathLike


def animate(
    checkpoint: Pathlike,
    face: Pathlike,
    audio: Pathlike,
    outfile: Pathlike,
    *,
    on_progress: OnProgress | None = None,
    **options: Argument,
) -> Report:
    """Lets a picture say a recording.

        animate("runs/temporal_gan", "still.png", "speech.wav", "out.mp4", seed=3)

    The video has the network's frame rate, and as many frames as begin before the sound ends: the
    recording's length times the rate, rounded up. What is heard is the recording's own sound.

    Args:
        checkpoint: a training run's workdir, or what `lipsync convert` wrote.
        face: a picture of a face from the front, or a video whose first frame is one; of several
            faces the largest speaks.
        audio: any file with sound.
        outfile: .mp4, .m4v, .mov or .mkv; written under another name until it is complete.
        on_progress: called after each frame.
        **options: fields of `options.AnimationOptions`.

    Raises:
        FileNotFoundError: an input or the checkpoint is missing.
        ValueError: an input can't be used, shows no face, or an option has no such value; before
            slow work.
    """
    settings = AnimationOptions(**options)
    settings.check(face, audio, outfile)
    return Animator.load(checkpoint)._animate(face, audio, outfile, settings, on_progress)


class Animator:
    """A trained network that animates stills, loaded and compiled once for many videos."""

    def __init__(self, performer: Performer) -> None:
        self.performer = performer

    @classmethod
    def load(cls, checkpoint: Pathlike) -> "Animator":
        """Loads a checkpoint; see `performers.load` for what it raises."""
        return cls(animation_model.load(checkpoint))

    def animate(
        self,
        face: Pathlike,
        audio: Pathlike,
        outfile: Pathlike,
        *,
        on_progress: OnProgress | None = None,
        **options: Argument,
    ) -> Report:
        """See the function `animate`."""
        settings = AnimationOptions(**options)
        settings.check(face, audio, outfile)
        return self._animate(face, audio, outfile, settings, on_progress)

    def prepare(self, face: Pathlike, **options: Argument) -> "Prepared":
        """Finds the face of a picture and compiles, ready to say what comes: see `Prepared`.

        Args:
            face: see `animate`.
            **options: fields of `options.AnimationOptions`; those about files play no part.

        Raises:
            FileNotFoundError, ValueError: as `animate`.
        """
        settings = AnimationOptions(**options)
        settings.check_inputs([("face", face)])
        prepared = Prepared(self.performer, face, settings)
        prepared.compile()
        return prepared

    def _animate(
        self,
        face: Pathlike,
        audio: Pathlike,
        outfile: Pathlike,
        options: AnimationOptions,
        on_progress: OnProgress | None,
    ) -> Report:
        started = time.monotonic()
        with contextlib.ExitStack() as cleanup:
            duration = driving_audio.duration(audio)
            prepared = Prepared(self.performer, face, options)
            sign = c2pa.signing(outfile, options.c2pa_certificate, options.c2pa_key)
            writer = VideoWriter(
                cleanup.enter_context(sign),
                prepared.frame_rate,
                prepared.size,
                **options.encoding,
                metadata=metadata.tags(self.performer.model),
                audio=audio,
            )
            cleanup.enter_context(writer)
            begun, total = time.monotonic(), math.ceil(duration * prepared.frame_rate)
            stream, pieces = driving_audio.open_mono(audio)
            for frame in prepared.recorded(pieces, stream.rate):
                writer.write(frame.image, frame.time)
                if on_progress:
                    seconds = time.monotonic() - begun
                    on_progress(Progress("generate", writer.frames, total, seconds))
        now = time.monotonic()
        return Report(
            outfile=Path(outfile),
            frames=writer.frames,
            edited=writer.frames,
            kept=0,
            missing=(),
            duration=float(writer.frames / prepared.frame_rate),
            frame_rate=prepared.frame_rate,
            seconds=now - started,
            frames_per_second=writer.frames / max(now - begun, 1e-6),
            model=self.performer.model,
            notes=driving_audio.notes(stream),
        )


class Prepared:
    """A still whose face was found, with the network compiled; made by `Animator.prepare`.

        prepared = animator.prepare("still.png", batch_size=1)
        for frame in prepared.stream(microphone, rate=16_000):
            show(frame.image, frame.time)

    **Look-ahead.** The frame shown at second t hears the voice up to t + `look_ahead`: 0.10 s with
    windows of 0.16 s (Vougioukas et al. 2018), 0.12 s with those of 0.2 s (2020 and the published
    checkpoints), 0.215 s with MFCCs (Jain et al.; 0.21 s Speech2Vid), 0.64 s where 16 frames are
    drawn at once (Chen et al. 2018, VGAN). Resampling to the network's rate needs up to 0.06 s
    more, and 0.13 s from 8 kHz.

    **Latency.** To that come the chunk's own length, the time until `batch_size` frames are due
    (none for `batch_size=1`; (batch_size - 1) / frame_rate in general; batches are multiples of
    eight frames where windows are drawn) and the time that drawing takes. No chunk is taken before
    all frames are given that can do without it.

    **Equality.** The frames are bit for bit those that `Animator.animate` gives its encoder for a
    recording of the same samples, with the same options and the same `batch_size`. Another batch
    size is another program, whose sums may round differently: a pixel may then differ by one level.

    Attributes:
        frame_rate: frames a second, exact.
        size: (width, height) of the frames.
        look_ahead: see above, exact.
    """

    def __init__(self, performer: Performer, face: Pathlike, options: AnimationOptions) -> None:
        """Finds the face; see `animate` for what it raises."""
        self._performer, self._options = performer, options
        wanted = options.batch_size or usual_batch()
        self._batch_size = math.ceil(wanted / performer.unit) * performer.unit
        self._picture, self._crop, self._matrix = _still(performer, face, options)
        self._looked = performer.look(self._crop)
        self._mask = self._paste_mask() if options.paste_back else None
        shown = self._picture if options.paste_back else self._crop
        self.size = shown.shape[1::-1]
        self._label = visible_label.Label(options.label, self.size) if options.label else None
        self.frame_rate, self.look_ahead = performer.frame_rate, performer.ear.look_ahead

    def stream(self, chunks: Iterable[np.ndarray], rate: int = SAMPLE_RATE) -> Iterator[Frame]:
        """Draws the still saying a voice, as it comes.

        May be called again for another voice; each starts from the still, with the same noise.
        Memory does not grow with length.

        Args:
            chunks: the voice in pieces of any length: int16, or float with full scale 1; (samples,)
                or (samples, channels). They are taken one by one, in the caller's thread.
            rate: samples a second.

        Yields:
            Frames (uint8 RGB (height, width, 3), time in exact seconds of the voice, number), until
            the voice ends.

        Raises:
            ValueError: samples are not finite.
        """
        for drawn in self._batches(chunks, rate):
            yield from self._finished(*drawn)

    def recorded(self, chunks: Iterable[np.ndarray], rate: int) -> Iterator[Frame]:
        """`stream`, but each batch is finished while the next is being drawn."""
        before = None
        for drawn in self._batches(chunks, rate):
            if before:
                yield from self._finished(*before)
            before = drawn
        if before:
            yield from self._finished(*before)

    def compile(self) -> None:
        """Draws a batch that nobody sees."""
        performer, n = self._performer, self._batch_size
        heard, noise = (
            np.zeros((n, *shape), np.float32)
            for shape in (performer.ear.shape, (performer.noise_size,))
        )
        np.asarray(performer.perform(self._looked, heard, noise, performer.start())[1])

    def _batches(
        self, chunks: Iterable[np.ndarray], rate: int
    ) -> Iterator[tuple[range, np.ndarray]]:
        samples = Samples(chunks, rate, self._performer.ear.rate)
        std, seed = self._options.noise_std, self._options.seed
        return self._performer.say(self._looked, samples, self._batch_size, seed, std)

    def _paste_mask(self) -> np.ndarray:
        everywhere = np.full_like(self._picture, 255)
        assert self._matrix is not None  # there is one where the face is pasted back
        covered = alignment.cut_out(everywhere, self._matrix, self._performer.size) == 255
        return blending.frame_mask(covered.all(axis=-1))

    def _finished(self, frames: range, drawn: np.ndarray) -> Iterator[Frame]:
        for number, image in zip(frames, np.asarray(drawn), strict=False):
            if self._options.paste_back:
                assert self._matrix is not None and self._mask is not None
                image = blending.match_colours(image, self._crop, self._mask)
                image = blending.blend_aligned(self._picture, image, self._mask, self._matrix)
            if self._label:
                image = self._label(image)
            yield Frame(Fraction(number) / self.frame_rate, image, number)


def _still(
    performer: Performer, path: Pathlike, options: AnimationOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A picture, the crop that the network is shown, and the matrix between them."""
    shown = frame_source.open_source(path, static=True, resize_factor=options.resize_factor)
    with contextlib.closing(shown.frames()) as frames:
        picture = next(frames).image
    if options.aligned:
        smaller = picture.shape[0] > performer.size[0]
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return picture, cv2.resize(picture, performer.size[::-1], interpolation=how), None
    found = faces.detect(picture, options.detector)
    if not found:
        raise ValueError(
            f"{path}: no face was found; give a picture of one from the front, or say `aligned` "
            "if it is a crop already"
        )
    try:
        matrix = performer.place(found[0])
    except ValueError as error:
        raise ValueError(f"{path}: its face can't be aligned ({error})") from error
    return picture, alignment.cut_out(picture, matrix, performer.size), matrix
