"""Live sessions over WebRTC: the tracks that are sent, the microphone, and who may connect."""

import asyncio
import contextlib
import logging
import math
import os
import secrets
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path

import aiortc
import numpy as np
from aiortc.codecs import h264

from lipsync_jax.live.faces import PreparedFace
from lipsync_jax.live.pipeline import RESAMPLING, Pipeline
from lipsync_jax.live.recorder import Recorder
from lipsync_jax.live.voice import SOUND_RATE, Resampler, VoiceBuffer
from lipsync_jax.media import audio, live_frames
from lipsync_jax.synthesis import driving_audio
from lipsync_jax.types import Json

SOURCES = ("microphone", "samples", "recording")
_CONNECT_SECONDS = 20.0  # until a session without a connection is closed
_BITRATE = 2_500_000  # a second at the start; aiortc begins with less than 480 lines need
_FIGURES_SECONDS = 5.0
_PAUSE_SECONDS = 1.0  # before a recording begins again
CODECS = ("h264", "vp8")


class TooManyViewers(Exception):
    """All places are taken."""


class _SoundTrack(aiortc.MediaStreamTrack):
    kind = "audio"

    def __init__(self, session: "Session") -> None:
        super().__init__()
        self._session = session

    async def recv(self) -> live_frames.AudioFrame:
        pipeline = self._session.pipeline
        due = pipeline.sound_due
        await _sleep_until(pipeline, due)
        samples = pipeline.sound()
        self._session.sound_times.append((pipeline.clock.seconds, due))
        self._session.recorder.add_sound(samples, round(due * SOUND_RATE))
        return live_frames.audio_frame(samples, round(due * SOUND_RATE), SOUND_RATE)


class _PictureTrack(aiortc.MediaStreamTrack):
    kind = "video"

    def __init__(self, session: "Session") -> None:
        super().__init__()
        self._session, self._next = session, 0

    async def recv(self) -> live_frames.VideoFrame:
        pipeline = self._session.pipeline
        rate = pipeline.face.frame_rate
        while not pipeline.clock.is_running:  # the sound starts it
            await asyncio.sleep(0.005)
        # An encoder that is behind leaves out pictures; the next is in time.
        self._next = max(self._next, math.floor(pipeline.clock.seconds * rate))
        moment = self._next / rate
        await _sleep_until(pipeline, float(moment))
        image = pipeline.picture(self._next)
        self._session.picture_times.append((pipeline.clock.seconds, float(moment)))
        self._next += 1
        self._session.recorder.add_picture(image, moment)
        return live_frames.video_frame(image, moment)


async def _sleep_until(pipeline: Pipeline, seconds: float) -> None:
    wait = seconds - pipeline.clock.seconds
    if wait > 0:
        await asyncio.sleep(wait)


