"""What the page and the HTTP interface do: paths and options in, files and reports out.

Only this module, `models` and `runners` call synthesis and evaluation.
"""

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from lipsync_jax import weights
from lipsync_jax.cli import _json_output, list_faces
from lipsync_jax.cli.list_faces import VideoIdentity
from lipsync_jax.synthesis import frame_preview
from lipsync_jax.synthesis.animation import Animator
from lipsync_jax.synthesis.batch_sizes import default_batch_size
from lipsync_jax.synthesis.dubbing import LipSyncPipeline
from lipsync_jax.text import naming_options
from lipsync_jax.types import Json
from lipsync_jax.web import inputs, job_options, runners
from lipsync_jax.web.job import Job, SubmittedJob
from lipsync_jax.web.job_folder import THUMBNAIL
from lipsync_jax.web.job_options import ANIMATE, DUB, KINDS, NEED_CONSENT, SYNC
from lipsync_jax.web.jobs import OnProgress
from lipsync_jax.web.models import CreditedSyncModel, ModelShelf
from lipsync_jax.web.timings import Timings


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
        self.timings = Timings(work)
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
        """Checks a job before it is queued; returns it with the names of all files.

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
        by_face = job_options.speakers(files)
        for role in KINDS[kind]:
            if role not in files and not (role == "audio" and by_face):
                raise ValueError(f"`{role}` is missing; give a file")
        job_options.check(kind, options)
        if kind in NEED_CONSENT:
            job_options.require_consent(consent)
        shown = {role: names.get(role) or path.name for role, path in files.items()}
        if kind == SYNC:
            self.sync.folder(None)
            inputs.require_talking_face(files["video"], shown["video"])
        else:
            shelf = self.dubbing if kind == DUB else self.animation
            shelf.folder(options.get("model"))
            job_options.settings(kind, options, files)
            inputs.require_face(files["face"], shown["face"])
            if "audio" in files:
                inputs.require_audio(files["audio"], shown["audio"])
            for number, path in by_face.items():
                name = shown[job_options.speaker_role(number)]
                inputs.require_audio(path, f"{number} {name}", "speakers")
        inputs.require_space(self._work, sum(path.stat().st_size for path in files.values()))
        return SubmittedJob(kind, files, shown, {k: v for k, v in options.items() if v is not None})

    def people(self, video: Path, role: str = "face") -> list[VideoIdentity]:
        """Lists the persons of a video by the numbers of `face_id`; [] for an image.

        Args:
            video: a video or an image.
            role: of the file, for errors.
        """
        name = f"`{role}` {video.name}"
        if not inputs.inspect(video, name).seconds:
            return []
        with inputs.renamed_errors(video, name):
            return list_faces.list_identities(video, lambda *_: None)

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
        job_options.check(DUB, options)
        settings = job_options.settings(DUB, options)
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
        running = runners.RunningJob(job, files, folder, on_progress)
        with contextlib.ExitStack() as names:
            for role, path in files.items():
                names.enter_context(inputs.renamed_errors(path, job.names[role]))
            names.enter_context(naming_options(job_options.by_option(files)))
            picture = files.get("face") or files["video"]
            inputs.write_thumbnail(picture, folder / THUMBNAIL)
            if job.kind == DUB:
                report = runners.dub(running, self.dubbing, self.sync, self.timings)
            elif job.kind == ANIMATE:
                report = runners.animate(running, self.animation)
            else:
                report = runners.measure(running, self.sync)
        renamed = {str(path): job.names[role] for role, path in files.items()}
        return _json_output.plain(report, renamed | {f"{folder}{os.sep}": ""})

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
        model = self.dubbing.folder(options.get("model"))
        return self.timings.estimate(frames, options.get("quality"), model)
