"""The web app of live faces: its page, the signalling of WebRTC, pushed samples, figures."""

import asyncio
import contextlib
import json
from pathlib import Path

import numpy as np
from fastapi import FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

import lipsync_jax
from lipsync_jax.live.session import Live, Session, TooManyViewers
from lipsync_jax.live.voice import Resampler
from lipsync_jax.types import Json

CONSENT = (
    "I have the consent of everyone shown and heard, and will say that the video is synthetic."
)
_PAGE = Path(__file__).with_name("page")
_ENDED = "this session has ended"
_FIGURES_PERIOD = 0.5  # seconds
_MAX_SDP = 100_000  # characters


class Offer(BaseModel, extra="forbid"):
    """A browser's offer of a WebRTC connection."""

    sdp: str = Field(max_length=_MAX_SDP)
    type: str = Field(pattern="^offer$")
    face: str
    source: str
    consent: bool = False


class Record(BaseModel, extra="forbid"):
    """Whether to record."""

    on: bool


def create_app(live: Live) -> FastAPI:
    """Makes the app, without a guard: mount it behind `web_guard.Guard`.

    Its addresses are relative, so that it may be mounted at any path, e.g. `/live`. What mounts it
    calls `live.close()` at its end.

    Args:
        live: faces and sessions.
    """

    # FastAPI's own pages of documentation load scripts from another host.
    app = FastAPI(
        title="lipsync_jax live", version=lipsync_jax.__version__,
        docs_url=None, redoc_url=None, openapi_url=None,
    )  # fmt: skip
    recordings: dict[str, Path] = {}

    def session_of(session_id: str) -> Session:
        session = live.sessions.get(session_id)
        if session is None or session.is_closed:  # a closed one stays until all is freed
            raise HTTPException(404, f"{_ENDED}; start again")
        return session

    @app.get("/setup")
    async def setup() -> dict[str, Json]:
        return {
            "consent": CONSENT,
            "faces": [
                {"name": name, "plan": face.plan.describe(), "is_enough": face.plan.is_enough}
                for name, face in [*live.faces.items()]  # another thread may prepare more
            ],
            "ice_servers": [{"urls": url} for url in live.ice_servers],
            "recording": None if live.audio_path is None else live.audio_path.name,
            "viewers": len(live.sessions),
            "max_viewers": live.max_viewers,
        }

    @app.post("/offer")
    async def offer(offer: Offer) -> dict[str, Json]:
        if not offer.consent:
            raise HTTPException(422, f"consent is missing: {CONSENT}")
        try:
            return await live.connect(offer.face, offer.source, offer.sdp, offer.type)
        except TooManyViewers as error:
            raise HTTPException(409, str(error)) from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

    @app.delete("/sessions/{session_id}")
    async def stop(session_id: str) -> dict[str, Json]:
        return {"stopped": await live.disconnect(session_id)}

    @app.post("/sessions/{session_id}/record")
    async def record(session_id: str, record: Record) -> dict[str, Json]:
        session = session_of(session_id)
        if record.on:
            try:
                session.recorder.start()
            except OSError as error:
                raise HTTPException(409, f"the recording can't be written: {error}") from error
            return {"recording": True, "file": None}
        path = await asyncio.to_thread(session.recorder.stop)
        if path is None:
            raise HTTPException(409, str(session.recorder.error or "nothing was being recorded"))
        recordings[path.name] = path
        return {"recording": False, "file": path.name}

    @app.get("/recordings/{name}")
    async def recording(name: str) -> FileResponse:
        if name not in recordings:
            raise HTTPException(404, "there is no such recording")
        return FileResponse(recordings[name], media_type="video/mp4", filename=name)

    @app.websocket("/sessions/{session_id}/figures")
    async def figures(socket: WebSocket, session_id: str) -> None:
        """Sends figures; a closed tab closes this connection, and with it the session."""
        await socket.accept()
        gone = asyncio.ensure_future(socket.receive())
        try:
            while (session := live.sessions.get(session_id)) and not gone.done():
                await socket.send_json(session.figures())
                await asyncio.wait([gone], timeout=_FIGURES_PERIOD)
            if not gone.done():
                await socket.close()
        except (WebSocketDisconnect, RuntimeError):  # closed while sending
            pass
        finally:
            gone.cancel()
            await asyncio.shield(live.disconnect(session_id))  # also where this task is cancelled

    @app.websocket("/sessions/{session_id}/samples")
    async def samples(socket: WebSocket, session_id: str) -> None:
        await socket.accept()
        session = live.sessions.get(session_id)
        reason = (
            _ENDED
            if session is None
            else "start the session with the source 'samples'"
            if session.source != "samples"
            else ""
        )
        with contextlib.suppress(WebSocketDisconnect):
            if session is not None and not reason:
                reason = await _receive_samples(socket, session)
            await socket.close(1008 if reason else 1000, reason[:120])

    app.mount("/", StaticFiles(directory=_PAGE, html=True), name="page")
    return app


async def _receive_samples(socket: WebSocket, session: Session) -> str:
    """Reads `{"rate": n}`, then int16 samples, and `{"clear": true}`; returns what is wrong."""
    resample: Resampler | None = None
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        if (text := message.get("text")) is not None:
            try:
                settings = json.loads(text)
                if settings.get("clear"):
                    session.pipeline.voice.clear()
                if "rate" in settings:
                    resample = Resampler(int(settings["rate"]))
            except (ValueError, TypeError, AttributeError, OverflowError) as error:
                return f"a message of text is {{'rate': samples a second}} as JSON: {error}"
        elif (data := message.get("bytes")) is not None:
            if resample is None:
                return "the first message is {'rate': samples a second} as JSON"
            if len(data) % 2:
                return f"{len(data)} bytes are no 16-bit samples"
            await session.push(np.frombuffer(data, "<i2"), resample)
            if session.is_closed:
                return _ENDED
