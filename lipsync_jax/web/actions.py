"""What the page and the HTTP interface do: paths and options in, files and reports out.

Only this module and `models` call synthesis and evaluation.
"""

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lipsync_jax import __version__, weights
from lipsync_jax.cli import _json_output, list_faces
from lipsync_jax.cli.list_faces import VideoIdentity
from lipsync_jax.evaluation.sync import dub_sync, video_sync
from lipsync_jax.media import audio as audio_files
from lipsync_jax.provenance import metadata
from lipsync_jax.synthesis import driving_audio, frame_preview
from lipsync_jax.synthesis.animation import Animator
from lipsync_jax.synthesis.batching import default_batch_size
from lipsync_jax.synthesis.dubbing import LipSyncPipeline
from lipsync_jax.synthesis.options import DEFAULT_QUALITY, AnimationOptions, DubbingOptions
from lipsync_jax.synthesis.progress import GenerationResult, Progress
from lipsync_jax.types import Argument, Json
from lipsync_jax.web import inputs
from lipsync_jax.web.jobs import THUMBNAIL, Job, OnProgress, safe_name
from lipsync_jax.web.models import CreditedSyncModel, ModelShelf

DUB, ANIMATE, SYNC = "dub", "animate", "sync"
KINDS: Mapping[str, tuple[str, ...]] = {  # kind of a job -> roles of its files
    DUB: ("face", "audio"),
    ANIMATE: ("face", "audio"),
    SYNC: ("video",),
}
NEED_CONSENT = (DUB, ANIMATE)
# Not those that name files of the server, nor those that make a file that browsers can't play.
DUB_OPTIONS = (
    "quality", "face_id", "on_missing_face", "loop", "silence_mode", "label", "crf", "smooth",
    "detect_every", "pads", "box", "min_face_height", "static", "resize_factor", "rotate", "crop",
    "blend", "match_colours", "sharpen", "source_detail", "audio_offset",
)  # fmt: skip
ANIMATE_OPTIONS = ("seed", "noise_std", "paste_back", "aligned", "resize_factor", "label", "crf")
# Of jobs, beside those of the library.
JOB_OPTIONS: Mapping[str, tuple[str, ...]] = {
    DUB: ("model", "first_seconds", *DUB_OPTIONS),
    ANIMATE: ("model", *ANIMATE_OPTIONS),
    SYNC: ("write_synced",),
}
_TIMINGS = "timings.json"
_EXAMPLE_PERSON = 104  # seed of a person that is in no corpus, as in `lipsync demo`


@dataclasses.dataclass(frozen=True)
class SubmittedJob:
    """A job that passed all checks.

    Attributes:
        kind: one of KINDS.
        files: role -> path.
        names: role -> the user's name of the file.
        options: as checked.
    """

    kind: str
    files: Mapping[str, Path]
    names: Mapping[str, str]
    options: Mapping[str, Json]


