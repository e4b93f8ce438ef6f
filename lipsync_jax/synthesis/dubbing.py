"""Dubs a video or an image of a face: lip-syncs the face to driving audio.

Two passes, each a stream: the first detects the faces in every frame, the second generates one or
several faces. Each stage runs on its own thread with short queues between stages, so memory does
not grow with length.
"""

import contextlib
import dataclasses
import itertools
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from lipsync_jax import weights
from lipsync_jax.faces.trajectory import VideoFaces
from lipsync_jax.media import audio_mix, frame_source
from lipsync_jax.media.frame_source import FrameSource
from lipsync_jax.media.video_reader import VideoWriter
from lipsync_jax.provenance import c2pa, metadata, visible_label
from lipsync_jax.synthesis import (
    driving_audio,
    face_detection_pass,
    frame_preview,
    model_info,
    preview,
    renderer,
    streaming,
    summary,
)
from lipsync_jax.synthesis.batching import Batcher, default_batch_size, max_batch_size_for
from lipsync_jax.synthesis.driving_audio import DrivingAudio
from lipsync_jax.synthesis.dubbing_model import DubbingModel
from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.synthesis.progress import GenerationResult, OnProgress, Progress
from lipsync_jax.synthesis.renderer import FaceRenderer, ScheduledFrame, SpeakerTrack
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
        checkpoint: a training run's workdir, or what `lipsync convert` wrote; None for the
            built-in model.
        face: any video or image FFmpeg reads.
        audio: any file with audio; the output has this audio. With `speakers` it may be None: the
            output then has the mix of theirs.
        outfile: .mp4, .m4v, .mov or .mkv; written under another name until complete.
        on_progress: called after each frame.
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
            FileNotFoundError, ValueError: see `weights.resolve` and
                `dubbing_model.load_generator`.
        """
        folder = weights.resolve(checkpoint, weights.DUBBING)
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
        settings.check_inputs([("face", face), ("audio", audio)])
        video, reference = _open_video(face, settings), _reference_appearance(settings)
        return frame_preview.preview(self.model, video, audio, moments, settings, reference)

    def prepare(
        self,
        face: Pathlike,
        *,
        max_frame_bytes: int | None = None,
        on_progress: OnProgress | None = None,
        **options: Argument,
    ) -> streaming.StreamingDubber:
        """Detects the face of a video and compiles, for streaming audio: see `StreamingDubber`.

        Args:
            face: any video or image FFmpeg reads; read to its end.
            max_frame_bytes: hold the frames in memory, so that no frame waits for a decoder; later
                frames than fit are not used.
            on_progress: called after each frame.
            **options: fields of `options.DubbingOptions`; those about files have no effect.

        Raises:
            FileNotFoundError, ValueError: as `generate`; or an option needs the whole audio.
        """
        settings = DubbingOptions.from_quality(**options)
        settings.check_streaming(face)
        video = _open_video(face, settings)
        if max_frame_bytes is not None:
            video, complete = frame_source.hold_frames(video, max_frame_bytes)
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
        return streaming.StreamingDubber(batcher, video, face_trajectory, settings)

    def _batcher(self, video: FrameSource, options: DubbingOptions) -> Batcher:
        return Batcher(
            self.model, max_batch_size_for(options.batch_size or default_batch_size(), video.size)
        )

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
            video, reference = _open_video(face, options), _reference_appearance(options)
            sign = c2pa.sign_on_close(outfile, options.c2pa_certificate, options.c2pa_key)
            label = (
                visible_label.VisibleWatermark(options.label, video.size) if options.label else None
            )
            feature_spec = self.model.audio_features
            speaker_audio = {
                number: driving_audio.load(path, feature_spec)
                for number, path in dict(options.speakers).items()
            }
            if audio is None:
                folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="lipsync_"))
                audio = audio_mix.mix(
                    [v.path for v in speaker_audio.values()], Path(folder) / "mix.wav"
                )
            main_audio = driving_audio.load(audio, feature_spec)
            batcher = self._batcher(video, options)
            writer = None
            if not options.preview_only:
                # Opened now, so that an unusable codec or folder is reported at once.
                target = cleanup.enter_context(sign)
                writer = cleanup.enter_context(self._writer(target, video, audio, options))
            compiler = cleanup.enter_context(ThreadPoolExecutor(1))
            compiled = compiler.submit(batcher.compile)
            video_faces, speaker_tracks = _assign_speakers(
                video, main_audio, speaker_audio, reference, options, on_progress
            )
            compiled.result()
            face_renderer = FaceRenderer(
                batcher, video, speaker_tracks, options, label, planes=not options.lossless
            )
            schedule = [
                *renderer.schedule_frames(
                    video, speaker_tracks[0].trajectory.times, main_audio.length, options.loop
                )
            ]
            previewed = 0, 0
            if options.preview:
                previewed = preview.write(outfile, face_renderer, schedule, options.preview)
            begun = time.monotonic()
            edited = 0 if writer is None else _write(writer, face_renderer, schedule, on_progress)
        now, recordings = time.monotonic(), [*speaker_audio.values(), main_audio]
        notes = (*video.notes, *dict.fromkeys(itertools.chain(*(v.notes for v in recordings))))
        result = summary.summarize(outfile, video, speaker_tracks, schedule, edited)
        if options.preview_only:
            frames, edited = previewed
            result = dataclasses.replace(
                result, outfile=preview.path_for(outfile), frames=frames, edited=edited,
                unchanged=frames - edited, preview_only=True,
            )  # fmt: skip
        return dataclasses.replace(
            result,
            wall_seconds=now - started,
            frames_per_second=result.frames / max(now - begun, 1e-6),
            model_hash=self.model.model_hash,
            generated_height=self.model.size,
            credit=self.credit,
            notes=notes,
            video_faces=video_faces,
            frame_numbers=tuple(number for number, _ in schedule),
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


def _assign_speakers(
    video: FrameSource,
    main_audio: DrivingAudio,
    speaker_audio: Mapping[int, DrivingAudio],
    reference: np.ndarray | None,
    options: DubbingOptions,
    on_progress: OnProgress,
) -> tuple[VideoFaces, list[SpeakerTrack]]:
    """Runs the first pass: detects faces, and assigns audio to them."""
    # Identities are clustered over the whole video, so that numbers don't depend on the audio.
    end = None if options.loop == "none" else main_audio.duration
    whole = None if options.selects_identity else end
    video_faces = face_detection_pass.detect_faces_in_video(
        video, whole, options, lambda *state: on_progress(Progress("faces", *state))
    )
    if speaker_audio:
        trajectories = [
            face_detection_pass.identity_trajectory(video, video_faces, number, options)
            for number in speaker_audio
        ]
    else:
        trajectories = [
            face_detection_pass.select_trajectory(video, video_faces, end, options, reference)
        ]
    if options.on_missing_face == "error":
        for face_trajectory in trajectories:
            face_detection_pass.require_faces(video, face_trajectory, end)
    assigned_audio = [*speaker_audio.values()] or [main_audio]
    needs_vad = options.silence_mode != "model"
    vad_envelopes = [
        driving_audio.vad_envelope(v.path) if needs_vad else None for v in assigned_audio
    ]
    return video_faces, [*map(SpeakerTrack, trajectories, assigned_audio, vad_envelopes)]


def _write(
    writer: VideoWriter,
    face_renderer: FaceRenderer,
    schedule: Sequence[ScheduledFrame],
    on_progress: OnProgress,
) -> int:
    """Runs the second pass; returns the number of frames with a generated face."""
    begun = time.monotonic()
    with contextlib.closing(face_renderer.images(schedule)) as images:
        for (_, moment), image in zip(schedule, images, strict=True):
            writer.write(image, moment)
            seconds = time.monotonic() - begun
            on_progress(Progress("generate", writer.frames, len(schedule), seconds))
    return face_renderer.edited
