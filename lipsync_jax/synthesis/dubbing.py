"""A face video or picture and a voice in, the face saying it out.

Two passes, each a stream: the first finds the faces in every frame, the second redraws one or
several. Stages run on threads of their own with short queues between them, so memory does not grow
with length.
"""

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from lipsync_jax.faces import trajectory
from lipsync_jax.media import audio_mix, frame_source
from lipsync_jax.media.frame_source import Source
from lipsync_jax.media.video_reader import VideoWriter
from lipsync_jax.provenance import c2pa, metadata, visible_label
from lipsync_jax.synthesis import driving_audio, face_detection_pass, preview, renderer, streaming
from lipsync_jax.synthesis.batching import Batcher, fitting_batch, usual_batch
from lipsync_jax.synthesis.driving_audio import Speech
from lipsync_jax.synthesis.dubbing_model import Editor
from lipsync_jax.synthesis.options import Options
from lipsync_jax.synthesis.progress import OnProgress, Progress, Report
from lipsync_jax.synthesis.renderer import Planned, Redrawing, Role
from lipsync_jax.types import Argument

Pathlike = str | os.PathLike


def generate(
    checkpoint: Pathlike,
    face: Pathlike,
    audio: Pathlike | None,
    outfile: Pathlike,
    *,
    on_progress: OnProgress | None = None,
    **options: Argument,
) -> Report:
    """Lip-syncs a video or picture to a voice.

        generate("runs/wav2lip", "face.mp4", "speech.wav", "out.mp4", crf=16)

    Args:
        checkpoint: a training run's workdir, or what `lipsync convert` wrote.
        face: any video or image FFmpeg reads.
        audio: any file with sound; it is heard in the output as it is. With `speakers` it may be
            None: then their mixed voices are heard.
        outfile: .mp4, .m4v, .mov or .mkv; written under another name until it is complete.
        on_progress: called after each frame.
        **options: fields of `options.Options`.

    Raises:
        FileNotFoundError: an input or the checkpoint is missing.
        ValueError: an input can't be used, or an option has no such value; before slow work.
            Also when no frame shows a face, or with `on_missing_face="error"` some do not.
        MemoryError: the device can't draw a single face.
    """
    settings = Options(**options)
    settings.check(face, audio, outfile)
    return Synthesizer.load(checkpoint)._generate(face, audio, outfile, settings, on_progress)