class Actions:
    """The models, and what is done with them."""

    def __init__(
        self,
        work: Path,
        checkpoints: Sequence[Path] = (),
        animators: Sequence[Path] = (),
        sync_models: Sequence[Path] = (),
    ) -> None:
        """Names the models; see `load` for loading.

        Args:
            work: folder of measured times and of the jobs' files.
            checkpoints: dubbing models; empty for the built-in one.
            animators: animation models.
            sync_models: at most one; empty for the built-in one.
        """
        self._work = work
        self.dubbing = ModelShelf(
            weights.DUBBING, "--checkpoint-path", checkpoints, LipSyncPipeline.load
        )
        self.animation = ModelShelf(weights.ANIMATION, "--animator", animators, Animator.load)
        self.sync = ModelShelf(weights.SYNC, "--sync-model", sync_models, CreditedSyncModel.load)
        self._status, self._preview_lock = "loading", threading.Lock()

    @property
    def status(self) -> str:
        """Returns `loading`, `compiling`, `ready`, or why the model can't be used."""
        return self._status

    def load(self) -> None:
        """Loads and compiles the default dubbing model; errors are told by `status`."""
        if self.dubbing.missing():
            self._status = "ready"
            return
        try:
            model = self.dubbing.get().model
            self._status = "compiling"
            for size in (frame_preview.BATCH_SIZE, default_batch_size()):
                model.compile(size)
            self._status = "ready"
        except Exception as error:  # the page shows it; other models may work
            self._status = f"the model can't be loaded: {error}"

    def check(
        self,
        kind: str,
        files: Mapping[str, Path],
        names: Mapping[str, str],
        options: Mapping[str, Json],
        consent: bool,
    ) -> SubmittedJob:
        """Checks a job before it is queued.

        Args:
            kind: one of KINDS.
            files: role -> path.
            names: role -> the user's name of the file.
            options: see JOB_OPTIONS.
            consent: whether the user confirmed the consent of the persons.

        Raises:
            ValueError: says in words what is wrong and what to do.
        """
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r} is unknown; choose from {', '.join(KINDS)}")
        for role in KINDS[kind]:
            if role not in files:
                raise ValueError(f"{role} is missing; give a file")
        _check_options(kind, options)
        if kind in NEED_CONSENT and consent is not True:
            raise ValueError(
                "consent is missing: confirm that everyone shown and heard has agreed to this video"
            )
        shown = {role: names.get(role) or path.name for role, path in files.items()}
        if kind == SYNC:
            self.sync.folder(None)
            inputs.require_talking_face(files["video"], shown["video"])
        else:
            shelf = self.dubbing if kind == DUB else self.animation
            shelf.folder(options.get("model"))
            self._settings(kind, options)
            inputs.require_face(files["face"], shown["face"])
            inputs.require_audio(files["audio"], shown["audio"])
        inputs.require_space(self._work, sum(path.stat().st_size for path in files.values()))
        return SubmittedJob(kind, files, shown, {k: v for k, v in options.items() if v is not None})

    def _settings(self, kind: str, options: Mapping[str, Json]) -> dict[str, Argument]:
        """Returns the library's options of a job, checked."""
        names = DUB_OPTIONS if kind == DUB else ANIMATE_OPTIONS
        settings = {k: options[k] for k in names if options.get(k) is not None}
        seconds = options.get("first_seconds")
        if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
            raise ValueError(f"first_seconds={seconds!r}: give a number above 0")
        try:
            if kind == DUB:
                DubbingOptions.from_quality(**settings)
            else:
                AnimationOptions(**settings)
        except TypeError as error:  # text where a number is expected, from a script
            raise ValueError(f"an option has a value of the wrong kind ({error})") from error
        return settings

    def people(
        self, video: Path, on_frame: Callable[[int, int, float], None] = lambda *_: None
    ) -> list[VideoIdentity]:
        """Lists the persons of a video by the numbers of `face_id`; [] for an image.

        Args:
            video: a video or an image.
            on_frame: see `face_detection_pass.detect_faces_in_video`.
        """
        if not inputs.inspect(video).seconds:
            return []
        with inputs.renamed_errors(video, video.name):
            return list_faces.list_identities(video, on_frame)

    def preview(
        self, face: Path, audio: Path, moment: float, options: Mapping[str, Json]
    ) -> frame_preview.PreviewFrame:
        """Dubs one frame, see `frame_preview.preview`.

        Args:
            face: video or image.
            audio: recording of speech.
            moment: seconds of the output.
            options: see JOB_OPTIONS.

        Raises:
            ValueError: see `check`.
        """
        _check_options(DUB, options)
        settings = self._settings(DUB, options)
        inputs.require_face(face)
        inputs.require_audio(audio)
        pipeline = self.dubbing.get(options.get("model"))
        with (
            self._preview_lock,
            inputs.renamed_errors(face, face.name),
            inputs.renamed_errors(audio, audio.name),
        ):
            return pipeline.preview(face, audio, [moment], **settings)[0]

    def run(self, job: Job, folder: Path, on_progress: OnProgress) -> dict[str, Json]:
        """Runs a job; see `jobs.Run`."""
        files = {role: folder / name for role, name in job.files.items()}
        runners = {DUB: self._dub, ANIMATE: self._animate, SYNC: self._measure}
        with contextlib.ExitStack() as names:
            for role, path in files.items():
                names.enter_context(inputs.renamed_errors(path, job.names[role]))
            picture = files.get("face") or files["video"]
            inputs.write_thumbnail(picture, folder / THUMBNAIL)
            report = runners[job.kind](job, files, folder, on_progress)
        renamed = {str(path): job.names[role] for role, path in files.items()}
        return _json_output.plain(report, renamed | {f"{folder}{os.sep}": ""})

    def _dub(
        self, job: Job, files: Mapping[str, Path], folder: Path, on_progress: OnProgress
    ) -> dict[str, Json]:
        settings = self._settings(DUB, job.options)
        on_progress("loading the model", 0, 0)
        pipeline = self.dubbing.get(job.options.get("model"))
        audio = files["audio"]
        if job.options.get("first_seconds"):
            audio = _first_seconds(audio, folder, float(job.options["first_seconds"]))
        outfile = folder / "result.mp4"
        on_progress("detecting faces", 0, 0)
        result = pipeline.generate(
            files["face"], audio, outfile, on_progress=_stages(on_progress), **settings
        )
        sync, generated = None, time.monotonic()
        if self.sync.names:
            on_progress("measuring sync", 0, 0)
            reading = {k: settings[k] for k in ("rotate", "crop", "resize_factor") if k in settings}
            sync = dub_sync.measure(
                files["face"],
                outfile,
                self.sync.get().model,
                result.video_faces,
                result.frame_numbers,
                **reading,
            )
        self._store_timing(job.options, result, time.monotonic() - generated)
        report = _json_output.generation(result, files["face"], audio, sync)
        report["sync_text"] = [*dub_sync.describe(sync)] if sync else []
        if audio != files["audio"]:
            audio.unlink()
        return _finish(report, job, result)

    def _animate(
        self, job: Job, files: Mapping[str, Path], folder: Path, on_progress: OnProgress
    ) -> dict[str, Json]:
        on_progress("loading the model", 0, 0)
        animator = self.animation.get(job.options.get("model"))
        on_progress("generating frames", 0, 0)
        result = animator.animate(
            files["face"],
            files["audio"],
            folder / "result.mp4",
            on_progress=_stages(on_progress),
            **self._settings(ANIMATE, job.options),
        )
        return _finish(_json_output.generation(result, files["face"], files["audio"]), job, result)

    def _measure(
        self, job: Job, files: Mapping[str, Path], folder: Path, on_progress: OnProgress
    ) -> dict[str, Json]:
        video, outfile = files["video"], None
        on_progress("loading the model", 0, 0)
        model, credit = self.sync.get()
        tracks = video_sync.measure(
            video,
            model,
            on_frame=lambda done, total, _: on_progress("detecting faces", done, total),
        )
        report: dict[str, Json] = {
            "tracks": [_json_output.track(track) for track in tracks],
            "lines": [dub_sync.format_offset(track) for track in tracks],
            "credit": credit,
            "result": None,
        }
        if job.options.get("write_synced"):
            suffix = video.suffix if video.suffix in (".mp4", ".m4v", ".mov", ".mkv") else ".mkv"
            outfile = folder / f"result{suffix}"
            delay, lost = video_sync.shift_audio(video, outfile, tracks)
            report |= {"result": outfile.name, "audio_shift_ms": 1000 * delay, "warnings": lost}
        return report

    def estimate_seconds(self, frames: int, options: Mapping[str, Json]) -> float | None:
        """Estimates how long a dub takes, by the last one of this model and quality.

        Args:
            frames: of the result.
            options: see JOB_OPTIONS.

        Returns:
            Seconds; None before the first dub of this kind.
        """
        if self.dubbing.missing():
            return None
        timing = self._timings().get(self._timing_key(options))
        return None if timing is None else frames * timing["per_frame"] + timing["per_job"]

    def _timing_key(self, options: Mapping[str, Json]) -> str:
        folder = self.dubbing.folder(options.get("model"))
        return f"{options.get('quality') or DEFAULT_QUALITY} {folder}"

    def _timings(self) -> dict[str, dict[str, float]]:
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self._work / _TIMINGS).read_text(encoding="utf-8"))
        return {}

    def _store_timing(
        self, options: Mapping[str, Json], result: GenerationResult, sync_seconds: float
    ) -> None:
        """Stores the seconds of a dub; sync is measured in the first seconds of a video only."""
        per_frame = result.wall_seconds / max(1, result.frames)
        timing = {"per_frame": per_frame, "per_job": sync_seconds}
        timings = self._timings() | {self._timing_key(options): timing}
        partial = self._work / f".{_TIMINGS}"
        with contextlib.suppress(OSError):  # an estimate only
            partial.write_text(json.dumps(timings), encoding="utf-8")
            os.replace(partial, self._work / _TIMINGS)


