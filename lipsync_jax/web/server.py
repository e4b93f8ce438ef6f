"""The application: HTTP interface, its errors, static files; the page is mounted beside it."""

import asyncio
import contextlib
import mimetypes
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

import lipsync_jax
from lipsync_jax import paths
from lipsync_jax.types import Json, Untyped
from lipsync_jax.web import api_batches, api_files, api_jobs, plain_pages, uploads
from lipsync_jax.web.actions import Actions
from lipsync_jax.web.job import DISK_FULL, QueueFullError
from lipsync_jax.web.live_faces import LiveFaces
from lipsync_jax.web.submission import Submitter
from lipsync_jax.web.uploads import Uploads

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
STATIC = Path(__file__).with_name("static")
mimetypes.add_type("text/javascript", ".js")  # some systems say text/plain: no module runs then


def create_app(submitter: Submitter, work: Path, live: LiveFaces | None = None) -> FastAPI:
    """Makes the application, without the page and its guard.

    Args:
        submitter: adds jobs; its queue is closed with the application.
        work: folder of uploads.
        live: the live faces, mounted at /live.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        cleaning = asyncio.create_task(_remove_old(work / "uploads"))
        yield
        cleaning.cancel()
        submitter.queue.close()
        if live is not None:
            await live.close()

    app = FastAPI(
        title="lipsync_jax",
        version=lipsync_jax.__version__,
        description="Dub, animate and measure sync on this machine.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # they load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    files = Uploads(work / "uploads" / "api")
    _add_errors(app)
    _add_status(app, submitter.actions)
    api_files.add_routes(app, submitter.actions, files)
    api_jobs.add_routes(app, submitter, files)
    api_batches.add_routes(app, submitter, files)

    @app.get("/api", include_in_schema=False)
    @app.get("/api/docs", include_in_schema=False)
    def documentation() -> FileResponse:
        return FileResponse(STATIC / "api.html")

    @app.get("/responsible-use", include_in_schema=False)
    def responsible_use() -> HTMLResponse:
        return HTMLResponse(plain_pages.responsible_use())

    @app.api_route("/api/{path:path}", methods=_METHODS, include_in_schema=False)
    def unknown(path: str, request: Request) -> None:
        raise HTTPException(404, f"there is no {request.method} /api/{path[:80]}; /api lists all")

    if live is not None:
        app.mount("/live", live.app)
    app.mount("/lipsync", StaticFiles(directory=STATIC), name="lipsync")  # gradio has /static
    return app


async def _remove_old(folder: Path) -> None:
    """Removes old uploads of the page and of the HTTP interface, now and every hour."""
    while True:
        for path in (folder / "page", folder / "api"):
            await asyncio.to_thread(uploads.remove_old, path)
        await asyncio.sleep(3600)


def _add_errors(app: FastAPI) -> None:
    def answer(status: int, message: object) -> JSONResponse:
        return JSONResponse({"error": str(message)}, status)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, error.detail)

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> JSONResponse:
        return answer(422, "; ".join(map(_in_words, error.errors())))

    @app.exception_handler(QueueFullError)
    async def full(_: Request, error: QueueFullError) -> JSONResponse:
        return answer(429, error)

    @app.exception_handler(ValueError)
    async def value(_: Request, error: ValueError) -> JSONResponse:
        return answer(422, error)

    @app.exception_handler(OSError)
    async def system(_: Request, error: OSError) -> JSONResponse:
        if error.errno in paths.FULL_DISK:
            return answer(507, DISK_FULL)
        return answer(500, f"the server can't use a file ({error.strerror or error})")


def _in_words(problem: Mapping[str, Untyped]) -> str:
    """Says what is wrong with a request.

    Args:
        problem: one of `RequestValidationError.errors`.
    """
    if problem["type"] == "json_invalid":
        return f"the body is no JSON ({problem['ctx']['error']})"
    place = ".".join(map(str, problem["loc"][1:])) or "the body"
    return f"{place}: {problem['msg']}"


def _add_status(app: FastAPI, actions: Actions) -> None:
    @app.get("/api/status", tags=["server"])
    def status() -> dict[str, Json]:
        """Returns versions, models, and whether the default model is ready."""
        import jax

        return {
            "status": actions.status,
            "version": lipsync_jax.__version__,
            "device": jax.default_backend(),
            "models": {
                "dub": actions.dubbing.names,
                "animate": actions.animation.names,
                "sync": actions.sync.names,
            },
        }

    @app.head("/api/health", include_in_schema=False)
    @app.get("/api/health", tags=["server"])
    def health() -> JSONResponse:
        """Returns the status with HTTP status 503 until the model is loaded, for containers."""
        return JSONResponse(status(), 200 if actions.status == "ready" else 503)
