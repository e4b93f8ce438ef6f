"""Checkpoints of a run on s3://, which Orbax does not write: saved on the disk, then copied."""

import tempfile
from pathlib import Path

import jax

from lipsync_jax import paths
from lipsync_jax.training import damage

_RESUMED = ("checkpoints", "best")
_FOLDERS = (*_RESUMED, "damaged")
_LAST = (damage.DIGESTS_FILE, "model_card")  # written last: what has none of these is incomplete


class CheckpointMirror:
    """A local copy of a run's checkpoints.

    Args:
        workdir: the run's folder, of s3://.

    Attributes:
        folder: the local copy of it, which `close` removes.

    Raises:
        ValueError: several hosts train; says what to take instead.
    """

    def __init__(self, workdir: Path) -> None:
        if jax.process_count() > 1:
            raise ValueError(
                f"--workdir={workdir}: several hosts save their checkpoints together to gs:// or "
                "to a file system that all of them share; name a --workdir there (a mounted S3 "
                "bucket has no locks and renames)"
            )
        self._workdir = workdir
        self._temporary = tempfile.TemporaryDirectory(
            prefix="lipsync_jax_", ignore_cleanup_errors=True
        )
        self.folder = Path(self._temporary.name)
        for directory in _RESUMED:
            for name in self._remote(directory):
                if (workdir / directory / name / damage.DIGESTS_FILE).exists():
                    paths.download(workdir / directory / name, self.folder / directory)

    def push(self) -> None:
        """Makes the bucket equal to the local folder; waits until it is.

        Damaged checkpoints of earlier processes stay in the bucket: they are not copied from it.
        """
        for directory in _FOLDERS:
            local = self.folder / directory
            present = {p.name for p in local.iterdir()} if local.is_dir() else set()
            remote = self._remote(directory)
            for name in sorted(present - remote):
                self._push_checkpoint(local / name, self._workdir / directory / name)
            for name in remote - present if directory in _RESUMED else ():
                paths.remove_tree(self._workdir / directory / name)

    def close(self) -> None:
        """Removes the local folder."""
        self._temporary.cleanup()

    def _push_checkpoint(self, source: Path, target: Path) -> None:
        paths.upload(source, target, leave_out=_LAST)
        for name in _LAST:
            if (source / name).exists():
                paths.upload(source / name, target / name)

    def _remote(self, directory: str) -> set[str]:
        return {name.partition("/")[0] for name in paths.files(self._workdir / directory)}


def is_needed(workdir: Path) -> bool:
    """Returns whether a run's folder can't be written by Orbax."""
    return paths.bucket_scheme(workdir) == "s3"