def _check_options(kind: str, options: Mapping[str, Json]) -> None:
    unknown = set(options).difference(JOB_OPTIONS[kind])
    if unknown:
        raise ValueError(
            f"unknown options {', '.join(sorted(unknown))}; {kind} takes "
            f"{', '.join(JOB_OPTIONS[kind])}"
        )
    for name, value in options.items():
        try:  # answers with infinities, or with half of a character, can't be sent
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except ValueError as error:
            raise ValueError(
                f"{name} can't be stored ({error}); give finite numbers and valid text"
            ) from error


def as_command(options: Mapping[str, Json], names: Mapping[str, str]) -> str:
    """Returns the `lipsync dub` line of a job.

    Args:
        options: of a dub, texts and numbers; `first_seconds` has no counterpart.
        names: role -> the user's own name of the file.
    """
    import shlex

    words, model = ["lipsync", "dub"], options.get("model")
    if model and model not in weights.names():
        words += ["--checkpoint-path", model]
    for role in ("face", "audio"):
        words += [f"--{role}", names.get(role) or role.upper()]
    for name in DUB_OPTIONS:
        if options.get(name) is not None:
            words += [f"--{name.replace('_', '-')}", str(options[name])]
    words += ["--outfile", f"{Path(safe_name(names.get('face') or 'face')).stem}_dubbed.mp4"]
    return shlex.join(words)


