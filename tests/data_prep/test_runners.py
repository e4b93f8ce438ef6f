"""Shards do not depend on who extracted the clips, nor on how often the run was killed."""

import dataclasses
import importlib.machinery
import signal
import subprocess
import sys
import textwrap
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from array_record.python import array_record_module
from tensorflow_datasets.proto import tf_example_pb2

from lipsync_jax.data import loader
from lipsync_jax.data_prep import beam_runner, decision, prepare, worker_pool
from lipsync_jax.data_prep.corpora import Video
from lipsync_jax.data_prep.settings import ExtractionSettings, RunnerSettings
from tests.helpers import corpus_trees, talking
from tests.helpers.colour_faces import CRASH_COLOUR, buzz, detect_or_crash, face_image, square_box
from tests.helpers.colour_faces import write_video as write_faces

ROOT = Path(__file__).parents[2]
SETTINGS = ExtractionSettings(**{**corpus_trees.SETTINGS, "sync_model": talking.sync_model})
BEAM = RunnerSettings("beam")


@pytest.fixture
def raw(tmp_path):
    """Five talking videos, one of them out of step, and a file that is none."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(5):
        speech = talking.random_speech_mask(60, seed=number)
        samples = talking.speech_audio(speech)
        talking.write_talking_video(folder / f"{number}.mkv", speech, np.roll(samples, 640 * 2))
    (folder / "text.avi").write_text("not a video\n" * 50)
    return folder


def contents(out):
    """Returns relative path -> bytes of shards and index."""
    folder = loader.find_dataset(str(out), "face96")
    files = [p for p in folder.rglob("*") if "array_record" in p.name or p.suffix == ".npy"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.mark.slow
def test_shards_are_equal_with_any_number_of_processes(raw, tmp_path):
    reports = [
        prepare.prepare(
            [raw], tmp_path / str(n), settings=SETTINGS, runner=RunnerSettings(workers=n)
        )
        for n in (0, 2)
    ]
    expected = contents(tmp_path / "0")
    assert len(expected) == 3 * 5 and contents(tmp_path / "2") == expected
    counts = reports[0]["stages"]["sync offset"]
    assert counts["changed"] == {"audio shifted by -2 frames": 5}
    for one, two in zip(*(report["stages"].values() for report in reports), strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_beam_writes_equal_shards(raw, tmp_path):
    pytest.importorskip("apache_beam")
    prepare.prepare([raw], tmp_path / "local", settings=SETTINGS)
    report = prepare.prepare([raw], tmp_path / "beam", settings=SETTINGS, runner=BEAM)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")
    assert report["rejected_by_reason"] == {"unreadable": 1}
    assert report["videos_from_cache"] == 0


def stand_in_for_beam(monkeypatch, **members):
    """Replaces Apache Beam by a module with some members."""
    names = {
        "apache_beam": members,
        "apache_beam.options": {},
        "apache_beam.options.pipeline_options": {"PipelineOptions": list},
    }
    for name, each in names.items():
        module = types.ModuleType(name)
        vars(module).update(each, __spec__=importlib.machinery.ModuleSpec(name, None))
        monkeypatch.setitem(sys.modules, name, module)


class Step:
    """A step of a pipeline that has run when it has been made."""

    def __init__(self, function):
        self.function = function

    def __rrshift__(self, label):
        return self

    def __ror__(self, collection):
        return self.function(collection)


class Pipeline:
    """A pipeline of such steps."""

    def __init__(self, options):
        pass

    def run(self):
        return self

    def wait_until_finish(self):
        pass


def test_videos_that_a_beam_pipeline_extracts_are_not_of_an_earlier_run(raw, tmp_path, monkeypatch):
    stand_in_for_beam(
        monkeypatch,
        Pipeline=Pipeline,
        Create=lambda items: Step(lambda _: items),
        Reshuffle=lambda: Step(lambda items: items),
        FlatMap=lambda function: Step(lambda items: [v for each in items for v in function(each)]),
        Map=lambda function, *rest: Step(lambda items: [function(each, *rest) for each in items]),
    )
    monkeypatch.setattr(beam_runner, "_VIDEOS_PER_LIST", 2)
    settings = dataclasses.replace(SETTINGS, sync_model="none")

    def videos_from_cache(settings):
        report = prepare.prepare([raw], tmp_path / "out", settings=settings, runner=BEAM)
        return report["videos_from_cache"]

    (raw / "4.mkv").rename(tmp_path / "4.mkv")
    assert [videos_from_cache(settings) for _ in range(2)] == [0, 4]
    (tmp_path / "4.mkv").rename(raw / "4.mkv")
    assert videos_from_cache(settings) == 4
    assert videos_from_cache(dataclasses.replace(settings, smoothing=7)) == 0
    assert not list((tmp_path / "out").rglob("*.pickle"))


def test_the_program_of_a_beam_pipeline_does_not_grow_with_the_videos(tmp_path):
    videos = [Video(tmp_path / f"{n:06d}.mkv", f"{n:06d}", "s") for n in range(2500)]
    lists = beam_runner._write_lists(videos, tmp_path / "lists")
    assert len(lists) == 3
    assert [v for file in lists for v in beam_runner._read_list(file)] == videos


@pytest.mark.parametrize(
    ("given", "runner"), [([], "FnApiRunner"), (["--runner=DirectRunner"], "=DirectRunner")]
)
def test_workers_are_processes_of_beam_on_this_machine(given, runner, tmp_path, monkeypatch):
    made = []
    stand_in_for_beam(monkeypatch, Pipeline=lambda options: made.extend(options) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        beam_runner.fill_cache([], "folder", SETTINGS, tmp_path, 3, given)
    assert made[0].endswith(runner)
    assert made[1:] == ["--direct_running_mode=multi_processing", "--direct_num_workers=3"]


def test_a_beam_pipeline_that_cannot_be_made_leaves_no_thread(tmp_path, monkeypatch):
    """Such a thread would keep the program from ending."""

    def fail(options):
        raise ValueError(f"unknown {options}")

    stand_in_for_beam(monkeypatch, Pipeline=fail)
    before = set(threading.enumerate())
    with pytest.raises(ValueError, match="unknown"):
        beam_runner.fill_cache([], "folder", SETTINGS, tmp_path, 0, ["--runner=Moon"])
    assert set(threading.enumerate()) <= before
    with pytest.raises(ValueError, match=r"temp_location.*direct_num_workers=3"):
        beam_runner.fill_cache([], "folder", SETTINGS, tmp_path, 3, ["--temp_location=/tmp/a"])


def test_processes_of_beam_use_one_thread_each(tmp_path, monkeypatch):
    """The sums of a network depend on the number of threads, and shards must be equal."""
    called = []
    monkeypatch.setattr(worker_pool, "use_one_thread", lambda: called.append("one thread"))
    monkeypatch.setattr(worker_pool, "extract_one", lambda video, *_: called.append(video.video_id))
    for launcher in (beam_runner._process(), ("another-host", 1)):
        video = Video(tmp_path / "a.mkv", "a", "s")
        beam_runner._extract(video, "folder", SETTINGS, tmp_path, launcher)
    assert called == ["a", "one thread", "a"]


def test_beam_is_asked_for_where_it_is_missing(raw, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'lipsync_jax\[beam\]'"):
        prepare.prepare([raw], tmp_path / "out", settings=SETTINGS, runner=BEAM)
    with pytest.raises(ValueError, match="--beam-options are of --runner beam"):
        prepare.prepare(
            [raw], tmp_path / "out", runner=RunnerSettings(beam_options=["--runner=FlinkRunner"])
        )


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import numpy as np
    from lipsync_jax.data_prep import builder, clip_cache, prepare
    from tests.data_prep.test_runners import SETTINGS

    def die_in_a_shard(path, records):
        Path(path).write_bytes(b"half of a shard")
        os.kill(os.getpid(), signal.SIGKILL)

    def die_in_the_cache(stream, **arrays):
        savez(stream, **arrays)
        die_in_the_cache.left -= 1
        if not die_in_the_cache.left:
            stream.truncate(100)
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    savez, die_in_the_cache.left = np.savez, 3
    raw, out, where = sys.argv[1:]
    if where == "cache":
        np.savez = die_in_the_cache
    else:
        builder._UncompressedShards.write_examples = die_in_a_shard
    prepare.prepare([Path(raw)], Path(out), settings=SETTINGS)
"""


