import errno
import os

import pytest

from lipsync_jax import folder_lock


def hold(folder, **options):
    return folder_lock.hold(folder, lambda holder: f"used by {holder.text}", "wait", **options)


@pytest.mark.parametrize(
    ("first_is_shared", "second_is_shared", "both"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_only_shared_locks_are_held_together(first_is_shared, second_is_shared, both, tmp_path):
    with hold(tmp_path, shared=first_is_shared):
        if both:
            with hold(tmp_path, shared=second_is_shared):
                pass
        else:
            with pytest.raises(ValueError, match=rf"used by process {os.getpid()} on .*, since"):
                with hold(tmp_path, shared=second_is_shared):
                    pass
    with hold(tmp_path):
        assert len((tmp_path / folder_lock.LOCK_FILE).read_text().splitlines()) == 1


def test_a_folder_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(folder_lock.fcntl, "flock", fail)
    with hold(tmp_path):
        pass
    assert "can't be locked ([Errno 95] Operation not supported): wait" in caplog.text


def test_a_full_disk_is_told_with_the_locks_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*\.lock'"), hold(tmp_path):
        pass
