"""`lipsync live`: a face that speaks while a microphone, a file or a program does, in a browser."""

import argparse
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_jax import web_guard
from lipsync_jax.cli import _parser, _terminal

if TYPE_CHECKING:
    from lipsync_jax.live.session import Live

_ICE_SERVER = re.compile(r"stuns?:[^:?\s]+(:\d{1,5})?")
_MAX_REQUEST = 1 << 20  # bytes of a request or a message
_EXAMPLE = """\
example:
  lipsync live --face face.mp4

then open the address that it prints. Any - of an option may be written as _.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync live`."""
    parser.epilog = _EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--checkpoint-path", type=_parser.checkpoint, metavar="DIR",
        help="a dubbing network, no animator: a training run's workdir, or a folder that "
        "`lipsync convert` wrote (default: the built-in model)",
    )  # fmt: skip
    parser.add_argument("--face", type=Path, nargs="+", required=True,
                        help="videos or images of faces; the page offers each")  # fmt: skip
    parser.add_argument("--audio", type=Path, help="a recording that the page may play")
    parser.add_argument("--quality", default="good",
                        help="fast, good (default) or best, as of `lipsync dub`")  # fmt: skip
    parser.add_argument("--max-height", type=int, default=480, metavar="PIXELS",
                        help="rows of the frames, at most (default: 480)")  # fmt: skip
    parser.add_argument(
        "--label", default="synthetic", metavar="TEXT",
        help="written on every frame (default: synthetic; '' for none)",
    )  # fmt: skip
    parser.add_argument("--max-viewers", type=int, default=1, metavar="N",
                        help="sessions at a time (default: 1)")  # fmt: skip
    parser.add_argument("--codec", choices=("h264", "vp8"), default="h264",
                        help="offered first (default: h264)")  # fmt: skip
    parser.add_argument(
        "--ice-server", action="append", default=[], metavar="URL",
        help="a STUN server, stun:HOST:PORT; none is needed on one network",
    )  # fmt: skip
    parser.add_argument("--record-dir", type=Path, default=Path("results"), metavar="DIR",
                        help="folder of recordings (default: results)")  # fmt: skip
    parser.add_argument(
        "--host", default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, this machine only)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=7861, help="0: any (default: 7861)")
    parser.add_argument(
        "--allow-network", action="store_true",
        help="accept a --host that other machines reach; whoever reaches it can use the face",
    )  # fmt: skip
    parser.add_argument("--detector", default="auto",
                        help="face detector, as of `lipsync dub` (default: auto)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Prepares the faces and serves the page until Ctrl-C; returns the exit status.

    Raises:
        FileNotFoundError, ValueError: a file, an option or the address can't be used.
    """
    check(arguments)
    try:
        import aiortc  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ValueError(
            f"{error.name} is missing; install it with: pip install 'lipsync_jax[live]'"
        ) from error
    with web_guard.listen(arguments.host, arguments.port) as listener:
        live = prepare(arguments)
        config = uvicorn.Config(
            make_app(live, arguments.host), log_level="warning", ws_max_size=_MAX_REQUEST,
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        address = web_guard.url(arguments.host, listener)
        print(f"open {address}live/   (Ctrl-C ends it)", flush=True)
        if not web_guard.is_local(arguments.host):
            print("other machines reach this address; browsers there give a microphone only to "
                  "https pages", flush=True)  # fmt: skip
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def check(arguments: argparse.Namespace) -> None:
    """Checks options and files before slow work.

    Raises:
        FileNotFoundError, ValueError: see `run`.
    """
    from lipsync_jax.media import containers
    from lipsync_jax.synthesis import driving_audio
    from lipsync_jax.synthesis.options import DubbingOptions

    for path in arguments.face:
        containers.check_file(path)
    if arguments.audio is not None:
        driving_audio.duration(arguments.audio)

    DubbingOptions.from_quality(arguments.quality, detector=arguments.detector)
    for url in arguments.ice_server:
        if not _ICE_SERVER.fullmatch(url):
            raise ValueError(
                f"--ice-server {url}: give the address of a STUN server, stun:HOST:PORT"
            )
    names = [path.name for path in arguments.face]
    if len({*names}) < len(names):
        raise ValueError("--face: two files have one name; the page could not tell them apart")
    if arguments.max_viewers < 1 or arguments.max_height < 64:
        raise ValueError("--max-viewers must be at least 1, and --max-height at least 64")
    if not web_guard.is_local(arguments.host) and not arguments.allow_network:
        raise ValueError(
            f"--host {arguments.host} is reachable from other machines, and the page asks for no "
            "password; add --allow-network if that is meant"
        )


def prepare(arguments: argparse.Namespace) -> "Live":
    """Loads the model and prepares the faces."""
    from lipsync_jax.live import faces
    from lipsync_jax.live.session import Live
    from lipsync_jax.media import prefetch
    from lipsync_jax.synthesis.dubbing import LipSyncPipeline

    def tell(text: str) -> None:
        print(text, flush=True)

    prefetch.limit_malloc_arenas()
    _terminal.quiet()
    for name in ("aioice", "aiortc"):  # a line for every candidate
        logging.getLogger(name).setLevel(logging.WARNING)
    pipeline = LipSyncPipeline.load(arguments.checkpoint_path)
    prepared = {}
    for path in arguments.face:
        face = faces.prepare(
            pipeline, path, max_height=arguments.max_height, label=arguments.label, on_step=tell,
            quality=arguments.quality, detector=arguments.detector,
        )  # fmt: skip
        prepared[face.name] = face
        tell(f"{face.name}: {face.plan.describe()}")
    return Live(
        prepared,
        audio_path=arguments.audio,
        max_viewers=arguments.max_viewers,
        ice_servers=arguments.ice_server,
        codec=arguments.codec,
        record_folder=arguments.record_dir,
    )


def make_app(live: "Live", host: str) -> "web_guard.Guard":
    """Returns the guarded app that `lipsync live` serves on an address."""
    from fastapi import FastAPI
    from fastapi.responses import RedirectResponse

    from lipsync_jax.live import server

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await live.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/")
    async def root() -> RedirectResponse:
        return RedirectResponse("/live/")

    app.mount("/live", server.create_app(live))
    return web_guard.Guard(app, web_guard.host_names(host), _MAX_REQUEST)
