import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.live import recorder as recorder_module
from lipsync_jax.live.faces import Plan, PreparedFace
from lipsync_jax.live.recorder import Recorder
from lipsync_jax.live.voice import BLOCK
from lipsync_jax.media import audio, video_reader
from lipsync_jax.provenance import metadata
from tests.helpers.live_faces import CodedFace, read_code, write_code


@pytest.fixture
def release(monkeypatch):
    """An event until which the disk of recorders, whose queues hold 5 items, writes nothing."""
    event = threading.Event()
    write = recorder_module.VideoWriter.write

    def slow_write(self, *args):
        event.wait(20)
        write(self, *args)

    monkeypatch.setattr(recorder_module.VideoWriter, "write", slow_write)
    monkeypatch.setattr(recorder_module, "_QUEUE", 5)
    return event


@pytest.mark.parametrize("is_sound_first", [False, True])
def test_a_recording_has_picture_and_sound_in_step_and_the_tag(tmp_path, is_sound_first):
    face = PreparedFace("anna", CodedFace(), Plan(0.01, 25.0), "0123456789ab", "a credit")
    recorder = Recorder(face, tmp_path / "new")
    recorder.start()
    assert recorder.is_recording
    for block in range(100):  # 2 s of session time, from 1 s on; a click at 1.5 s
        first = 48_000 + block * BLOCK
        samples = np.zeros(BLOCK, np.int16)
        samples[:48] = 20_000 * (first == 72_000)
        if is_sound_first:
            recorder.add_sound(samples, first)
        if block % 2 == 0:
            number = 25 + block // 2
            recorder.add_picture(write_code(number, face.streaming.size), Fraction(number, 25))
        if not is_sound_first:
            recorder.add_sound(samples, first)
    path = recorder.stop()
    assert path.parent == tmp_path / "new" and not recorder.is_recording
    codes = [read_code(frame.image) for frame in video_reader.read_frames(path)]
    assert codes == [*range(25, 75)]
    samples, rate = audio.load(path)
    assert abs(np.argmax(np.abs(samples)) / rate - 0.5) < 0.005
    tag = metadata.read(path)
    assert tag.model_hash == "0123456789ab" and tag.credit == "a credit"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_an_empty_recording_leaves_no_file(tmp_path):
    face = PreparedFace("anna", CodedFace(), Plan(0.01, 25.0), "0123456789ab")
    recorder = Recorder(face, tmp_path)
    recorder.start()
    assert recorder.stop() is None and "no frame was written" in str(recorder.error)
    assert not [*tmp_path.iterdir()]
    assert recorder.stop() is None


def test_a_slow_disk_ends_the_recording_and_is_told(tmp_path, release):
    face = PreparedFace("anna", CodedFace(), Plan(0.01, 25.0), "0123456789ab")
    recorder = Recorder(face, tmp_path)
    recorder.start()
    thread = recorder._thread
    for number in range(10):
        recorder.add_picture(write_code(number, face.streaming.size), Fraction(number, 25))
        recorder.add_sound(np.zeros(BLOCK, np.int16), number * BLOCK)
    assert not recorder.is_recording and recorder.stop() is None
    assert "ended early" in str(recorder.error)
    release.set()
    thread.join(20)
    assert len([*tmp_path.glob("*.mp4")]) == 1 and not thread.is_alive()


def test_a_full_disk_ends_the_recording_at_once(tmp_path, monkeypatch):
    def fail(self, *args):
        raise OSError("no space left")

    monkeypatch.setattr(recorder_module.VideoWriter, "write", fail)
    face = PreparedFace("anna", CodedFace(), Plan(0.01, 25.0), "0123456789ab")
    recorder = Recorder(face, tmp_path)
    recorder.start()
    recorder.add_picture(write_code(0, face.streaming.size), Fraction(0))
    recorder._thread.join(20)
    assert not recorder.is_recording and recorder.stop() is None
    assert str(recorder.error) == "no space left"


def test_stopping_does_not_wait_for_room_in_the_queue(tmp_path, release):
    face = PreparedFace("anna", CodedFace(), Plan(0.01, 25.0), "0123456789ab")
    recorder = Recorder(face, tmp_path)
    recorder.start()
    items = recorder._items
    recorder.add_picture(write_code(0, face.streaming.size), Fraction(0))
    while items.qsize():
        time.sleep(0.01)
    for number in range(1, 5):
        recorder.add_picture(write_code(number, face.streaming.size), Fraction(number, 25))
    recorder.add_sound(np.zeros(BLOCK, np.int16), 0)
    assert items.full() and recorder.is_recording
    threading.Timer(0.2, release.set).start()
    path = recorder.stop()
    assert len([*video_reader.read_frames(path)]) == 5
