"""Paths that users give: local ones, and those of buckets, gs:// and s3://.

A path of a bucket is an `etils.epath.Path`, which has the methods of `pathlib.Path` that are used
in this project; the functions below are for what these methods lack. Programs that read or write
local files only, like FFmpeg and OpenCV, get a copy, see `download` and `upload`.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

log = logging.getLogger(__name__)
SCHEMES = {"gs": "gcsfs", "s3": "s3fs"}  # -> the library that reads and writes it
FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})  # numbers of errors
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):/+(.*)", re.DOTALL)  # C:/ is a drive
_ACCESS = {
    "gs": "`gcloud auth application-default login`, or a service account of the machine",
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role of the machine",
}


def parse(path: str | os.PathLike, option: str = "") -> Path:
    """Returns the path that a user gave.

    Args:
        path: a local path, file:///PATH, gs://BUCKET/PATH or s3://BUCKET/PATH. `pathlib` makes one
            slash of two; such a path is read as a bucket's too.
        option: name of the option that has the path, for errors.

    Returns:
        A pathlib.Path, or an etils.epath.Path with the same methods.

    Raises:
        ValueError: the scheme is unknown, the bucket has no name, or the library that reads such
            buckets is not installed.
    """
    text = os.fspath(path)
    match = _URL.fullmatch(text)
    if match is None:
        return Path(path)
    scheme, rest = match[1].lower(), match[2]
    given = f"{option}={text}" if option else text
    if scheme == "file":
        return Path("/", rest)
    if scheme == "hf":
        raise ValueError(
            f"{given}: hf:// addresses name checkpoints; give a local path, gs://BUCKET/PATH or "
            "s3://BUCKET/PATH"
        )
    if scheme not in SCHEMES:
        raise ValueError(
            f"{given}: paths of the scheme {scheme}:// are unknown; give a local path, "
            "gs://BUCKET/PATH or s3://BUCKET/PATH"
        )
    if not rest.strip("/"):
        raise ValueError(f"{given} names no bucket; give {scheme}://BUCKET/PATH")
    _require_library(scheme, given)
    from etils import epath

    return cast(Path, epath.Path(f"{scheme}://{rest}"))


def parse_checkpoint(path: str | os.PathLike, option: str = "") -> Path:
    """Returns the path of a checkpoint, which may be an address of the Hugging Face Hub.

    Args:
        path: see `parse`; or hf://OWNER/REPOSITORY, see `hub.parse`, which is not fetched yet.
        option: see `parse`.

    Returns:
        See `parse`; an address as a path that `hub.local` reads.

    Raises:
        ValueError: see `parse`, `hub.parse` and `hub.require_library`.
    """
    from lipsync_jax import hub  # --help needs none

    if not hub.is_address(path):
        return parse(path, option)
    address = hub.parse(path, option)
    hub.require_library(address)
    return Path(str(address))


def bucket_scheme(path: str | os.PathLike) -> str:
    """Returns a bucket's scheme, `gs` or `s3`; an empty text for other paths."""
    match = _URL.fullmatch(os.fspath(path))
    return match[1].lower() if match and match[1].lower() in SCHEMES else ""


def is_bucket(path: str | os.PathLike) -> bool:
    """Returns whether a path is one of a bucket."""
    return bool(bucket_scheme(path))


def absolute(path: str | os.PathLike, option: str = "") -> Path:
    """Returns the absolute path; see `parse`."""
    parsed = parse(path, option)
    return parsed if is_bucket(parsed) else parsed.absolute()


def same(one: str | os.PathLike, other: str | os.PathLike) -> bool:
    """Returns whether two spellings name one file or folder."""
    if is_bucket(one) or is_bucket(other):
        return os.fspath(one).rstrip("/") == os.fspath(other).rstrip("/")
    return Path(one).resolve() == Path(other).resolve()


def require_access(path: str | os.PathLike, option: str) -> None:
    """Reads a bucket once, so that a wrong name or missing credentials show before any work.

    Raises:
        ValueError: the bucket can't be read; says why and what gives access.
    """
    if not is_bucket(path):
        return
    parsed = parse(path, option)
    scheme, bucket = _split(parsed)[:2]
    reason = _why_unreadable(parsed, bucket)
    if reason is not None:
        raise ValueError(
            f"{option}={path} can't be reached ({reason}): correct the name, or give access with "
            f"{_ACCESS[scheme]}"
        )