class Synthesizer:
    """A trained generator, loaded and compiled once for many videos."""

    def __init__(self, editor: Editor) -> None:
        self.editor = editor

    @classmethod
    def load(cls, checkpoint: Pathlike) -> "Synthesizer":
        """Loads a checkpoint; see `Editor.load` for what it raises."""
        return cls(Editor.load(checkpoint))

    def generate(
        self,
        face: Pathlike,
        audio: Pathlike | None,
        outfile: Pathlike,
        *,
        on_progress: OnProgress | None = None,
        **options: Argument,
    ) -> Report:
        """See the function `generate`."""
        settings = Options(**options)
        settings.check(face, audio, outfile)
        return self._generate(face, audio, outfile, settings, on_progress)

    def prepare(
        self, face: Pathlike, *, on_progress: OnProgress | None = None, **options: Argument
    ) -> streaming.Prepared:
        """Finds the face of a video, ready to say what comes: see `live.Prepared`.

        Args:
            face: any video or image FFmpeg reads; it is read to its end.
            on_progress: called after each frame.
            **options: fields of `options.Options`; those about files play no part.

        Raises:
            FileNotFoundError, ValueError: as `generate`; or an option needs the whole voice.
        """
        settings = Options(**options)
        settings.check_live(face)
        shown = _open(face, settings)
        reference = _reference(settings)
        batcher = self._batcher(shown, settings)
        told = on_progress or _silent
        found = face_detection_pass.survey(
            shown, None, settings, lambda *state: told(Progress("faces", *state))
        )
        path = face_detection_pass.path_to_redraw(shown, found, None, settings, reference)
        if settings.on_missing_face == "error":
            face_detection_pass.check_missing(shown, path, None)
        batcher.compile()
        return streaming.Prepared(batcher, shown, path, settings)

    def _batcher(self, shown: Source, options: Options) -> Batcher:
        return Batcher(self.editor, fitting_batch(options.batch_size or usual_batch(), shown.size))

    def _generate(
        self,
        face: Pathlike,
        audio: Pathlike | None,
        outfile: Pathlike,
        options: Options,
        on_progress: OnProgress | None,
    ) -> Report:
        started = time.monotonic()
        on_progress = on_progress or _silent
        with contextlib.ExitStack() as cleanup:
            shown, reference = _open(face, options), _reference(options)
            sign = c2pa.signing(outfile, options.c2pa_certificate, options.c2pa_key)
            label = visible_label.Label(options.label, shown.size) if options.label else None
            hears = self.editor.hears
            voices = {
                number: driving_audio.load(path, hears)
                for number, path in dict(options.speakers).items()
            }
            if audio is None:
                folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="lipsync_"))
                audio = audio_mix.mix([v.path for v in voices.values()], Path(folder) / "mix.wav")
            voice = driving_audio.load(audio, hears)
            batcher = self._batcher(shown, options)
            # The output is opened now, so that a codec or folder that won't do is told at once.
            target = cleanup.enter_context(sign)
            writer = cleanup.enter_context(self._writer(target, shown, audio, options))
            compiler = cleanup.enter_context(ThreadPoolExecutor(1))
            compiled = compiler.submit(batcher.compile)
            roles = _cast(shown, voice, voices, reference, options, on_progress)
            compiled.result()
            run = Redrawing(batcher, shown, roles, options, label)
            planned = [*renderer.plan(shown, roles[0].path.times, voice.length, options.loop)]
            if options.preview:
                preview.write(outfile, run, planned, options.preview)
            begun = time.monotonic()
            edited = _write(writer, run, planned, on_progress)
        now, heard = time.monotonic(), [*voices.values(), voice]
        moments = [moment for _, moment in planned]
        end = moments[-1] + 1 / shown.output_rate
        missing = trajectory.spans(moments, end, _faceless(roles, planned))
        return Report(
            outfile=Path(outfile),
            frames=len(planned),
            edited=edited,
            kept=len(planned) - edited,
            missing=tuple((float(a), float(b)) for a, b in missing),
            duration=float(end),
            frame_rate=shown.output_rate,
            seconds=now - started,
            frames_per_second=len(planned) / max(now - begun, 1e-6),
            model=self.editor.model,
            notes=(*shown.notes, *dict.fromkeys(itertools.chain(*(v.notes for v in heard)))),
        )

    def _writer(
        self, target: Pathlike, shown: Source, audio: Pathlike, options: Options
    ) -> VideoWriter:
        return VideoWriter(
            target,
            shown.output_rate,
            shown.size,
            **options.encoding,
            pixel_aspect=shown.pixel_aspect,
            colours=shown.colours,
            metadata=metadata.tags(self.editor.model),
            audio=audio,
            shortest=options.loop == "none",
        )


def _silent(progress: Progress) -> None:
    del progress


def _open(face: Pathlike, options: Options) -> Source:
    shown = frame_source.open_source(
        face,
        static=options.static,
        frame_rate=options.fps,
        resize_factor=options.resize_factor,
        rotate=options.rotate,
        crop=options.crop,
    )
    options.check_box(shown.size)
    return shown


def _reference(options: Options) -> np.ndarray | None:
    return (
        face_detection_pass.read_reference(options.face_ref, options) if options.face_ref else None
    )


def _cast(
    shown: Source,
    voice: Speech,
    voices: Mapping[int, Speech],
    reference: np.ndarray | None,
    options: Options,
    on_progress: OnProgress,
) -> list[Role]:
    """The first pass: which faces say what."""
    # Who is who is asked of the whole video, so that numbers don't depend on the voice.
    end = None if options.loop == "none" else voice.duration
    whole = None if options.chooses else end
    found = face_detection_pass.survey(
        shown, whole, options, lambda *state: on_progress(Progress("faces", *state))
    )
    if voices:
        paths = [
            face_detection_pass.path_of_person(shown, found, number, options) for number in voices
        ]
    else:
        paths = [face_detection_pass.path_to_redraw(shown, found, end, options, reference)]
    if options.on_missing_face == "error":
        for path in paths:
            face_detection_pass.check_missing(shown, path, end)
    said = [*voices.values()] or [voice]
    gated = options.silence != "model"
    gates = [driving_audio.voice_gate(v.path) if gated else None for v in said]
    return [*map(Role, paths, said, gates)]


def _write(
    writer: VideoWriter, run: Redrawing, planned: Sequence[Planned], on_progress: OnProgress
) -> int:
    """The second pass; returns how many frames were redrawn."""
    begun = time.monotonic()
    with contextlib.closing(run.images(planned)) as images:
        for (_, moment), image in zip(planned, images, strict=True):
            writer.write(image, moment)
            seconds = time.monotonic() - begun
            on_progress(Progress("generate", writer.frames, len(planned), seconds))
    return run.edited


def _faceless(roles: Sequence[Role], planned: Sequence[Planned]) -> np.ndarray:
    """For each frame shown, whether none of the faces was found."""
    found = np.any([role.path.found for role in roles], axis=0)
    return ~found[[number for number, _ in planned]]
