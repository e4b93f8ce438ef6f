"""`lipsync web`: serves a page for dubbing, animation and sync on this machine."""

import argparse
import contextlib
import os
import re
import socket
import threading
import time
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_jax.cli import _parser

if TYPE_CHECKING:
    from lipsync_jax.web.jobs import JobQueue
    from lipsync_jax.web_guard import App

_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_PERIODS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_EXTRA = "the page needs more packages: pip install 'lipsync_jax[web]'"
_LABEL = "AI-generated lip movements"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync web`."""
    parser.add_argument(
        "--checkpoint-path", type=_parser.checkpoint, action="append", default=[], metavar="DIR",
        help="a dubbing model; may be repeated (default: the built-in model)",
    )  # fmt: skip
    parser.add_argument("--animator", type=_parser.checkpoint, action="append", default=[],
                        metavar="DIR",
                        help="a model that animates pictures; may be repeated")  # fmt: skip
    parser.add_argument("--sync-model", type=_parser.checkpoint, metavar="DIR",
                        help="measures sync (default: the built-in model)")  # fmt: skip
    parser.add_argument("--work", type=Path, metavar="DIR", default=Path("lipsync_web"),
                        help="folder of uploads and jobs (default: %(default)s)")  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1",
                        help="address (default: %(default)s, this machine only)")  # fmt: skip
    parser.add_argument("--port", type=int, default=7860, help="default: %(default)s")
    parser.add_argument("--max-upload", type=_size, metavar="SIZE", default=2 * 10**9,
                        help="largest accepted file, e.g. 500MB (default: 2GB)")  # fmt: skip
    parser.add_argument("--keep", type=_period, metavar="PERIOD", default=7 * 86_400,
                        help="of ended jobs, e.g. 12h or 30d (default: 7d)")  # fmt: skip
    parser.add_argument("--auth", metavar="USER:FILE",
                        help="ask for this name and for the password in this file")  # fmt: skip
    parser.add_argument(
        "--without-password", action="store_true",
        help="with another --host: let everyone who reaches the port use the page",
    )  # fmt: skip
    parser.add_argument("--open-browser", action="store_true", help="open the page when it answers")


def run(arguments: argparse.Namespace) -> int:
    """Serves the page until it is interrupted."""
    from lipsync_jax import web_guard
    from lipsync_jax.cli import _terminal
    from lipsync_jax.training import run_lock

    credentials = read_credentials(arguments.auth) if arguments.auth else None
    local = web_guard.is_local(arguments.host)
    if not local and credentials is None and not arguments.without_password:
        raise ValueError(
            f"--host {arguments.host} lets other machines upload files and run jobs: give --auth "
            "USER:FILE, or --without-password if the network is trusted"
        )
    if _is_incomplete():
        raise ValueError(_EXTRA)
    _terminal.quiet()
    check_models(arguments)
    work: Path = arguments.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as cleanup:
        try:
            cleanup.enter_context(run_lock.acquire(work))
        except ValueError as error:
            raise ValueError(
                f"--work {arguments.work} is used by another `lipsync web`; name another folder"
            ) from error
        listener = cleanup.enter_context(web_guard.listen(arguments.host, arguments.port))
        address = web_guard.url(arguments.host, listener)
        app, queue = make_app(arguments, work, local, credentials)
        cleanup.callback(queue.close)
        _serve(app, listener, address, arguments.open_browser, work)
    return 0


def check_models(arguments: argparse.Namespace) -> None:
    """Checks that the named folders hold checkpoints, which are loaded later.

    Raises:
        FileNotFoundError, ValueError: one does not.
    """
    from lipsync_jax.training import checkpoint_folder

    sync_models = [arguments.sync_model] if arguments.sync_model else []
    for folder in (*arguments.checkpoint_path, *arguments.animator, *sync_models):
        if not checkpoint_folder.is_exported(folder):
            checkpoint_folder.resolve_checkpoint(folder)


def make_app(
    arguments: argparse.Namespace,
    work: Path,
    local: bool = True,
    credentials: tuple[str, str] | None = None,
) -> "tuple[App, JobQueue]":
    """Makes the whole application: guard, page, HTTP interface, queue.

    Args:
        arguments: of the command line.
        work: folder of uploads and jobs; exists.
        local: whether only this machine can reach the server; else frames get a visible label.
        credentials: user and password.
    """
    set_environment(work)
    import gradio as gr

    from lipsync_jax.web import live_faces, page, server
    from lipsync_jax.web.actions import Actions
    from lipsync_jax.web.jobs import JobQueue
    from lipsync_jax.web.submission import Submitter
    from lipsync_jax.web_guard import Guard, host_names

    sync_models = [arguments.sync_model] if arguments.sync_model else []
    actions = Actions(work, arguments.checkpoint_path, arguments.animator, sync_models)
    queue = JobQueue(work / "jobs", actions.run, arguments.keep)
    live = live_faces.LiveFaces(actions, work / "live") if live_faces.is_available() else None
    submitter = Submitter(actions, queue, label="" if local else _LABEL)
    app = server.create_app(submitter, work, live)
    blocks = page.Page(submitter, work, live).build()
    mounted = gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        max_file_size=arguments.max_upload,
        allowed_paths=[],
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        **page.settings(),
    )
    threading.Thread(target=actions.load, name="lipsync model", daemon=True).start()
    guarded = Guard(mounted, host_names(arguments.host), arguments.max_upload, credentials)
    return guarded, queue


def set_environment(work: Path) -> None:
    """Keeps gradio's files in the work folder, and gradio from calling other hosts.

    To be called before gradio is imported. Values that the user set are kept, but for the folder:
    files outside of the work folder are refused.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(work / "uploads" / "page")
    for name, value in {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }.items():
        os.environ.setdefault(name, value)


def _is_incomplete() -> bool:
    """Returns whether a package of the extra is missing."""
    import importlib.util

    return any(importlib.util.find_spec(name) is None for name in ("gradio", "fastapi", "uvicorn"))


def read_credentials(text: str) -> tuple[str, str]:
    """Reads USER:FILE; returns the name and the password.

    Raises:
        ValueError: the text is not of that form, or the file holds no password.
    """
    user, _, file = text.partition(":")
    try:
        password = Path(file).read_text(encoding="utf-8").strip() if user and file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--auth {text}: the password can't be read ({error})") from error
    if not password:
        raise ValueError(f"--auth {text}: give a name, a colon and a file that holds a password")
    return user, password


def _serve(
    app: "App", listener: socket.socket, address: str, open_browser: bool, work: Path
) -> None:
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,  # pages keep connections open
        )
    )

    def tell() -> None:
        while not server.started:
            time.sleep(0.05)
        print(f"{address}  (files in {work}; Ctrl-C ends)", flush=True)
        if open_browser:
            webbrowser.open(address)

    threading.Thread(target=tell, daemon=True).start()
    server.run(sockets=[listener])


def _size(text: str) -> int:
    return _amount(text.upper().removesuffix("B"), _SIZES, "a size such as 500MB or 2GB")


def _period(text: str) -> int:
    return _amount(text.lower(), _PERIODS, "a period such as 12h or 7d")


def _amount(text: str, units: Mapping[str, int], what: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]?)", text)
    if not found or found[2] not in units:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return round(float(found[1]) * units[found[2]])