def _why_unreadable(path: Path, bucket: str) -> str | None:
    filesystem = _filesystem(path)
    try:
        found = filesystem.exists(bucket)
        return None if found else f"there is no bucket {bucket}, or it is not yours to read"
    except Exception as error:  # each library and cloud has its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    try:  # who may not see the bucket itself may see what is in it
        filesystem.ls(_key(path))
    except FileNotFoundError:
        return None
    except Exception:
        return reason
    return None


def kvstore(folder: Path) -> dict[str, Any]:
    """Returns the TensorStore spec of a folder, which exists; its path ends with a slash."""
    if is_bucket(folder):
        scheme, bucket, key = _split(folder)
        driver = {"gs": "gcs", "s3": "s3"}[scheme]
        spec = {"driver": driver, "bucket": bucket, "path": f"{key}/"}
        if scheme == "s3" and (endpoint := os.environ.get("AWS_ENDPOINT_URL")):
            spec["endpoint"] = endpoint
        return spec
    return {"driver": "file", "path": f"{os.path.abspath(folder)}/"}


def size(file: Path) -> int:
    """Returns the bytes of a file."""
    return file.stat().length if is_bucket(file) else file.stat().st_size  # type: ignore[attr-defined]


def sha256(file: Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def files(folder: Path) -> dict[str, int]:
    """Returns the files below a folder, by their relative paths, -> bytes; sorted."""
    if is_bucket(folder):
        return {name: int(entry["size"]) for name, entry in _objects(folder).items()}
    paths = (Path(at, name) for at, _, names in os.walk(folder) for name in names)
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in paths if p.is_file()}
    return dict(sorted(sizes.items()))


def checksums(folder: Path) -> dict[str, str]:
    """Returns the CRC-32C of the files that `files` lists, of gs://: Google Cloud computes it."""
    return {name: str(entry.get("crc32c")) for name, entry in _objects(folder).items()}


def find(folder: Path, name: str) -> list[Path]:
    """Returns the files of one name below a folder, sorted."""
    if is_bucket(folder):
        return [folder / path for path in files(folder) if path.rpartition("/")[2] == name]
    return sorted(folder.rglob(name))


def remove_tree(folder: Path, ignore_errors: bool = False) -> None:
    """Removes a folder and all it holds."""
    if not is_bucket(folder):
        shutil.rmtree(folder, ignore_errors=ignore_errors)
        return
    try:
        _filesystem(folder).rm(_key(folder), recursive=True)
    except Exception:
        if not ignore_errors:
            raise


def move_folder(folder: Path, target: Path) -> None:
    """Renames a folder; a bucket copies and removes its files. Replaces the target."""
    if target.exists():
        remove_tree(target)
    if is_bucket(folder):
        filesystem, root, new_root = _filesystem(folder), _key(folder), _key(target)
        for name in files(folder):
            filesystem.cp_file(f"{root}/{name}", f"{new_root}/{name}")
        remove_tree(folder)
    else:
        folder.rename(target)


def require_file(path: str | os.PathLike, wanted: str, shown: str = "") -> None:
    """Raises FileNotFoundError unless a local path is a file.

    Args:
        path: of the file.
        wanted: what to give instead, for the error.
        shown: the path in the error, by default as given.
    """
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise FileNotFoundError(f"{shown or path} {what}; give {wanted}")


def require_folder(path: Path, wanted: str) -> None:
    """Raises FileNotFoundError unless a path is a folder; `wanted` is what to give instead."""
    if not path.is_dir():
        what = "is a file" if path.is_file() else "does not exist"
        raise FileNotFoundError(f"{path} {what}; give {wanted}")


def write_text(file: Path, text: str, errors: str = "strict") -> None:
    """Writes a text file, UTF-8, whole or not at all; `errors` is as of `str.encode`."""
    data = text.encode(errors=errors)
    if is_bucket(file):  # an object appears when it is complete
        file.write_bytes(data)
        return
    write_bytes(file, data)


