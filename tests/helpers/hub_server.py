"""A hub of checkpoints on this machine, as `huggingface_hub` asks for the files of a folder."""

import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = "someone/models"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def serve(folder: Path, requests: list[str]) -> Iterator[str]:
    """Serves a folder as REPOSITORY; yields the address; adds `METHOD path` to `requests`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            requests.append(f"{self.command} {path}")
            api, files = f"/api/models/{REPOSITORY}", f"/{REPOSITORY}/resolve/{COMMIT}/"
            if path in (f"{api}/revision/main", f"{api}/revision/v1"):
                names = [{"rfilename": name} for name in _files(folder)]
                self._send(json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": names}), body)
            elif path == f"{api}/tree/{COMMIT}":
                found = _files(folder).items()
                entries = [
                    {"type": "file", "path": name, "size": len(data), "oid": _hash(data)}
                    for name, data in found
                ]
                self._send(json.dumps(entries), body)
            elif path.startswith(files) and path.removeprefix(files) in _files(folder):
                self._send(_files(folder)[path.removeprefix(files)], body)
            else:
                code = "RevisionNotFound" if path.startswith(f"{api}/revision") else "RepoNotFound"
                self._send("{}", body, 404, {"X-Error-Code": code, "X-Error-Message": "not found"})

        def _send(
            self, data: str | bytes, body: bool, status: int = 200, more: dict | None = None
        ) -> None:
            data = data.encode() if isinstance(data, str) else data
            self.send_response(status)
            known = {"Content-Length": str(len(data)), "Content-Type": "application/json"}
            known |= {"ETag": f'"{_hash(data)}"', "X-Repo-Commit": COMMIT, **(more or {})}
            for name, value in known.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                with contextlib.suppress(BrokenPipeError):  # who asks for the headers only
                    self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _hash(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
