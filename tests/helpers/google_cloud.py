"""A bucket of Google Cloud Storage on loopback: the part of its JSON API that clients here use."""

import base64
import itertools
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from google_crc32c import value as crc32c


class Blob(NamedTuple):
    data: bytes
    generation: int


class Store:
    """The objects of one bucket. Conditions on generations hold, on which OCDBT relies."""

    def __init__(self, bucket):
        self.bucket, self.blobs, self.uploads = bucket, {}, {}
        self.lock, self.count = threading.RLock(), itertools.count(1)

    def resource(self, name):
        blob = self.blobs[name]
        crc = base64.b64encode(crc32c(blob.data).to_bytes(4, "big")).decode()
        return {
            "kind": "storage#object",
            "id": f"{self.bucket}/{name}/{blob.generation}",
            "name": name,
            "bucket": self.bucket,
            "generation": str(blob.generation),
            "metageneration": "1",
            "size": str(len(blob.data)),
            "crc32c": crc,
            "etag": crc,
            "storageClass": "STANDARD",
            "contentType": "application/octet-stream",
            "timeCreated": "2026-01-01T00:00:00.000Z",
            "updated": "2026-01-01T00:00:00.000Z",
        }

    def put(self, name, data):
        self.blobs[name] = Blob(data, next(self.count))
        return self.resource(name)

    def generation(self, name):
        return self.blobs[name].generation if name in self.blobs else 0

    def list(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        start, end = query.get("startOffset", ""), query.get("endOffset")
        start = max(start, query.get("pageToken", ""))
        items, prefixes = [], set()
        for name in sorted(self.blobs):
            if not name.startswith(prefix) or name < start or (end and name >= end):
                continue
            if delimiter and delimiter in name[len(prefix) :]:
                rest = name[len(prefix) :]
                prefixes.add(prefix + rest[: rest.index(delimiter) + 1])
            else:
                items.append(self.resource(name))
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)}


def handler(store):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, content=b"", **headers):
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            headers.setdefault("Content_Type", "application/json")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def missing(self):
            self.answer(404, {"error": {"code": 404, "message": "Not Found"}})

        def respond(self):
            length = int(self.headers.get("Content-Length") or 0)
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(length)
            url = urlsplit(self.path)
            query = {k: v[-1] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
            with store.lock:
                self.route(self.command, url.path, query, body)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = respond

        def route(self, method, path, query, body):
            if path.startswith("/batch/"):
                return self.batch(body)
            match = re.fullmatch(
                r"(/upload|/download)?(?:/storage/v1)?/b/([^/]+)(?:/o(?:/(.+))?)?/?", path
            )
            if match is None or match[2] != store.bucket:
                return self.missing()
            if match[1] == "/upload":
                return self.upload(query, body)
            name = match[3]
            if name is None:
                listing = "/o" in path.rpartition(match[2])[2]
                bucket = {"kind": "storage#bucket", "name": store.bucket, "id": store.bucket}
                return self.answer(200, store.list(query) if listing else bucket)
            if copy := re.fullmatch(r"(.+)/(?:rewriteTo|copyTo)/b/[^/]+/o/(.+)", name):
                source, target = unquote(copy[1]), unquote(copy[2])
                if source not in store.blobs:
                    return self.missing()
                resource = store.put(target, store.blobs[source].data)
                size = resource["size"]
                done = {"done": True, "objectSize": size, "totalBytesRewritten": size}
                return self.answer(200, {**done, "resource": resource})
            return self.object(method, unquote(name), query, match[1] == "/download")

        def refused(self, name, query):
            """Answers if a condition on the object's generation does not hold."""
            generation = store.generation(name)
            if int(query.get("ifGenerationMatch", generation)) != generation:
                self.answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
                return True
            if query.get("ifGenerationNotMatch") == str(generation):
                self.answer(304)
                return True
            return False

        def object(self, method, name, query, download):
            if self.refused(name, query):
                return None
            if name not in store.blobs:
                return self.missing()
            if method == "DELETE":
                del store.blobs[name]
                return self.answer(204)
            if not download and query.get("alt") != "media":
                return self.answer(200, store.resource(name))
            data, generation = store.blobs[name]
            headers = {
                "x_goog_generation": str(generation),
                "x_goog_metageneration": "1",
                "x_goog_stored_content_length": str(len(data)),
                "Content_Type": "application/octet-stream",
            }
            asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if not asked:
                return self.answer(200, data, **headers)
            first, last = asked[1], asked[2]
            begin = int(first) if first else max(0, len(data) - int(last))
            end = min(int(last) + 1, len(data)) if first and last else len(data)
            if begin >= len(data):
                return self.answer(416, b"", Content_Range=f"bytes */{len(data)}")
            headers["Content_Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
            return self.answer(206, data[begin:end], **headers)

        def upload(self, query, body):
            kind, name = query["uploadType"], query.get("name", "")
            if kind == "resumable" and "upload_id" not in query:
                name = name or json.loads(body)["name"]
                key = str(next(store.count))
                store.uploads[key] = (name, query, b"")
                where = f"http://{self.headers['Host']}{urlsplit(self.path).path}"
                location = f"{where}?uploadType=resumable&upload_id={key}"
                return self.answer(200, {}, Location=location)
            if kind == "resumable":
                return self.resume(query["upload_id"], body)
            if kind == "multipart":
                boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1]
                _, first, second = body.split(f"--{boundary}".encode())[:3]
                metadata = json.loads(re.split(rb"\r?\n\r?\n", first, maxsplit=1)[1])
                name = metadata["name"]
                body = re.split(rb"\r?\n\r?\n", second, maxsplit=1)[1]
                body = re.sub(rb"\r?\n\Z", b"", body)
            if self.refused(name, query):
                return None
            return self.answer(200, store.put(name, body))

        def resume(self, key, body):
            name, query, before = store.uploads[key]
            data = before + body
            store.uploads[key] = (name, query, data)
            total = self.headers.get("Content-Range", "/").rpartition("/")[2]
            if total == "*" or (total and len(data) < int(total)):
                return self.answer(308, b"", Range=f"bytes=0-{len(data) - 1}")
            if self.refused(name, query):
                return None
            return self.answer(200, store.put(name, data))

        def batch(self, body):
            """Deletes several objects in one request."""
            parts = []
            for number, path in enumerate(re.findall(rb"DELETE (\S+) HTTP", body), 1):
                name = unquote(urlsplit(path.decode()).path.partition("/o/")[2])
                found = store.blobs.pop(name, None) is not None
                status = "204 No Content" if found else "404 Not Found"
                parts.append(
                    "--batch\r\nContent-Type: application/http\r\n"
                    f"Content-ID: <response-{number}>\r\n\r\nHTTP/1.1 {status}\r\n"
                    "Content-Length: 0\r\n\r\n\r\n"
                )
            content = "".join([*parts, "--batch--\r\n"]).encode()
            self.answer(200, content, Content_Type="multipart/mixed; boundary=batch")

    return Handler


class Server(ThreadingHTTPServer):
    """Serves one bucket on a free port."""

    daemon_threads = True

    def __init__(self, bucket):
        super().__init__(("127.0.0.1", 0), handler(Store(bucket)))

    def handle_error(self, request, client_address):
        """Clients close connections early."""

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