def test_other_thresholds_read_no_video_again(raw, tmp_path, monkeypatch):
    (raw / "text.avi").unlink()  # what can't be read is tried again
    expected = prepare.prepare([raw], tmp_path / "new", settings=SETTINGS)
    out, stricter = tmp_path / "out", dataclasses.replace(SETTINGS, max_sync_offset=1)
    report = prepare.prepare([raw], out, settings=stricter)
    assert report["rejected_by_reason"] == {"sync offset too large": 5} and not report["data"]
    monkeypatch.setattr(worker_pool, "read_candidates", None)
    report = prepare.prepare([raw], out, settings=SETTINGS)
    assert report["videos_from_cache"] == 5
    assert contents(out) == contents(tmp_path / "new")
    for one, two in zip(*(each["stages"].values() for each in (report, expected)), strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}
    # Features of the clips are in the cache now.
    monkeypatch.setattr(decision, "compute_features", None)
    for changes, used in (({"min_sharpness": 1e9}, 0), ({"min_sharpness": 1.0}, 5)):
        settings = dataclasses.replace(SETTINGS, **changes)
        assert prepare.prepare([raw], out, settings=settings)["videos_used"] == used


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_shard_and_resumes(raw, tmp_path):
    prepare.prepare([raw], tmp_path / "whole", settings=SETTINGS)
    out = tmp_path / "out"
    for where, cached in (("cache", 2), ("shards", 5)):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(raw), str(out), where]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == -signal.SIGKILL, run.stderr
        assert len(list(out.rglob("cache/*.npz"))) == cached
        with pytest.raises(FileNotFoundError, match="no prepared data set"):
            loader.find_dataset(str(out), "face96")
    report = prepare.prepare([raw], out, settings=SETTINGS)
    assert report["videos_from_cache"] == 5
    assert contents(out) == contents(tmp_path / "whole")
    left = [p.name for p in out.rglob("*") if "incomplete" in p.name or p.suffix == ".part"]
    assert not left


