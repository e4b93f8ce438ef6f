"""Paths of buckets, against emulators on loopback, what is refused, and local files."""

import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lipsync_jax import paths


@pytest.fixture(params=["gs", "s3"])
def bucket(request):
    return request.getfixturevalue(request.param)


def test_local_paths_stay_what_they_are():
    assert paths.parse("runs/a") == Path("runs/a")
    assert paths.parse(Path("/runs/a")) == Path("/runs/a")
    assert paths.parse("file:///runs/a") == Path("/runs/a")
    assert paths.parse("C:/runs") == Path("C:/runs")  # a drive, no scheme
    assert not paths.is_bucket("runs/a") and not paths.is_bucket("file:///a")
    found = [paths.bucket_scheme(path) for path in ("GS://b/a", "s3:/b/a", "runs/a", "file:///a")]
    assert found == ["gs", "s3", "", ""]


@pytest.mark.parametrize("path", ["foo://x/y", "http://x/y", "hdfs:/x", Path("foo://x")])
def test_unknown_schemes_are_refused_with_the_option(path):
    with pytest.raises(ValueError, match=r"--workdir=.*unknown; give a local path, gs://"):
        paths.parse(path, "--workdir")


def test_a_bucket_needs_a_name():
    with pytest.raises(ValueError, match="--out=gs:// names no bucket"):
        paths.parse("gs://", "--out")


def test_a_missing_library_is_named_with_the_command(monkeypatch):
    import fsspec

    def missing(scheme):
        raise ImportError(scheme)

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(ValueError, match=r"gcsfs .*not installed.*lipsync_jax\[buckets\]"):
        paths.parse("gs://bucket/x")


def test_pathlib_and_a_bucket_mean_the_same(gs):
    assert os.fspath(paths.parse(Path(f"{gs}/run"))) == f"{gs}/run"
    assert paths.same(f"{gs}/run", f"{gs}/run/") and not paths.same(f"{gs}/run", "run")
    assert paths.absolute(f"{gs}/run").parent == paths.parse(gs)


def test_files_of_a_bucket(bucket, tmp_path):
    root = paths.parse(f"{bucket}/files")
    for name in ("a.txt", "deep/b.txt", "deep/er/b.txt"):
        paths.write_text(root / name, name)
    assert paths.files(root) == {"a.txt": 5, "deep/b.txt": 10, "deep/er/b.txt": 13}
    assert paths.find(root, "b.txt") == [root / "deep/b.txt", root / "deep/er/b.txt"]
    assert paths.size(root / "a.txt") == 5
    copy = paths.download(root, tmp_path)
    assert paths.files(copy) == paths.files(root)
    assert paths.download(root / "deep/b.txt", tmp_path / "one").read_text() == "deep/b.txt"
    (copy / "deep/cache").mkdir()
    (copy / "deep/cache/c").write_text("c")
    assert paths.upload(copy, paths.parse(f"{bucket}/copy"), leave_out=("cache",)) == 3
    assert paths.files(paths.parse(f"{bucket}/copy")) == paths.files(root)
    paths.move_folder(root / "deep", root / "moved")
    assert [*paths.files(root)] == ["a.txt", "moved/b.txt", "moved/er/b.txt"]
    paths.remove_tree(root)
    assert not paths.files(root)
    paths.remove_tree(root, ignore_errors=True)


def test_what_is_missing_or_too_large_is_one_sentence(gs, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=f"{gs}/none does not exist"):
        paths.download(paths.parse(f"{gs}/none"), tmp_path)
    paths.write_text(paths.parse(f"{gs}/large"), "x" * 100)
    monkeypatch.setattr(paths.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(OSError, match="room for 0 MB: make room"):
        paths.download(paths.parse(f"{gs}/large"), tmp_path)


def test_a_bucket_that_is_not_there_is_named(bucket):
    paths.require_access(f"{bucket}/run", "--workdir")
    with pytest.raises(ValueError, match=r"--workdir=.*can't be reached .*give access with"):
        paths.require_access(f"{bucket}-of-nobody/run", "--workdir")


def test_a_copy_in_the_cache_is_made_once_and_follows_the_bucket(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = paths.parse(f"{s3}/shards")
    paths.write_text(root / "a", "one")
    copy = paths.cached_copy(root)
    monkeypatch.setattr(paths, "download", None)
    assert paths.cached_copy(root) == copy and (copy / "a").read_text() == "one"
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    paths.write_text(root / "b", "two")
    assert [*paths.files(paths.cached_copy(root))] == ["a", "b"]
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]  # nothing half copied


@pytest.mark.parametrize("listing", [[], FileNotFoundError("no such folder")])
def test_who_may_only_list_objects_has_access(gs, monkeypatch, listing):
    def ls(_):
        if isinstance(listing, Exception):
            raise listing
        return listing

    def exists(_):
        raise PermissionError("storage.buckets.get is denied")

    monkeypatch.setattr(paths, "_filesystem", lambda _: SimpleNamespace(exists=exists, ls=ls))
    paths.require_access(f"{gs}/run", "--workdir")
    monkeypatch.setattr(paths, "_filesystem", lambda _: SimpleNamespace(exists=exists, ls=exists))
    with pytest.raises(ValueError, match=r"storage\.buckets\.get is denied"):
        paths.require_access(f"{gs}/run", "--workdir")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_file_on_a_full_disk_is_named(tmp_path):
    (tmp_path / "table.txt").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*table\.txt'"):
        paths.write_text(tmp_path / "table.txt", "a")
    with pytest.raises(OSError, match=r"device: '.*table\.txt'"), paths.naming_file(tmp_path):
        paths.write_text(tmp_path / "table.txt", "a")


def test_processes_that_write_one_file_do_not_share_a_partial_one(tmp_path, monkeypatch):
    file, replace = tmp_path / "a.json", Path.replace

    def replace_late(partial, target):
        monkeypatch.setattr(Path, "replace", replace)
        paths.write_text(file, "of another process")
        return replace(partial, target)

    monkeypatch.setattr(Path, "replace", replace_late)
    paths.write_text(file, "own")
    assert file.read_text() == "own" and [*tmp_path.iterdir()] == [file]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    paths.write_text(file, "old")
    paths.write_text(file, "caf\udce9", errors="backslashreplace")
    assert file.read_text() == r"caf\udce9"

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        paths.write_bytes(file, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert file.read_text() == r"caf\udce9"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a device and links")
def test_devices_and_links_are_written_through(tmp_path):
    paths.write_text(Path(os.devnull), "text")
    assert not Path(os.devnull).is_file()
    link, file = tmp_path / "link", tmp_path / "file"
    file.touch()
    link.symlink_to(file)
    paths.write_text(link, "text")
    assert link.is_symlink() and file.read_text() == "text"


def test_without_a_home_there_is_no_cache(monkeypatch):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(OSError):
        paths.user_cache().mkdir(parents=True)


@pytest.mark.parametrize(
    ("require", "make", "words"),
    [
        (paths.require_file, Path.mkdir, "is a folder"),
        (paths.require_file, None, "does not exist"),
        (paths.require_folder, Path.touch, "is a file"),
        (paths.require_folder, None, "does not exist"),
    ],
)
def test_what_is_no_file_or_folder_is_told(tmp_path, require, make, words):
    path = tmp_path / "given"
    if make:
        make(path)
    with pytest.raises(FileNotFoundError, match=f"given {words}; give a CSV file"):
        require(path, "a CSV file")
