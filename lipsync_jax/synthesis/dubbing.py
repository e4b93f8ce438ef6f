"""Dubs a video or an image of a face: lip-syncs the face to driving audio.

Two passes, each a stream: the first detects the faces in every frame, the second generates one or
several faces and begins, where the options allow, when the first is some seconds ahead. Each stage
runs on its own thread with short queues between stages, so memory does not grow with length.
"""

import contextlib
import dataclasses
import functools
import math
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np

from lipsync_jax import weights
from lipsync_jax.faces.trajectory import FaceTrajectory, VideoFaces
from lipsync_jax.media import frame_source, prefetch
from lipsync_jax.media.frame_source import FrameSource
from lipsync_jax.media.video_reader import VideoWriter
from lipsync_jax.provenance import c2pa, metadata, visible_label
from lipsync_jax.synthesis import (
    dubbing_audio,
    dubbing_plan,
    exported_model,
    face_detection_pass,
    frame_preview,
    model_info,
    preview,
    streaming,
    summary,
)
from lipsync_jax.synthesis.batch_sizes import default_batch_size, max_batch_size_for
from lipsync_jax.synthesis.batching import Batcher
from lipsync_jax.synthesis.compositing import first_read_row
from lipsync_jax.synthesis.dubbing_model import DubbingModel
from lipsync_jax.synthesis.dubbing_output import DubbingOutput
from lipsync_jax.synthesis.dubbing_plan import DubbingPlan
from lipsync_jax.synthesis.face_detection_pass import SearchedFrames
from lipsync_jax.synthesis.options import DubbingOptions, preview_path
from lipsync_jax.synthesis.progress import GenerationResult, OnProgress, Progress
from lipsync_jax.synthesis.renderer import FaceRenderer, SpeakerTrack
from lipsync_jax.text import naming_options
from lipsync_jax.training import checkpoint_folder
from lipsync_jax.types import Argument

Pathlike = str | os.PathLike


def generate(
    checkpoint: Pathlike | None,
    face: Pathlike,
    audio: Pathlike | None,
    outfile: Pathlike,
    *,
    on_progress: OnProgress | None = None,
    **options: Argument,
) -> GenerationResult:
    """Lip-syncs a video or an image to driving audio.

        generate("runs/wav2lip", "face.mp4", "speech.wav", "out.mp4", crf=16)

    Args:
        checkpoint: a training run's workdir, or what `lipsync convert` or `lipsync export` wrote;
            None for the built-in model.
        face: any video or image FFmpeg reads.
        audio: any file with audio; the output has this audio. With `speakers` it may be None: the
            output then has the mix of theirs.
        outfile: .mp4, .m4v, .mov or .mkv; written under another name until complete.
        on_progress: called while faces are detected, until the first frame can be dubbed; then
            after each frame.
        **options: fields of `options.DubbingOptions`, and `quality`, see its `from_quality`.

    Raises:
        FileNotFoundError: an input or the checkpoint is missing.
        ValueError: an input or the value of an option can't be used; raised before slow work.
            Also when no frame shows a face, or with `on_missing_face="error"` some do not.
        MemoryError: the device can't generate a single face.
    """
    settings = DubbingOptions.from_quality(**options)
    settings.check(face, audio, outfile)
    return LipSyncPipeline.load(checkpoint)._generate(face, audio, outfile, settings, on_progress)