def write_bytes(file: Path, data: bytes) -> None:
    """Writes a local file whole or not at all; through a link, a device or a pipe directly.

    A link may be /dev/stdout.
    """
    if file.is_symlink() or (file.exists() and not file.is_file()):
        with naming_file(file):
            file.write_bytes(data)
        return
    # Processes may write one file at the same time; the last one to finish is as good.
    partial = file.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with naming_file(file):
            partial.write_bytes(data)
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def naming_file(file: Path) -> Iterator[None]:
    """Names a file in errors of writing to it, which name none where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = os.fspath(file)
        raise


def download(path: Path, folder: Path) -> Path:
    """Copies a file, or all files of a folder, of a bucket into a local folder; returns the copy.

    Raises:
        FileNotFoundError: the bucket has no such file.
        OSError: the local disk has not enough room.
    """
    filesystem, root = _filesystem(path), _key(path)
    target = folder / root.rpartition("/")[2]
    if filesystem.isfile(root):
        wanted = {"": int(filesystem.size(root))}
    else:
        wanted = files(path)
    if not wanted:
        raise FileNotFoundError(f"{path} does not exist; name a file or a folder of the bucket")
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = sum(wanted.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{path} has {needed >> 20} MB, and {folder} has room for {free >> 20} MB: make room, "
            "or name a folder of another disk with TMPDIR"
        )
    copies = [target / name if name else target for name in wanted]
    for local in copies:
        local.parent.mkdir(parents=True, exist_ok=True)
    sources = [f"{root}/{name}" if name else root for name in wanted]
    filesystem.get(sources, [str(local) for local in copies])
    return target


def user_cache() -> Path:
    """Returns the folder of the user's caches, of all programs.

    Users without a home, as in some containers, get a folder that can't be made: callers then do
    without a cache. A folder of everybody's temporary files could be another user's.
    """
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return Path(os.devnull, ".cache")


def cached_copy(folder: Path) -> Path:
    """Returns a local copy of a bucket's folder, which later calls and runs find again.

    Raises:
        FileNotFoundError, OSError: see `download`.
    """
    url = os.fspath(folder).rstrip("/")
    name = hashlib.blake2b(url.encode(), digest_size=12).hexdigest()
    target = user_cache() / "lipsync_jax" / "buckets" / name
    wanted = files(folder)
    if target.is_dir() and files(target) == wanted:
        return target
    log.info("copying %d files, %d MB, of %s", len(wanted), sum(wanted.values()) >> 20, url)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Processes of one host may copy at the same time; the last one to finish is as good.
    partial = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=target.parent))
    try:
        copy = download(folder, partial)
        shutil.rmtree(target, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process was faster
            copy.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def upload(source: Path, target: Path, leave_out: tuple[str, ...] = ()) -> int:
    """Copies a local file, or all files of a local folder, to a path of a bucket.

    Args:
        source: file or folder.
        target: of the bucket; has the contents of `source` afterwards.
        leave_out: names of files and folders that are not copied.

    Returns:
        The number of files.
    """
    filesystem, root = _filesystem(target), _key(target)
    if source.is_file():
        filesystem.put_file(str(source), root)
        return 1
    names = [name for name in files(source) if not set(name.split("/")) & {*leave_out}]
    filesystem.put([str(source / name) for name in names], [f"{root}/{name}" for name in names])
    return len(names)


def _require_library(scheme: str, given: str) -> None:
    import fsspec

    # Orbax and TensorStore write to buckets too: a listing in a cache would not have their files.
    for protocol in ("gcs", "gs", "s3"):
        fsspec.config.conf.setdefault(protocol, {}).setdefault("use_listings_cache", False)
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{given}: {SCHEMES[scheme]} reads {scheme}:// and is not installed; run "
            "pip install 'lipsync_jax[buckets]'"
        ) from error


def _split(path: Path) -> tuple[str, str, str]:
    """Returns scheme, bucket and the path in it, without slashes around."""
    scheme, _, rest = os.fspath(path).partition("://")
    bucket, _, key = rest.partition("/")
    return scheme, bucket, key.strip("/")


def _key(path: Path) -> str:
    """Returns a bucket's path as fsspec names it."""
    return "/".join(filter(None, _split(path)[1:]))


def _objects(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns what a bucket tells of the files below a folder, by their relative paths; sorted."""
    root = _key(folder)
    found = _filesystem(folder).find(root, detail=True)
    entries = {name[len(root) + 1 :]: entry for name, entry in sorted(found.items())}
    # Some programs mark folders by objects of no bytes whose names end with a slash.
    return {name: entry for name, entry in entries.items() if name and name[-1] != "/"}


def _filesystem(path: Path) -> Any:
    """Returns the file system that `etils.epath` uses, so that both see the same listings."""
    from etils.epath import backend

    return backend.fsspec_backend.fs(os.fspath(path))