def test_equal_clips_give_equal_records_in_every_process(raw, tmp_path):
    """Protobuf sorts a map only if asked to, and the order differs between processes."""
    settings = dataclasses.replace(SETTINGS, sync_model="none")
    folder = Path(prepare.prepare([raw], tmp_path, settings=settings)["data"])
    (shard,) = folder.glob("*train.array_record*")
    reader = array_record_module.ArrayRecordReader(str(shard))
    for record in reader.read_all():
        example = tf_example_pb2.Example.FromString(record)
        assert record == example.SerializeToString(deterministic=True)


def test_a_data_set_stays_until_the_next_one_is_complete(raw, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare.prepare([raw], out, settings=SETTINGS)
    before = contents(out)
    (raw / "4.mkv").unlink()

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(prepare.builder, "write_shards", fail)
    with pytest.raises(OSError, match="disk is full"):
        prepare.prepare([raw], out, settings=SETTINGS)
    assert contents(out) == before


def test_a_video_that_kills_its_process_is_counted_in_its_stage(tmp_path):
    for name, ground in (("a", CRASH_COLOUR), ("b", (9, 9, 9))):
        images = [face_image(square_box(20), background=ground)] * 12
        write_faces(tmp_path / f"{name}.mkv", images, buzz(0.48))
    settings = dataclasses.replace(SETTINGS, detector=detect_or_crash, sync_model="none")
    report = prepare.prepare(
        [tmp_path], tmp_path / "out", settings=settings, runner=RunnerSettings(workers=1)
    )
    assert report["stages"]["25 fps"]["dropped"] == {"unreadable": 1}
    assert report["stages"]["25 fps"]["out"] == report["stages"]["shards"]["out"] == 1