class LipSyncPipeline:
    """A trained generator, loaded and compiled once for many videos."""

    def __init__(self, model: DubbingModel, credit: str = "") -> None:
        """Takes a model that is loaded.

        Args:
            model: the network.
            credit: the model's name and licence, for the report, see `model_info.credit`.
        """
        self.model, self.credit = model, credit

    @classmethod
    def load(cls, checkpoint: Pathlike | None = None) -> "LipSyncPipeline":
        """Loads a checkpoint, or the built-in model.

        Args:
            checkpoint: see the function `generate`.

        Raises:
            FileNotFoundError, ValueError: see `weights.resolve`, `dubbing_model.load_generator`
                and `exported_model.load`.
        """
        folder = weights.resolve(checkpoint, weights.DUBBING)
        if checkpoint_folder.is_exported(folder):
            return cls(*exported_model.load(folder))
        return cls(DubbingModel.load(folder), model_info.credit(folder))

    def generate(
        self,
        face: Pathlike,
        audio: Pathlike | None,
        outfile: Pathlike,
        *,
        on_progress: OnProgress | None = None,
        **options: Argument,
    ) -> GenerationResult:
        """See the function `generate`."""
        settings = DubbingOptions.from_quality(**options)
        settings.check(face, audio, outfile)
        return self._generate(face, audio, outfile, settings, on_progress)

    def preview(
        self, face: Pathlike, audio: Pathlike, moments: Iterable[float], **options: Argument
    ) -> list[frame_preview.PreviewFrame]:
        """Dubs single frames of a video, see `frame_preview.preview`.

        Args:
            face: any video or image FFmpeg reads.
            audio: any file with audio.
            moments: seconds of the output.
            **options: as of `generate`; those about files have no effect.

        Raises:
            FileNotFoundError, ValueError: as `generate`.
        """
        settings = DubbingOptions.from_quality(**options)
        settings.check_inputs(face, audio)
        with naming_options(settings.files(face, audio)):
            video, reference = _open_video(face, settings), _reference_appearance(settings)
            return frame_preview.preview(self.model, video, audio, moments, settings, reference)

    def prepare(
        self,
        face: Pathlike,
        *,
        max_frame_bytes: int | None = None,
        max_seconds: float = math.inf,
        on_progress: OnProgress | None = None,
        **options: Argument,
    ) -> streaming.StreamingDubber:
        """Detects the face of a video and compiles, for streaming audio: see `StreamingDubber`.

        Args:
            face: any video or image FFmpeg reads; read to its end, or to one of these limits.
            max_frame_bytes: hold the frames in memory, so that no frame waits for a decoder; later
                frames than fit are not used.
            max_seconds: with `max_frame_bytes`, later frames are not used either.
            on_progress: called after each frame.
            **options: fields of `options.DubbingOptions`; those about files have no effect.

        Raises:
            FileNotFoundError, ValueError: as `generate`; or an option needs the whole audio.
        """
        settings = DubbingOptions.from_quality(**options)
        settings.check_streaming(face)
        with naming_options(settings.files(face)):
            return self._prepare(face, settings, max_frame_bytes, max_seconds, on_progress)

    def _prepare(
        self,
        face: Pathlike,
        settings: DubbingOptions,
        max_frame_bytes: int | None,
        max_seconds: float,
        on_progress: OnProgress | None,
    ) -> streaming.StreamingDubber:
        video = _open_video(face, settings)
        label = visible_label.watermark(settings.label, video.size)
        if max_frame_bytes is not None:
            video, complete = frame_source.hold_frames(video, max_frame_bytes, max_seconds)
            if not complete:  # the cache is of whole videos
                settings = dataclasses.replace(settings, cache=False)
        reference = _reference_appearance(settings)
        batcher = self._batcher(video, settings)
        report_progress = on_progress or _ignore_progress
        video_faces = face_detection_pass.detect_faces_in_video(
            video, None, settings, lambda *state: report_progress(Progress("faces", *state))
        )
        face_trajectory = face_detection_pass.select_trajectory(
            video, video_faces, None, settings, reference
        )
        if settings.on_missing_face == "error":
            face_detection_pass.require_faces(video, face_trajectory, None)
        batcher.compile()
        return streaming.StreamingDubber(batcher, video, face_trajectory, settings, label)

    def _batcher(self, video: FrameSource, options: DubbingOptions) -> Batcher:
        batch_size = max_batch_size_for(options.batch_size or default_batch_size(), video.size)
        return Batcher(self.model, batch_size, first_read_row(options, self.model.size))

    def _generate(
        self,
        face: Pathlike,
        audio: Pathlike | None,
        outfile: Pathlike,
        options: DubbingOptions,
        on_progress: OnProgress | None,
    ) -> GenerationResult:
        started = time.monotonic()
        on_progress = on_progress or _ignore_progress
        with contextlib.ExitStack() as cleanup:
            files = options.files(face, audio) | {"outfile": outfile}
            cleanup.enter_context(naming_options(files))
            video, reference = _open_video(face, options), _reference_appearance(options)
            sign = c2pa.sign_on_close(outfile, options.c2pa_certificate, options.c2pa_key)
            label = visible_label.watermark(options.label, video.size)
            driving = cleanup.enter_context(
                dubbing_audio.load(audio, dict(options.speakers), self.model.audio_features)
            )
            batcher, output = self._batcher(video, options), None
            if not options.preview_only:
                target = cleanup.enter_context(sign)
                open_writer = functools.partial(
                    self._writer, target, video, driving.output.path, options
                )
                output = cleanup.enter_context(DubbingOutput(open_writer))
            compiler = cleanup.enter_context(ThreadPoolExecutor(1))
            compiled = compiler.submit(batcher.compile)
            end = None if options.loop == "none" else driving.output.duration
            search = cleanup.enter_context(_search(video, end, options))
            select = functools.partial(_select, video, end, [*driving.speakers], reference, options)
            plan = DubbingPlan(search, select, len(driving.tracks), video, driving.output, options)
            plan.wait(on_progress)
            needs_vad = options.silence_mode != "model"
            envelopes = driving.vad_envelopes() if needs_vad else [None] * len(driving.tracks)
            compiled.result()

            def make_renderer() -> FaceRenderer:
                tracks = [*map(SpeakerTrack, plan.trajectories, driving.tracks, envelopes)]
                return FaceRenderer(batcher, video, tracks, options, label, not options.lossless)

            previewed, edited = (0, 0), 0
            if options.preview:
                schedule = [*plan.schedule()]
                previewed = preview.write(outfile, make_renderer(), schedule, options.preview)
            begun = time.monotonic()
            if output is not None:
                edited = output.write(make_renderer, plan, on_progress)
        now = time.monotonic()
        result = summary.summarize(outfile, video, plan, edited)
        if output is None:
            result = summary.of_preview(result, preview_path(outfile), *previewed)
        return dataclasses.replace(
            result,
            wall_seconds=now - started,
            frames_per_second=result.frames / max(now - begun, 1e-6),
            model_hash=self.model.model_hash,
            generated_height=self.model.size,
            credit=self.credit,
            notes=(*video.notes, *driving.notes),
        )

    def _writer(
        self, target: Pathlike, video: FrameSource, audio: Pathlike, options: DubbingOptions
    ) -> VideoWriter:
        return VideoWriter(
            target,
            video.output_rate,
            video.size,
            **options.encoding,
            pixel_aspect=video.pixel_aspect,
            colours=video.colours,
            metadata=metadata.tags(self.model.model_hash, self.credit),
            audio=audio,
            shortest=options.loop == "none",
        )