class Session:
    """One viewer.

    Attributes:
        id: names the session in addresses; it can't be guessed.
        pipeline: from the voice to pictures and sound.
        source: one of `SOURCES`.
        recorder: writes what is sent while the viewer wishes.
        is_closed: whether the session has ended.
        sound_times: (sent at, due at) of the last blocks of sound, seconds of the clock.
        picture_times: the same of the last pictures.
    """

    def __init__(
        self,
        face: PreparedFace,
        source: str,
        *,
        audio_path: Path | None,
        ice_servers: Sequence[str],
        codecs: Sequence[str],
        record_folder: Path,
        on_close: Callable[[str], object],
    ) -> None:
        """Makes a session that waits for an offer; `on_close` is called with its id at its end."""
        self.id, self.face, self.source = secrets.token_urlsafe(12), face, source
        self.pipeline = Pipeline(
            face.streaming,
            VoiceBuffer(waits=source != "microphone"),
            stride=face.plan.stride,
            generation_seconds=face.plan.frame_seconds,
        )
        self.recorder = Recorder(face, record_folder)
        self.sound_times = deque[tuple[float, float]](maxlen=round(_FIGURES_SECONDS * 50))
        self.picture_times = deque[tuple[float, float]](
            maxlen=round(_FIGURES_SECONDS * face.streaming.frame_rate)
        )
        self._audio_path, self._codecs, self._on_close = audio_path, codecs, on_close
        # Without servers aiortc would ask one of another company.
        servers = [aiortc.RTCIceServer(url) for url in ice_servers]
        self._connection = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(servers))
        self._tasks: set[asyncio.Task] = set()
        self.is_closed = False

    async def answer(self, sdp: str, kind: str) -> dict[str, Json]:
        """Connects to the browser that made an offer; returns the answer.

        Raises:
            ValueError: the offer can't be read, or has no audio or video.
        """
        connection = self._connection
        connection.on("track", self._read_track)
        connection.on("connectionstatechange", self._on_state)
        h264.DEFAULT_BITRATE = _BITRATE
        for track in (_SoundTrack(self), _PictureTrack(self)):
            connection.addTrack(track)
        for transceiver in connection.getTransceivers():
            if transceiver.kind == "video":
                transceiver.setCodecPreferences(_preferences(self._codecs))
        try:
            await connection.setRemoteDescription(aiortc.RTCSessionDescription(sdp, kind))
            kinds = {t.kind for t in connection.getTransceivers() if t.mid is not None}
            if kinds != {"audio", "video"}:
                raise ValueError("the offer needs one audio and one video")
            await connection.setLocalDescription(await connection.createAnswer())
        except Exception as error:  # of many kinds, as the text is foreign
            logging.debug("the offer was refused", exc_info=error)
            raise ValueError(f"the offer can't be used: {error}") from error
        self._spawn(self._close_unless_connected())
        if self.source == "recording":
            self._spawn(self._play())
        return {
            "sdp": connection.localDescription.sdp,
            "type": connection.localDescription.type,
            "session": self.id,
        }

    async def push(self, samples: np.ndarray, resample: Resampler) -> None:
        """Adds samples of a speech synthesiser, int16 (n,), when there is room for them.

        Returns at once if the session is closed: nothing makes room any more.
        """
        converted = resample(samples)
        while len(converted) and not self.is_closed:
            room = self.pipeline.voice.room
            self.pipeline.voice.push(converted[:room])
            converted = converted[room:]
            if not room:
                await asyncio.sleep(0.02)

    def figures(self) -> dict[str, Json]:
        """Returns what the page shows: rates, repeated pictures, and the parts of the delay."""
        pipeline, counts = self.pipeline, self.pipeline.counts
        now = pipeline.clock.seconds
        recent = [sent for sent, _ in self.picture_times if sent > now - _FIGURES_SECONDS]
        due = max(1, counts.generated + counts.repeated)
        look_ahead = pipeline.face.look_ahead + RESAMPLING
        voice = pipeline.voice
        buffered = 0.0 if voice.waits else voice.seconds  # what is sent ahead is not late
        return {
            "state": self._connection.connectionState,
            "error": None if pipeline.error is None else str(pipeline.error),
            "seconds": round(now, 1),
            "speaking": pipeline.is_speaking,
            "sent_fps": round(len(recent) / min(max(now, 0.1), _FIGURES_SECONDS), 2),
            "sent": counts.sent,
            "repeated": counts.repeated,
            "repeated_percent": round(100 * counts.repeated / due, 2),
            "late": counts.late,
            "left_out": counts.left_out,
            "picture_minus_sound_ms": round(self._skew() * 1000, 1),
            "held_ms": round(1000 * pipeline.clock.held),
            "voice_dropped_ms": round(1000 * voice.dropped / SOUND_RATE),
            "voice_missing_ms": round(1000 * voice.missing / SOUND_RATE),
            "delay_ms": {
                "voice_buffer": round(1000 * buffered),
                "look_ahead": round(1000 * look_ahead),
                "generation": round(1000 * pipeline.generation_seconds, 1),
                "waiting": round(1000 * float(pipeline.delay - look_ahead)),
                "total": round(1000 * (float(pipeline.delay) + buffered)),
            },
            "recording": self.recorder.is_recording,
        }

    def _skew(self) -> float:
        """Returns by how much pictures were sent later than their sound, the mean of a moment."""
        lateness = [
            sum(sent - due for sent, due in times) / max(1, len(times))
            for times in (tuple(self.picture_times), tuple(self.sound_times))
        ]
        return lateness[0] - lateness[1]

    async def close(self) -> None:
        """Frees all that the session holds; may be called twice."""
        if self.is_closed:
            return
        self.is_closed = True
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        await self._connection.close()
        await asyncio.to_thread(self.pipeline.close)
        await asyncio.to_thread(self.recorder.stop)
        self._on_close(self.id)

    def _spawn(self, coroutine: Coroutine) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _read_track(self, track: aiortc.MediaStreamTrack) -> None:
        self._spawn(self._read(track))

    async def _read(self, track: aiortc.MediaStreamTrack) -> None:
        """Reads a track to its end; unread frames would fill the memory."""
        resample: Resampler | None = None
        with contextlib.suppress(aiortc.mediastreams.MediaStreamError):
            while True:
                frame = await track.recv()
                wanted = self.source == "microphone"
                if not wanted or not isinstance(frame, live_frames.AudioFrame):
                    continue
                samples, rate = live_frames.samples_of(frame)
                resample = resample or Resampler(rate)
                self.pipeline.voice.push(resample(samples))

    async def _play(self) -> None:
        """Plays the server's recording again and again."""
        assert self._audio_path is not None
        while True:
            rate, chunks = await asyncio.to_thread(driving_audio.read_mono_chunks, self._audio_path)
            resample = Resampler(rate)
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                await self.push(audio.to_int16(chunk), resample)
            await self.push(np.zeros(round(rate * _PAUSE_SECONDS), np.int16), resample)

    async def _close_unless_connected(self) -> None:
        await asyncio.sleep(_CONNECT_SECONDS)
        if self._connection.connectionState != "connected":
            await self.close()

    async def _on_state(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            await self.close()


def _preferences(names: Sequence[str]) -> list[aiortc.rtcrtpparameters.RTCRtpCodecCapability]:
    codecs = aiortc.RTCRtpSender.getCapabilities("video").codecs
    wanted = [f"video/{name}".lower() for name in (*names, "rtx")]
    chosen = [codec for codec in codecs if codec.mimeType.lower() in wanted]
    return sorted(chosen, key=lambda codec: wanted.index(codec.mimeType.lower()))


class Live:
    """The faces, and the sessions of their viewers.

    Attributes:
        faces: by name.
        audio_path: a recording that a session may play, or None.
        sessions: by id.
        max_viewers: sessions at a time.
        ice_servers: addresses of STUN servers, for the server and for the page.
    """

    def __init__(
        self,
        faces: Mapping[str, PreparedFace],
        *,
        audio_path: str | os.PathLike | None = None,
        max_viewers: int = 1,
        ice_servers: Sequence[str] = (),
        codec: str = "h264",
        record_folder: str | os.PathLike = "results",
    ) -> None:
        """Takes what the sessions share.

        Args:
            faces: prepared faces by name.
            audio_path: a recording on this machine.
            max_viewers: sessions at a time.
            ice_servers: addresses of STUN servers; none is needed on one network.
            codec: the first to offer, see `CODECS`.
            record_folder: where recordings are written.
        """
        self.faces, self.sessions = faces, dict[str, Session]()
        self.audio_path = None if audio_path is None else Path(audio_path)
        self.max_viewers, self.ice_servers = max_viewers, tuple(ice_servers)
        self._codecs = sorted(CODECS, key=lambda name: name != codec)
        self._record_folder = Path(record_folder)

    async def connect(self, face: str, source: str, sdp: str, kind: str) -> dict[str, Json]:
        """Starts a session; returns the answer to its offer.

        Raises:
            ValueError: there is no such face or source, or the offer can't be used.
            TooManyViewers: all places are taken.
        """
        prepared = self.faces.get(face)  # once, as another thread may drop the face
        if prepared is None:
            raise ValueError(f"face {face!r} is not prepared; choose from {', '.join(self.faces)}")
        if source not in SOURCES or (source == "recording" and self.audio_path is None):
            raise ValueError(f"source {source!r} is not there; choose from {', '.join(SOURCES)}")
        if len(self.sessions) >= self.max_viewers:
            raise TooManyViewers(
                f"{len(self.sessions)} of {self.max_viewers} places are taken; wait until a viewer "
                "leaves, or start the server with a larger --max-viewers"
            )
        session = Session(
            prepared,
            source,
            audio_path=self.audio_path,
            ice_servers=self.ice_servers,
            codecs=self._codecs,
            record_folder=self._record_folder,
            on_close=lambda session_id: self.sessions.pop(session_id, None),
        )
        self.sessions[session.id] = session  # before anything is awaited
        try:
            return await session.answer(sdp, kind)
        except BaseException:
            await session.close()
            raise

    async def disconnect(self, session_id: str) -> bool:
        """Ends a session; False if there is none."""
        session = self.sessions.get(session_id)
        if session is None:
            return False
        await session.close()
        return True

    async def close(self) -> None:
        """Ends all sessions."""
        for session_id in [*self.sessions]:
            await self.disconnect(session_id)
