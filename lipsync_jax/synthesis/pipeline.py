"""A face video or picture and a voice in, the face saying it out.

Two passes, each a stream: the first finds the face in every frame, the second redraws it. Stages
run on threads of their own with short queues between them, so memory does not grow with length.
"""

import contextlib
import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from lipsync_jax import faces
from lipsync_jax.audio import MEL_SILENCE
from lipsync_jax.data import windows
from lipsync_jax.synthesis import blending, provenance, source, speech, timeline, tracking, workers
from lipsync_jax.synthesis.editor import Editor, empty_inputs
from lipsync_jax.synthesis.options import Options
from lipsync_jax.synthesis.source import Source
from lipsync_jax.synthesis.speech import Speech
from lipsync_jax.synthesis.tracking import FacePath
from lipsync_jax.video import Frame, VideoWriter

_GROUP_MEMORY = 64 << 20  # bytes of frames that may wait for one batch
_QUEUE = 4  # single frames that may wait between two stages


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        stage: `faces`, then `generate`.
        done: frames.
        total: frames of this stage; about, for `faces`.
        seconds: since this stage began.
    """

    stage: str
    done: int
    total: int
    seconds: float


OnProgress = Callable[[Progress], None]


@dataclasses.dataclass(frozen=True)
class Report:
    """What was done.

    Attributes:
        outfile: the video.
        frames: frames written.
        edited: those whose face was redrawn.
        kept: those left as they were: no face, or by `silence="original"` no voice.
        missing: (start, end) seconds of the output for which no face was found.
        duration: seconds of picture.
        frame_rate: frames a second of the video.
        seconds: that the run took, all in all.
        frames_per_second: frames written a second of the second pass.
        model: a name for the weights, see `provenance.model_hash`.
    """

    outfile: Path
    frames: int
    edited: int
    kept: int
    missing: tuple[tuple[float, float], ...]
    duration: float
    frame_rate: Fraction
    seconds: float
    frames_per_second: float
    model: str


def generate(
    checkpoint: str | os.PathLike,
    face: str | os.PathLike,
    audio: str | os.PathLike,
    outfile: str | os.PathLike,
    *,
    on_progress: OnProgress | None = None,
    **options,
) -> Report:
    """Lip-syncs a video or picture to a voice.

        generate("runs/wav2lip", "face.mp4", "speech.wav", "out.mp4", crf=16)

    Args:
        checkpoint: a training run's workdir, or what `lipsync convert` wrote.
        face: any video or image FFmpeg reads.
        audio: any file with sound; it is heard in the output as it is.
        outfile: .mp4, .m4v, .mov or .mkv; written under another name until it is complete.
        on_progress: called after each frame.
        **options: fields of `options.Options`.

    Raises:
        FileNotFoundError: an input or the checkpoint is missing.
        ValueError: an input can't be used, or an option has no such value; before slow work.
            Also when no frame shows a face, or with `on_missing_face="error"` some do not.
    """
    settings = Options(**options)
    settings.check(face, audio, outfile)
    return Synthesizer.load(checkpoint)._generate(face, audio, outfile, settings, on_progress)


class Synthesizer:
    """A trained generator, loaded and compiled once for many videos."""

    def __init__(self, editor: Editor):
        self.editor = editor

    @classmethod
    def load(cls, checkpoint: str | os.PathLike) -> "Synthesizer":
        """Loads a checkpoint; see `Editor.load` for what it raises."""
        return cls(Editor.load(checkpoint))

    def generate(
        self,
        face: str | os.PathLike,
        audio: str | os.PathLike,
        outfile: str | os.PathLike,
        *,
        on_progress: OnProgress | None = None,
        **options,
    ) -> Report:
        """See the function `generate`."""
        settings = Options(**options)
        settings.check(face, audio, outfile)
        return self._generate(face, audio, outfile, settings, on_progress)

    def _generate(self, face, audio, outfile, options: Options, on_progress) -> Report:
        started = time.monotonic()
        on_progress = on_progress or (lambda _: None)
        shown = source.open_source(
            face,
            static=options.static,
            frame_rate=options.fps,
            resize_factor=options.resize_factor,
            rotate=options.rotate,
            crop=options.crop,
        )
        options.check_box(shown.size)
        voice = speech.load(audio)
        batch_size = options.batch_size or (16 if jax.default_backend() == "cpu" else 64)
        batch_size = fitting_batch(batch_size, shown.size)
        # The output is opened now, so that a codec or folder that won't do is told at once.
        with (
            VideoWriter(
                outfile,
                shown.frame_rate,
                shown.size,
                codec=options.codec,
                crf=options.crf,
                preset=options.preset,
                lossless=options.lossless,
                pixel_aspect=shown.pixel_aspect,
                metadata=provenance.tags(self.editor.model),
                audio=audio,
                shortest=options.loop == "none",
            ) as writer,
            ThreadPoolExecutor(1) as compiler,
        ):
            inputs = empty_inputs(batch_size, self.editor.size)
            compiled = compiler.submit(self.editor, *inputs, batch_size)
            path = _find_faces(shown, voice, options, on_progress)
            compiled.result()
            run = _Run(self.editor, shown, voice, path, options, batch_size)
            second_pass = time.monotonic()
            with contextlib.closing(run.images()) as images:
                for moment, image in zip(run.times, images, strict=True):
                    writer.write(image, moment)
                    seconds = time.monotonic() - second_pass
                    on_progress(Progress("generate", writer.frames, len(run.times), seconds))
        now = time.monotonic()
        return run.report(Path(outfile), now - started, now - second_pass)


def _find_faces(
    shown: Source, voice: Speech, options: Options, on_progress: OnProgress
) -> FacePath:
    """The first pass.

    Raises:
        ValueError: no face in any frame, or with `on_missing_face="error"` none in some.
    """
    begun, total = time.monotonic(), shown.frames_estimate
    if options.loop != "none":  # what comes after the voice's end is not shown
        total = min(total, max(1, round(voice.duration * shown.frame_rate)))

    def on_frame(done: int) -> None:
        seconds = time.monotonic() - begun
        on_progress(Progress("faces", done, max(done, total), seconds))

    with contextlib.closing(workers.prefetch(shown.frames(), _QUEUE)) as frames:
        wanted = frames if options.loop == "none" else _until(frames, voice.duration)
        path = tracking.follow(wanted, shown.frame_rate, options, on_frame)
    if not path.found.any():
        raise ValueError(
            f"{shown.path}: no face was found in any of {len(path.times)} frames; check that it is "
            "upright (--rotate turns it), or give its place with --box"
        )
    if options.on_missing_face == "error" and not path.found.all():
        end = path.times[-1] + 1 / shown.frame_rate
        gaps = tracking.spans(path.times, end, ~path.found)
        where = ", ".join(f"{float(a):.2f}-{float(b):.2f}" for a, b in gaps)
        raise ValueError(
            f"{shown.path}: no face from second to second {where}; cut these parts out, or choose "
            "--on-missing-face keep or hold"
        )
    return path


def _until(frames: Iterator[Frame], end: Fraction) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        if frame.time >= end:  # it tells how long the one before it is shown
            return


def fitting_batch(wanted: int, size: tuple[int, int]) -> int:
    """The batch to run so that a batch of frames of (width, height) `size` fits in memory."""
    width, height = size
    most = max(1, _GROUP_MEMORY // (3 * width * height))
    # Powers of two, so that videos of many sizes share few compiled programs.
    return wanted if wanted <= most else 1 << (most.bit_length() - 1)


class _Run:
    """The second pass over one video."""

    def __init__(
        self,
        editor: Editor,
        shown: Source,
        voice: Speech,
        path: FacePath,
        options: Options,
        batch_size: int,
    ):
        self._editor, self._shown, self._voice = editor, shown, voice
        self._path, self._options, self._batch_size = path, options, batch_size
        step = 1 / shown.frame_rate
        numbers, times = timeline.fill_gaps(source.even_times(path.times, shown.frame_rate), step)
        plan = timeline.schedule(times, step, voice.duration, options.loop)
        order, self.times = zip(*plan, strict=True)
        self._numbers = np.array(numbers)[list(order)]
        self._starts = windows.inference_starts_at(self.times, options.alignment)
        self._voiced = np.ones(len(numbers), np.float32)
        if options.silence != "model":
            self._voiced = speech.voice_gate(voice.path, self.times)
        self._redrawn = np.isfinite(path.boxes[self._numbers, 0])
        if options.silence == "original":
            self._redrawn &= self._voiced > 0

    def images(self) -> Iterator[np.ndarray]:
        """The output's frames in order, uint8 RGB (height, width, 3)."""
        frames = workers.prefetch(self._frames(), _QUEUE)
        drawn = workers.prefetch(self._drawn(frames), 1)
        return workers.prefetch(self._blended(drawn), _QUEUE)

    def report(self, outfile: Path, seconds: float, second_pass: float) -> Report:
        """What was done, once all of `images` is written."""
        count, edited = len(self.times), int(self._redrawn.sum())
        end = self.times[-1] + 1 / self._shown.frame_rate
        missing = tracking.spans(self.times, end, ~self._path.found[self._numbers])
        return Report(
            outfile=outfile,
            frames=count,
            edited=edited,
            kept=count - edited,
            missing=tuple((float(a), float(b)) for a, b in missing),
            duration=float(end),
            frame_rate=self._shown.frame_rate,
            seconds=seconds,
            frames_per_second=count / max(second_pass, 1e-6),
            model=self._editor.model,
        )

    def _frames(self) -> Iterator[np.ndarray]:
        with contextlib.closing(source.Player(self._shown, self._path.times)) as player:
            for number in self._numbers:
                yield player[number]

    def _drawn(self, frames: Iterator[np.ndarray]) -> Iterator["_Group"]:
        """Groups of frames, each with a batch that the device is still drawing."""
        with contextlib.closing(frames):
            for first in range(0, len(self.times), self._batch_size):
                images = list(itertools.islice(frames, self._batch_size))
                chosen = first + np.flatnonzero(self._redrawn[first : first + len(images)])
                if not len(chosen):
                    yield _Group(first, images, chosen, None, None)
                    continue
                boxes = self._path.boxes[self._numbers[chosen]]
                crops = np.stack(
                    [
                        faces.crop(images[i - first], box, self._editor.size)
                        for i, box in zip(chosen, boxes, strict=True)
                    ]
                )
                drawn = self._editor(self._mels(chosen), crops[..., ::-1], self._batch_size)
                yield _Group(first, images, chosen, crops, drawn)

    def _mels(self, chosen: np.ndarray) -> np.ndarray:
        mels = windows.take_windows(self._voice.mel, self._starts[chosen])
        if self._options.silence == "close":
            mels = MEL_SILENCE + (mels - MEL_SILENCE) * self._voiced[chosen, None, None]
        return mels.astype(np.float32)

    def _blended(self, groups: Iterator["_Group"]) -> Iterator[np.ndarray]:
        with contextlib.closing(groups):
            for first, images, chosen, crops, drawn in groups:
                if drawn is not None:
                    drawn = np.asarray(drawn)[..., ::-1]
                    for i, face, new in zip(chosen, crops, drawn, strict=False):
                        images[i - first] = self._finish(images[i - first], int(i), face, new)
                yield from images

    def _finish(self, image: np.ndarray, i: int, face: np.ndarray, new: np.ndarray) -> np.ndarray:
        number = self._numbers[i]
        box = self._path.boxes[number]
        if self._options.blend == "box":
            mask = blending.box_mask(len(face))
        else:
            mask = blending.mouth_mask(self._path.landmarks[number], len(face))
        if self._options.match_colours:
            new = blending.match_colours(new, face, mask)
        if self._options.silence == "original":
            mask = mask * self._voiced[i]
        return blending.blend(image, new, mask, box)


class _Group(NamedTuple):
    first: int  # number of its first frame in the output
    images: list[np.ndarray]  # RGB
    chosen: np.ndarray  # numbers of those to redraw
    crops: np.ndarray | None  # their faces, RGB
    drawn: jax.Array | None  # the same redrawn, BGR, filled up to a whole batch