def _stages(on_progress: OnProgress) -> Callable[[Progress], None]:
    names = {"faces": "detecting faces", "generate": "generating frames"}

    def report(progress: Progress) -> None:
        on_progress(names[progress.stage], progress.done, progress.total)

    return report


def _finish(report: dict[str, Json], job: Job, result: GenerationResult) -> dict[str, Json]:
    """Completes the report of a generated video by what its file says, and the consent."""
    tag = metadata.read(result.outfile)
    return report | {
        "face": job.names["face"],
        "audio": job.names["audio"],
        "outfile": result.outfile.name,
        "result": result.outfile.name,
        "tagged_as_synthetic": tag is not None and tag.model_hash == result.model_hash,
        "consent_confirmed": bool(job.consent),
        "version": __version__,
    }


def _first_seconds(path: Path, folder: Path, seconds: float) -> Path:
    """Writes the first seconds of a recording."""
    rate, chunks = driving_audio.read_mono_chunks(path)
    count, parts = round(seconds * rate), []
    for chunk in chunks:
        parts.append(np.asarray(chunk))
        if sum(map(len, parts)) >= count:
            break
    outfile = folder / "audio_start.wav"
    audio_files.save(outfile, np.concatenate(parts)[:count], rate)
    return outfile


def example(folder: Path) -> tuple[Path, Path]:
    """Renders a video of a person and other speech once; returns both paths."""
    from lipsync_jax.data_prep.synthetic import corpus

    face, speech = folder / "face.mp4", folder / "voice.wav"
    if not (face.is_file() and speech.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        corpus.write_dubbing_example(folder, seed=_EXAMPLE_PERSON)
    return face, speech
