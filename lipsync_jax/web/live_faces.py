"""The live face beside the page: an app at /live, and faces that are prepared on request."""

import importlib.util
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_jax.text import naming_options
from lipsync_jax.web import inputs
from lipsync_jax.web.actions import Actions

if TYPE_CHECKING:
    from lipsync_jax.live.faces import PreparedFace

_MAX_FACES = 4  # in memory; the first prepared one is dropped


def is_available() -> bool:
    """Returns whether the packages of the extra `live` are installed."""
    return all(map(importlib.util.find_spec, ("aiortc", "websockets")))


class LiveFaces:
    """The faces of the app, and how one is added."""

    def __init__(self, actions: Actions, folder: Path) -> None:
        """Makes the app, without faces.

        Args:
            actions: the models.
            folder: of recordings.
        """
        from lipsync_jax.live import server, session

        self._actions, self._lock = actions, threading.Lock()
        self._faces: dict[str, PreparedFace] = {}
        self._live = session.Live(self._faces, record_folder=folder)
        self.app = server.create_app(self._live)

    async def close(self) -> None:
        """Ends all sessions."""
        await self._live.close()

    def prepare(self, path: Path) -> Iterator[str]:
        """Prepares a face, so that a session can start with it.

        Args:
            path: a video or an image.

        Yields:
            What is done, in words; last what the machine can hold, see `faces.Plan.describe`.

        Raises:
            FileNotFoundError, ValueError: see `faces.prepare`.
        """
        from lipsync_jax.live import faces

        steps: queue.Queue[str | None] = queue.Queue()
        failures: list[Exception] = []

        def work() -> None:
            try:
                with (
                    self._lock,
                    inputs.renamed_errors(path, path.name),
                    naming_options({"face": path}),
                ):
                    face = faces.prepare(self._actions.dubbing.get(), path, on_step=steps.put)
                    self._faces.pop(face.name, None)
                    while len(self._faces) >= _MAX_FACES:
                        del self._faces[next(iter(self._faces))]
                    self._faces[face.name] = face
                steps.put(f"{face.name}: {face.plan.describe()}")
            except Exception as error:  # raised again in the caller's thread
                failures.append(error)
            finally:
                steps.put(None)

        threading.Thread(target=work, name="lipsync live face", daemon=True).start()
        while (step := steps.get()) is not None:
            yield step
        if failures:
            raise failures[0]
