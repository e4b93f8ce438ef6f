"""Writes what a live session sends into a tagged file."""

import contextlib
import datetime
import logging
import queue
import tempfile
import threading
import wave
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lipsync_jax.live.voice import SOUND_RATE
from lipsync_jax.media import mux
from lipsync_jax.media.video_reader import VideoWriter
from lipsync_jax.provenance import metadata

if TYPE_CHECKING:
    from lipsync_jax.live.faces import PreparedFace

_QUEUE = 250  # pictures and blocks that may wait for the encoder


class Recorder:
    """Records pictures and sound from `start` to `stop`; each recording is a file of its own.

    Attributes:
        error: why the last recording failed, or None.
    """

    def __init__(self, face: "PreparedFace", folder: Path) -> None:
        """Takes the face, for the tag, and the folder of the files."""
        self._face, self._folder = face, folder
        self.error: Exception | None = None
        self._items: queue.Queue | None = None
        self._thread: threading.Thread | None = None
        self._path: Path | None = None

    @property
    def is_recording(self) -> bool:
        """Whether a recording runs."""
        return self._items is not None

    def start(self) -> None:
        """Begins a recording, with the next picture and the sound from then on."""
        if self._items is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S.%f")[:-3]
        self._path, self.error = self._folder / f"live_{stamp}.mp4", None
        self._items = queue.Queue(_QUEUE)
        self._thread = threading.Thread(
            target=self._write, args=(self._items, self._path), name="live recorder", daemon=True
        )
        self._thread.start()

    def add_picture(self, image: np.ndarray, moment: Fraction) -> None:
        """Adds a picture that is sent at `moment`, seconds of the clock."""
        self._add((image, moment))

    def add_sound(self, samples: np.ndarray, first: int) -> None:
        """Adds a block of sound whose first sample has this number."""
        self._add((samples, first))

    def stop(self) -> Path | None:
        """Completes the recording; returns its path, or None if there is none or it failed."""
        items, thread, path = self._items, self._thread, self._path
        if items is None or thread is None:
            return None
        self._items = None
        with contextlib.suppress(queue.Full):  # the thread ends without it, too
            items.put_nowait(None)
        thread.join()
        return None if self.error else path

    def _add(self, item: tuple) -> None:
        items = self._items  # `stop` may be called by another thread
        if items is None:
            return
        try:
            items.put_nowait(item)
        except queue.Full:
            self.error = ValueError(
                f"the recording ended early, as the disk or the encoder is slow: {self._path}"
            )
            self._items = None

    def _write(self, items: queue.Queue, path: Path) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="lipsync_") as folder:
                video, sound = Path(folder) / "video.mp4", Path(folder) / "sound.wav"
                writer = VideoWriter(
                    video, self._face.streaming.frame_rate, self._face.streaming.size,
                    preset="ultrafast",
                )  # fmt: skip
                with writer, wave.open(str(sound), "wb") as audio:
                    audio.setparams((1, 2, SOUND_RATE, 0, "NONE", ""))
                    self._write_items(items, writer, audio)
                tags = metadata.tags(self._face.model_hash, self._face.credit)
                mux.mux(video, sound, path, copy_audio=False, metadata=tags)
        except Exception as error:
            logging.exception("the recording failed")
            self.error = error
            if self._items is items:
                self._items = None

    def _write_items(self, items: queue.Queue, writer: VideoWriter, audio: wave.Wave_write) -> None:
        start: Fraction | None = None  # time of the first picture
        while True:
            try:
                item = items.get(timeout=1)
            except queue.Empty:  # the session stalls, or was stopped as the queue was full
                if self._items is not items:
                    return
                continue
            if item is None:
                return
            data, place = item
            if data.ndim == 3:
                start = place if start is None else start
                writer.write(data, place - start)
            elif start is not None:
                # Only the first block may begin before the file's next sample, or after.
                gap = place - round(start * SOUND_RATE) - audio.tell()
                silence = np.zeros(max(gap, 0), data.dtype)
                audio.writeframes(np.concatenate([silence, data[max(-gap, 0) :]]).tobytes())
