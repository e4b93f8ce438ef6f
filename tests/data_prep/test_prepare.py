import concurrent.futures
import dataclasses
import errno
import json
import os
import shutil
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lipsync_jax.cli import main
from lipsync_jax.data import loader
from lipsync_jax.data_prep import builder, corpora, prepare, splits, worker_pool
from lipsync_jax.data_prep.corpora import grid, layout
from lipsync_jax.data_prep.extract_clips import read_candidates
from lipsync_jax.data_prep.settings import ExtractionSettings, RunnerSettings, SplitSettings
from lipsync_jax.data_prep.synthetic.face import FaceState, Identity, Portrait
from tests.helpers import corpus_trees
from tests.helpers.colour_faces import (
    CRASH_COLOUR,
    buzz,
    detect_or_crash,
    face_image,
    square_box,
    write_video,
)

SETTINGS = ExtractionSettings(**corpus_trees.SETTINGS)
ONE_WORKER = RunnerSettings(workers=1)


@pytest.fixture
def raw(tmp_path):
    """Five good videos and four unusable ones."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(5):
        write_video(
            folder / f"good {number}.mkv", [face_image(square_box(4 * number))] * 12, buzz(0.48)
        )
    write_video(folder / "mute.mkv", [face_image(square_box(20))] * 12)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.avi").write_text("not a video\n" * 50)
    whole = (folder / "good 0.mkv").read_bytes()
    (folder / "cut short.mkv").write_bytes(whole[:300])
    return folder


def ids(out, split):
    clips = loader.ClipDataSource(loader.find_dataset(str(out), "face96"), split)
    return {clips[i].clip_id for i in range(len(clips))}


def test_good_videos_become_a_data_set_and_bad_ones_are_reported(raw, tmp_path):
    report = prepare.prepare([raw], tmp_path / "out", settings=SETTINGS)
    assert report["videos"] == 9
    assert report["videos_used"] == 5
    assert report["rejected_by_reason"] == {"unreadable": 3, "no audio": 1}
    assert {item["clip_id"] for item in report["rejected"]} == {
        "cut short",
        "empty",
        "mute",
        "text",
    }
    assert json.loads((tmp_path / "out/folder/face96/report.json").read_text()) == report
    for split in prepare.SPLITS:
        expected = {name for name, where in report["video_splits"].items() if where == split}
        assert ids(tmp_path / "out", split) == expected
        assert report["splits"][split]["clips"] == len(expected) > 0
    text = prepare.format_report(report)
    assert "5 of 9 videos used" in text
    assert "no audio, e.g. mute" in text


@pytest.mark.parametrize("every", [1, 4])
def test_the_fraction_of_frames_with_a_face_does_not_depend_on_every(every, tmp_path):
    nobody = np.zeros_like(face_image(square_box(0)))
    write_video(tmp_path / "a.mkv", [*[face_image(square_box(0))] * 24, *[nobody] * 8], buzz(1.28))
    settings = dataclasses.replace(SETTINGS, detect_every=every)
    report = prepare.prepare([tmp_path], tmp_path / "out", settings=settings)
    assert report["frames_with_face"] == pytest.approx(0.75, abs=0.04)


def test_a_user_corpus_module_names_the_data_set(tmp_path):
    write_video(tmp_path / "raw" / "a.mkv", [face_image(square_box(0))] * 12, buzz(0.48))
    (tmp_path / "mine.py").write_text(
        "from lipsync_jax.data_prep.corpora import folder\n"
        "find, words = folder.find, folder.words\n"
    )
    corpus = str(tmp_path / "mine.py")
    report = prepare.prepare([tmp_path / "raw"], tmp_path / "out", corpus, SETTINGS)
    assert report["corpus"] == "mine" and "/out/mine/face96/" in report["data"]


def test_an_interrupted_run_resumes(raw, tmp_path, monkeypatch):
    extracted = []

    def interrupted(source, *rest):
        if len(extracted) == 4:
            raise KeyboardInterrupt
        extracted.append(source.video_id)
        return read_candidates(source, *rest)

    def counted(source, *rest):
        extracted.append(source.video_id)
        return read_candidates(source, *rest)

    out = tmp_path / "out"
    monkeypatch.setattr(worker_pool, "read_candidates", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare([raw], out, settings=SETTINGS)
    monkeypatch.setattr(worker_pool, "read_candidates", counted)
    report = prepare.prepare([raw], out, settings=SETTINGS)
    good = [name for name in extracted if name.startswith("good")]
    assert sorted(good) == sorted(set(good)) == sorted(report["video_splits"])

    # Nothing new: only what could not be read is tried again, and the shards stay.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.array_record*")}
    extracted.clear()
    prepare.prepare([raw], out, settings=SETTINGS)
    assert sorted(extracted) == ["cut short", "empty", "text"]
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.array_record*")}

    # A new video comes in.
    write_video(raw / "late.mkv", [face_image(square_box(30))] * 12, buzz(0.48))
    grown = prepare.prepare([raw], out, settings=SETTINGS)
    everything = set.union(*(ids(out, split) for split in prepare.SPLITS))
    assert everything == set(grown["video_splits"]) == {*report["video_splits"], "late"}


def test_splits_are_by_hash_and_never_move():
    names = [f"s{i}" for i in range(400)]
    chosen = splits.split_groups(names, 0.1, 0.1)
    counts = {split: list(chosen.values()).count(split) for split in prepare.SPLITS}
    assert 25 <= counts["test"] <= 55
    assert 25 <= counts["validation"] <= 55
    # The hash never changes, so that data sets of different versions can be compared.
    assert [name for name in names[:20] if chosen[name] == "test"] == ["s1"]
    half = splits.split_groups(names[::2], 0.1, 0.1)
    assert half.items() <= chosen.items()
    assert splits.split_groups(reversed(names), 0.1, 0.1) == chosen


def test_papers_test_on_the_same_speakers_where_they_are_there():
    def assign(numbers, split_by="auto"):
        videos = {f"s{n}/{i}": f"s{n}" for n in numbers for i in "ab"}
        return splits.assign_splits(videos, split_by, grid.TEST_SPEAKERS, 0.2, 0.1)

    split_by, chosen = assign([*range(1, 21), *range(22, 35)])
    assert split_by == "published"
    tested = {video.partition("/")[0] for video, name in chosen.items() if name == "test"}
    assert tested == grid.TEST_SPEAKERS and set(chosen.values()) == set(prepare.SPLITS)
    assert assign([1])[0] == assign([1, 2])[0] == "video"
    assert assign([2, 1], "published")[1] == {
        "s1/a": "train", "s1/b": "train", "s2/a": "test", "s2/b": "test"
    }  # fmt: skip
    others = [n for n in range(1, 35) if f"s{n}" not in grid.TEST_SPEAKERS]
    assert assign(others)[0] == "speaker"
    with pytest.raises(ValueError, match=r"some of the corpus' published test speakers \(s11"):
        assign(others, "published")


@pytest.mark.parametrize("count", range(6))
def test_small_corpora_get_every_split_if_they_can(count):
    chosen = list(splits.split_groups([str(i) for i in range(count)], 0.1, 0.1).values())
    assert set(chosen) == set(prepare.SPLITS if count >= 3 else ["train"][:count])
    assert "test" not in splits.split_groups(["a", "b", "c", "d"], 0.5, 0).values()


def test_many_speakers_are_kept_apart(tmp_path):
    for speaker in range(10):
        (tmp_path / f"raw/p{speaker}").mkdir(parents=True)
        for number in range(2):
            path = tmp_path / f"raw/p{speaker}/{number}.mkv"
            write_video(path, [face_image(square_box(20))] * 10, buzz(0.4))
    report = prepare.prepare([tmp_path / "raw"], tmp_path / "out", settings=SETTINGS)
    assert report["split_by"] == "speaker"
    for speaker in range(10):
        assert len({report["video_splits"][f"p{speaker}/{n}"] for n in range(2)}) == 1


def test_a_video_that_kills_its_process_costs_no_other(tmp_path):
    (tmp_path / "raw").mkdir()
    for name, ground in (("a", CRASH_COLOUR), ("b", (9, 9, 9)), ("c", (9, 9, 9))):
        write_video(
            tmp_path / f"raw/{name}.mkv",
            [face_image(square_box(20), background=ground)] * 12,
            buzz(0.48),
        )
    settings = dataclasses.replace(SETTINGS, detector=detect_or_crash)
    report = prepare.prepare(
        [tmp_path / "raw"], tmp_path / "out", settings=settings, runner=ONE_WORKER
    )
    assert sorted(report["video_splits"]) == ["b", "c"]
    (rejected,) = report["rejected"]
    assert rejected["clip_id"] == "a"
    assert "its process died" in rejected["detail"]
    assert not list((tmp_path / "out").rglob("*.in_progress"))


def test_few_videos_wait_in_the_pool(tmp_path, monkeypatch):
    begun, threads = [], concurrent.futures.ThreadPoolExecutor

    def summary(video, *_):
        begun.append(video.video_id)
        return worker_pool.ExtractionSummary(video.video_id, "s", {}, ())

    monkeypatch.setattr(worker_pool, "extract_one", summary)
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", lambda n, *_: threads(n))
    videos = [corpora.Video(tmp_path, f"{number:03d}", "s") for number in range(100)]
    results = worker_pool.extract_all(videos, "folder", SETTINGS, tmp_path, workers=2)
    first = next(results).video_id
    assert len(begun) <= 2 * 4 * 2  # two processes, and as many begin as have ended
    assert sorted([first, *(each.video_id for each in results)]) == [v.video_id for v in videos]
    assert sorted(begun) == [v.video_id for v in videos]


def test_the_command_prepares_real_looking_faces(tmp_path, capsys):
    portrait = Portrait(Identity.sample(np.random.default_rng(2)), 60)
    mouths = [0.0, 0.3, 0.6, 0.3]
    images = [
        np.ascontiguousarray(
            portrait.render(FaceState(opening=m, jaw=m), (160, 160), (-2.6, -2.45, 2.6, 2.75))[
                ..., ::-1
            ]
        )
        for m in mouths
    ]
    (tmp_path / "raw").mkdir()
    for name in "abc":
        write_video(tmp_path / f"raw/{name}.mkv", images * 8, buzz(1.28, 8000), rate=8000)
    arguments = ["--input", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--workers", "0"]
    arguments += ["--sync-model", "none"]
    assert main.main(["prepare", *arguments, "--json"]) == 0
    output = capsys.readouterr()
    assert "3 of 3 videos used" in output.err
    report = json.loads(output.out)
    file = Path(report.pop("report"))
    assert file == tmp_path / "out/folder/face96/report.json"
    assert report == json.loads(file.read_text()) and report["videos_used"] == 3
    clip = loader.ClipDataSource(loader.find_dataset(str(tmp_path / "out"), "face96"), "train")[0]
    assert len(clip.frames) == 32
    assert clip.frame_rate == Fraction(25)
    assert (len(clip.audio), clip.audio_rate) == (32 * 320, 8000)
    mouth_rows = clip.landmarks[:, 3:, 1]
    assert (mouth_rows > 48).all() and (mouth_rows < 90).all()


def test_the_command_reports_errors(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main.main(["prepare", "--input", str(tmp_path / "none"), "--out", out, "--json"]) == 1
    output = capsys.readouterr()
    assert "none does not exist" in output.err
    assert "none does not exist" in json.loads(output.out)["error"]
    (tmp_path / "a.mp4").write_bytes(b"")
    arguments = ["--input", str(tmp_path), "--out", out, "--workers", "0", "--sync-model", "none"]
    assert main.main(["prepare", *arguments]) == 1
    printed, error = capsys.readouterr()
    assert "unreadable, e.g. a" in printed
    assert "no clip could be made" in printed
    assert "no clip could be made; rejected: 1 unreadable\n" in error
    for wrong, message in (
        (["--test", "1"], "nothing to train on"),
        (["--detect-every", "0"], "step"),
        (["--smoothing", "4"], "--smoothing 4: a centred average needs an odd number"),
        (["--sync-model", "moon"], "--sync-model moon does not exist; name a run of"),
        (["--max-sync-offset", "15"], "give 0 to 14"),
        (["--low-sync-confidence", "guess"], "choose drop or keep"),
        (["--quality", "0"], "--quality 0: JPEG has 1 to 100"),
        (["--shards", "0"], "--shards 0: a split needs at least one file"),
    ):
        arguments = ["prepare", "--input", str(tmp_path), "--out", out, *wrong]
        assert main.main(arguments) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match="choose auto"):
        prepare.prepare([tmp_path], tmp_path / "out", split=SplitSettings("moon"))


def test_options_of_the_pipeline_that_cannot_be_split_are_named(tmp_path, capsys):
    arguments = ["--input", str(tmp_path), "--out", str(tmp_path / "out"), "--runner", "beam"]
    assert main.main(["prepare", *arguments, "--beam-options=--name='a"]) == 1
    assert '--beam-options "--name=\'a": no closing quotation' in capsys.readouterr().err


def test_more_shards_than_clips_are_refused(raw, tmp_path):
    with pytest.raises(ValueError, match=r"--shards 4: the split .* has 1 clips; give at most 1"):
        prepare.prepare([raw], tmp_path / "out", settings=SETTINGS, shards=4)
    assert prepare.prepare([raw], tmp_path / "out", settings=SETTINGS, shards=1)["data"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("command", [["prepare", "--input", "in"], ["synthetic"]])
def test_an_output_folder_that_is_not_utf8_is_refused_at_once(command, tmp_path, capsys):
    out = os.fsdecode(b"caf\xe9")
    assert main.main([*command, "--out", str(tmp_path / out)]) == 1
    assert "caf\\udce9 is not UTF-8" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), "interrupted; what was read of the videos is kept"),
        (OSError(errno.ENOSPC, "No space left on device"), "out is full: make room; what was read"),
        (OSError(errno.EROFS, "Read-only file system", "out/a"), "--out out can't be written to"),
        (OSError(errno.EACCES, "Permission denied", "in/a.mp4"), "Permission denied: 'in/a.mp4'"),
    ],
)
def test_the_command_says_what_to_do_about_the_disk_and_interrupts(
    error, message, monkeypatch, capsys
):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(prepare, "prepare", fail)
    status = main.main(["prepare", "--input", "in", "--out", "out", "--workers", "1"])
    assert status == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert message in capsys.readouterr().err


def test_a_full_disk_is_told_by_its_number(tmp_path, monkeypatch):
    """ArrayRecord raises RuntimeError."""

    class Writer:
        def __init__(self, *_):
            raise RuntimeError("write() failed: No space left on device; writing shard")

    monkeypatch.setattr(builder.array_record_module, "ArrayRecordWriter", Writer)
    with pytest.raises(OSError, match="No space left") as caught:
        builder._UncompressedShards.write_examples(tmp_path / "shard", [])
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "shard"))


def test_a_run_without_a_clip_leaves_an_older_data_set_and_its_report(raw, tmp_path):
    out = tmp_path / "out"
    made = prepare.prepare([raw], out, settings=SETTINGS)
    kept = [path for path in out.rglob("*") if path.is_file() and "cache" not in path.parts]
    files = {path: path.read_bytes() for path in kept}
    strict = dataclasses.replace(SETTINGS, min_sharpness=1e9)
    report = prepare.prepare([raw], out, settings=strict)
    assert (report["data"], report["older_data"]) == (None, made["data"])
    assert files == {path: path.read_bytes() for path in kept}
    folder = out / "folder" / "face96"
    assert json.loads((folder / "report_no_clip.json").read_text()) == report
    text = prepare.format_report(report)
    assert f"older   {made['data']}, of an earlier run, stays as it is" in text
    error = prepare.no_clip_error(report)
    assert f"The data set of an earlier run, {made['data']}, stays as it is" in error
    # The report of the data set still tells that the first options would make an equal one.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.array_record*")}
    again = prepare.prepare([raw], out, settings=SETTINGS)
    assert again["data"] == made["data"] and again["older_data"] is None
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.array_record*")}
    assert not (folder / "report_no_clip.json").exists()


def test_a_run_killed_at_its_report_keeps_the_shards(raw, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare.prepare([raw], out, settings=SETTINGS)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.array_record*")}

    def killed(path, data, *_, **__):
        with path.open("w") as file:
            file.write(str(data)[:50])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        for name in ("write_text", "write_bytes"):
            patch.setattr(Path, name, killed)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare([raw], out, settings=SETTINGS)
    prepare.prepare([raw], out, settings=SETTINGS)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.array_record*")}


def test_copies_are_found_by_content(tmp_path):
    for name, data in {"b": b"one", "a": b"one", "c": b"two", "d": b"three", "e": b"one"}.items():
        (tmp_path / name).write_bytes(data)
    paths = {path.name: path for path in tmp_path.iterdir()}
    assert splits.find_duplicates(paths) == {"b": "a", "e": "a"}


def test_files_are_read_whole_only_where_their_ends_are_equal(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        splits, "_content", lambda path: read.append(path.name) or path.read_bytes()
    )
    middle, start, end = (bytes(5000) for _ in range(3))
    for name, data in {
        "a": start + middle + end,
        "b": b"1" + start[1:] + middle + end,
        "c": start + middle + end[1:] + b"1",
        "d": start + b"1" + middle[1:] + end,
        "e": start + middle + end,
        "f": start + middle,
    }.items():
        (tmp_path / name).write_bytes(data)
    paths = {path.name: path for path in tmp_path.iterdir()}
    assert splits.find_duplicates({**paths, "part of a": paths["a"]}) == {
        "e": "a",
        "part of a": "a",
    }
    assert sorted(read) == ["a", "d", "e"]  # each once


def test_many_copies_are_assigned_in_linear_time():
    speakers = {f"v{i:05d}": f"s{i:05d}" for i in range(40_000)}
    copies = {f"v{i + 1:05d}": f"v{i:05d}" for i in range(0, 40_000, 4)}
    started = time.process_time()
    _, chosen = splits.assign_splits(speakers, "speaker", (), 0.1, 0.1, copies)
    assert all(chosen[a] == chosen[b] for a, b in copies.items())
    repeated = layout.with_unique_ids([corpora.Video(Path(), "a", "s")] * 10_000)
    assert repeated[-1].video_id == "a~10000"
    assert time.process_time() - started < 2


def test_copies_never_sit_in_two_splits():
    videos = {f"v{i}": "s" for i in range(60)}
    copies = {f"v{i + 1}": f"v{i}" for i in range(0, 40, 2)}
    _, alone = splits.assign_splits(videos, "video", (), 0.3, 0.3)
    _, chosen = splits.assign_splits(videos, "video", (), 0.3, 0.3, copies)
    assert any(alone[a] != alone[b] for a, b in copies.items())
    assert all(chosen[a] == chosen[b] for a, b in copies.items())
    assert all(chosen[v] == alone[v] for v in videos if int(v[1:]) >= 40)
    # By speaker, speakers that share a file stay together, also through several files.
    videos = {f"s{i}/{n}": f"s{i}" for i in range(30) for n in "ab"}
    copies = {"s3/a": "s1/a", "s3/b": "s2/a", "s9/b": "s7/b"}
    _, chosen = splits.assign_splits(videos, "speaker", (), 0.3, 0.3, copies)
    for group in (("s1", "s2", "s3"), ("s7", "s9")):
        assert len({chosen[f"{s}/{n}"] for s in group for n in "ab"}) == 1
    # A speaker that shares a file with a published test speaker is a test speaker too.
    _, chosen = splits.assign_splits(videos, "published", {"s7"}, 0.2, 0, copies)
    assert {v for v, name in chosen.items() if name == "test"} == {
        "s7/a", "s7/b", "s9/a", "s9/b"
    }  # fmt: skip


def test_a_copied_folder_names_its_own_data_set(raw, tmp_path):
    prepare.prepare([raw], tmp_path / "out", settings=SETTINGS)
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.array_record*")}
    report = prepare.prepare([raw], tmp_path / "copy", settings=SETTINGS)
    assert Path(report["data"]).is_relative_to(tmp_path / "copy")
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.array_record*")}


def test_clips_that_another_run_has_replaced_are_not_written(raw, tmp_path):
    with prepare.extract([raw], tmp_path / "out", settings=SETTINGS) as extraction:
        pass
    other = dataclasses.replace(SETTINGS, smoothing=7)
    with prepare.extract([raw], tmp_path / "out", settings=other):
        pass
    with pytest.raises(ValueError, match=r"the clips of good \d, is damaged, or another run"):
        list(extraction.clips("train"))


def test_one_run_at_a_time_prepares_a_crop(raw, tmp_path):
    out = tmp_path / "out"
    used = rf"out/folder/face96 is in use: process {os.getpid()} on .* prepares clips there.*--out"
    with prepare.extract([raw], out, settings=SETTINGS):
        with pytest.raises(ValueError, match=used):
            prepare.prepare([raw], out, settings=dataclasses.replace(SETTINGS, smoothing=7))
        other_crop = dataclasses.replace(SETTINGS, crop="face128")
        assert prepare.prepare([raw], out, settings=other_crop)["videos_used"] == 5
    assert prepare.prepare([raw], out, settings=SETTINGS)["videos_from_cache"] == 6


def test_a_folder_with_copies(raw, tmp_path):
    for number in range(5):
        (raw / f"again {number}.mkv").write_bytes((raw / f"good {number}.mkv").read_bytes())
    report = prepare.prepare([raw], tmp_path / "out", settings=SETTINGS)
    assert report["copies"] == {f"good {n}": f"again {n}" for n in range(5)}
    where = report["video_splits"]
    assert all(where[f"good {n}"] == where[f"again {n}"] for n in range(5))
    assert set(where.values()) == set(prepare.SPLITS)
    assert "copies      5  of other videos, in the same split" in prepare.format_report(report)


def test_named_speakers_are_held_out_and_all_others_are_trained_on():
    speakers = {f"{s}/{n}": s for s in ("s1", "s2", "s3", "s4") for n in range(2)}
    found = splits.assign_held_out(speakers, ["s3"], ["s4"], {"s2/0": "s1/0"})
    assert {s: {found[f"{s}/{n}"] for n in range(2)} for s in ("s1", "s2", "s3", "s4")} == {
        "s1": {"train"},
        "s2": {"train"},
        "s3": {"validation"},
        "s4": {"test"},
    }
    shared = splits.assign_held_out(speakers, ["s3"], [], {"s2/0": "s3/0"})
    assert shared["s2/1"] == "validation"  # the same file: one person


@pytest.mark.parametrize(
    "validation, test, message",
    [
        (["s9"], [], "no video is of speaker s9; the speakers are s1, s2"),
        (["s1"], ["s1"], "s1 is held out for validation and for the test"),
        (["s1"], ["s2"], "every speaker is held out"),
    ],
)
def test_speakers_that_cannot_be_held_out_are_refused(validation, test, message):
    with pytest.raises(ValueError, match=message):
        splits.assign_held_out({"a": "s1", "b": "s2"}, validation, test)


def test_the_command_holds_out_the_speakers_it_is_given(tmp_path):
    for speaker in ("s1", "s2", "s3"):
        (tmp_path / speaker).mkdir()
        write_video(
            tmp_path / speaker / "a.mkv", [face_image(square_box(0))] * 12, buzz(0.48, 16000)
        )
    report = prepare.prepare(
        [tmp_path / name for name in ("s1", "s2", "s3")],
        tmp_path / "out",
        "grid",
        SETTINGS,
        split=SplitSettings(validation_speakers=["s1"], test_speakers=["s3"]),
    )
    assert report["split_by"] == "speaker"
    assert {k: v["speakers"] for k, v in report["splits"].items()} == {
        "train": 1,
        "validation": 1,
        "test": 1,
    }
    assert ids(tmp_path / "out", "validation") == {"s1/a"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_not_utf8_is_escaped(tmp_path):
    for name in (b"s\xe9/caf\xe9.mkv", b"s/good.mkv"):
        path = tmp_path / "raw" / os.fsdecode(name)
        path.parent.mkdir(parents=True)
        write_video(path, [face_image(square_box(4))] * 12, buzz(0.48))
    report = prepare.prepare([tmp_path / "raw"], tmp_path / "out", settings=SETTINGS)
    assert report["videos_used"] == 2
    assert ids(tmp_path / "out", "train") == {"s\\xe9/caf\\xe9", "s/good"}
