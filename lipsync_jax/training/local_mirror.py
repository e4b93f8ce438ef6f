"""A local folder whose files are copied to a bucket, which can't append to its objects."""

import shutil
import tempfile
import time
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from absl import logging

from lipsync_jax import paths

_INTERVAL = 60.0  # seconds between two copies


class LocalMirror:
    """Copies the files of a local folder that have changed to a bucket, in the background.

    Args:
        target: folder of the bucket.

    Attributes:
        folder: the local folder, which `close` removes.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self.folder = Path(tempfile.mkdtemp(prefix="lipsync_jax_"))
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder)
        self._copied: dict[str, tuple[int, int]] = {}  # name -> bytes and time of the last copy
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._copying: Future | None = None
        self._last = time.monotonic()

    def pull(self, name: str) -> None:
        """Copies a file of the bucket, if it exists, into the local folder."""
        if (self._target / name).exists():
            paths.download(self._target / name, self.folder)

    def is_due(self) -> bool:
        """Returns whether the last copy is done and was begun a minute ago."""
        idle = self._copying is None or self._copying.done()
        return idle and time.monotonic() - self._last >= _INTERVAL

    def push(self) -> None:
        """Starts to copy what has changed."""
        self._last = time.monotonic()
        self._copying = self._thread.submit(self._copy)

    def close(self) -> None:
        """Copies what has changed, and removes the local folder unless that failed."""
        complete = self._thread.submit(self._copy).result()
        self._thread.shutdown()
        if complete:
            self._remove()
        else:
            self._remove.detach()
            logging.warning("files that could not be copied remain in %s", self.folder)

    def _copy(self) -> bool:
        try:
            for name in paths.files(self.folder):
                stat = (self.folder / name).stat()
                stamp = stat.st_size, stat.st_mtime_ns
                if self._copied.get(name) != stamp:
                    paths.upload(self.folder / name, self._target / name)
                    self._copied[name] = stamp
        except Exception as error:  # a cloud that is away for a while ends no run
            logging.warning("%s could not be written: %s", self._target, error)
            return False
        return True