def _ignore_progress(progress: Progress) -> None:
    del progress


def _open_video(face: Pathlike, options: DubbingOptions) -> FrameSource:
    video = frame_source.open_frame_source(
        face,
        static=options.static,
        frame_rate=options.fps,
        resize_factor=options.resize_factor,
        rotate=options.rotate,
        crop=options.crop,
    )
    options.check_box(video.size)
    return video


def _reference_appearance(options: DubbingOptions) -> np.ndarray | None:
    return (
        face_detection_pass.reference_appearance(options.face_ref, options)
        if options.face_ref
        else None
    )


def _search(
    video: FrameSource, end: Fraction | None, options: DubbingOptions
) -> prefetch.Newest[SearchedFrames]:
    """Starts to detect faces, up to the end of the output."""
    # Identities are clustered over the whole video, so that numbers don't depend on the audio.
    last = None if options.selects_identity else end
    early = dubbing_plan.begins_early(options)
    return prefetch.Newest(face_detection_pass.search_frames(video, last, options, early=early))


def _select(
    video: FrameSource,
    end: Fraction | None,
    speaker_numbers: Sequence[int],
    reference: np.ndarray | None,
    options: DubbingOptions,
    video_faces: VideoFaces,
) -> list[FaceTrajectory]:
    """Selects the faces to dub: those with a speaker, or one."""
    trajectories = [
        face_detection_pass.identity_trajectory(video, video_faces, number, options)
        for number in speaker_numbers
    ] or [face_detection_pass.select_trajectory(video, video_faces, end, options, reference)]
    if options.on_missing_face == "error":
        for face_trajectory in trajectories:
            face_detection_pass.require_faces(video, face_trajectory, end)
    return trajectories
