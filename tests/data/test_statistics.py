"""`lipsync data stats`: the numbers, the page and the errors."""

import dataclasses
import json
import re
import shutil
from fractions import Fraction
from html.parser import HTMLParser

import numpy as np
import pytest

from lipsync_jax import paths
from lipsync_jax.cli import main
from lipsync_jax.data import loader, statistics
from lipsync_jax.data.clip import Word
from lipsync_jax.evaluation.report import data_page
from tests.conftest import toy_clip

# Split, speaker, frames, offset (s), confidence of each clip.
_CLIPS = (
    ("train", "s1", 40, -0.08, 5.0),
    ("train", "s1", 52, 0.0, 6.5),
    ("train", "<b>Éa</b>", 60, 0.04, 7.0),
    ("validation", "s2", 28, float("nan"), float("nan")),
    ("test", "s1", 76, 0.12, 2.0),
)


@pytest.fixture(scope="module")
def measured_data(tmp_path_factory):
    """Folder of a data set with offsets, confidences, words and several speakers."""
    from lipsync_jax.data_prep import builder

    def make(number, speaker, frames, offset, confidence):
        clip = toy_clip(f"{number}", number, frames)
        words = (Word("bin", 0.1, 0.3), Word("blue", 0.3, 0.6)) if speaker == "s1" else ()
        rate = Fraction(30000, 1001) if speaker == "s2" else clip.frame_rate
        return dataclasses.replace(
            clip,
            speaker=speaker,
            frame_rate=rate,
            sync_offset=offset,
            sync_confidence=confidence,
            words=words,
            transcript=" ".join(word.text for word in words),
        )

    clips = {
        split: [make(n, *row[1:]) for n, row in enumerate(_CLIPS) if row[0] == split]
        for split in ("train", "validation", "test")
    }
    root = tmp_path_factory.mktemp("measured_data")
    builder.write_clips(clips, root, "measured", shards=1)
    return root


def test_the_description_of_a_data_set_is_read_once(measured_data, monkeypatch):
    folder, read = loader.find_dataset(str(measured_data), "face96"), []
    monkeypatch.setattr(
        loader, "_info", lambda path, info=loader._info: read.append(1) or info(path)
    )
    clips = statistics.ClipsBySplit(folder)
    assert len(clips) == len(_CLIPS) and len(read) == 1
    assert clips.name == "measured/face96/1.2.0"


class _Page(HTMLParser):
    """Collects the tags of a page; every element but the void ones must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self._open = [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "rect", "line"):
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag != "rect":
            assert self._open.pop() == tag


def test_the_numbers_are_those_of_the_clips(measured_data, tmp_path, capsys):
    page = tmp_path / "sub" / "page.html"
    line = ["data", "stats", str(measured_data), "--out", str(page), "--json", "-"]
    assert main.main(line) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["data"].startswith("measured/face96/") and not found["unreadable"]
    assert {name: each["clips"] for name, each in found["splits"].items()} == {
        "train": 3,
        "validation": 1,
        "test": 1,
    }
    total = found["total"]
    assert (total["clips"], total["speakers"], total["frames"]) == (5, 3, 256)
    assert total["seconds"] == pytest.approx(228 / 25 + 28 * 1001 / 30000, abs=1e-3)
    assert found["splits"]["train"]["median_seconds"] == 2.08
    assert 0 <= total["speech_fraction"] <= 1
    assert found["frame_rates"] == {"25": 4, "29.97": 1}
    assert found["crop_sizes"] == {"96x96": 5} and found["audio_rates"] == {"16000": 5}
    assert sum(found["duration_seconds"]["counts"]) == 5
    offset = found["sync_offset_ms"]
    assert sum(offset["counts"]) == offset["values"] == 4
    assert (offset["min"], offset["max"]) == pytest.approx((-80, 120), abs=1e-3)
    assert found["sync_confidence"]["median"] == 5.75
    assert found["speakers"]["s1"] == {"clips": 3, "seconds": 6.72, "splits": ["train", "test"]}
    assert found["speakers_in_several_splits"] == ["s1"]
    text = found["text"]
    assert (text["clips_with_words"], text["clips_with_transcript"], text["words"]) == (3, 3, 6)
    assert text["frequent_words"] == {"bin": 3, "blue": 3}


def test_the_page_is_one_file_with_frames_of_every_speaker(measured_data, tmp_path):
    page, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    line = ["data", "stats", str(measured_data), "--out", str(page), "--json", str(numbers)]
    assert main.main(line) == 0
    text = page.read_text(encoding="utf-8")
    assert json.loads(numbers.read_text(encoding="utf-8"))["total"]["clips"] == 5
    tags = _Page(text).tags
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == 3 and all(each["src"].startswith("data:image/jpeg;") for each in images)
    assert {each["width"] for each in images} == {str(6 * 96)}
    assert not {"script", "link", "iframe", "b"} & {tag for tag, _ in tags}
    assert "://" not in text and "<b>" not in text and "&lt;b&gt;Éa" in text
    assert len([tag for tag, _ in tags if tag == "svg"]) == 3
    assert "1 speaker in more than one split: s1" in text
    assert main.main([*line, "--max-speakers", "1"]) == 0
    assert page.read_text(encoding="utf-8").count("<img") == 1


def test_the_page_of_very_many_speakers_lists_the_first_ones():
    """LRW names no speakers: each of its half a million clips is one."""
    clips = [
        statistics.ClipSummary("train", number, f"speaker {number:04d}", 29, Fraction(25), 16000,
                               (96, 96), 0.0, 1.0, (), 0, True, 29)
        for number in range(1100)
    ]  # fmt: skip
    unreadable = [{"split": "train", "record": number, "reason": "gone"} for number in range(1200)]
    result = {"data": "lrw", "lipsync_jax": "1", **statistics.compute(clips)}
    page = data_page.render({**result, "unreadable": unreadable}, {})
    assert "speaker 0999" in page and "speaker 1000" not in page
    assert "The first 1,000 of 1,100 speakers; --json lists all." in page
    assert "record 999:" in page and "record 1000:" not in page
    assert "The first 1,000 of 1,200 clips; --json lists all." in page
    assert "The first" not in data_page.render({**result, "unreadable": []}, {}).split("<h2>Spe")[0]


def test_what_is_not_stored_is_said(toy_data, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main.main(["data", "stats", str(toy_data), "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "No clip has a measured offset." in text
    assert "<td>clips with aligned words</td><td>0 of 21</td>" in text
    assert f"wrote {page}, 21 clips, " in capsys.readouterr().err


def test_a_damaged_clip_is_left_out_and_named(toy_data, tmp_path, capsys):
    folder, page = tmp_path / "copy", tmp_path / "page.html"
    shutil.copytree(next(toy_data.glob("toy/face96/*")), folder)
    for shard in folder.glob("*train*-00000-*"):
        data = bytearray(shard.read_bytes())
        data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
        shard.write_bytes(data)
    line = ["data", "stats", str(folder), "--out", str(page), "--json", "-"]
    assert main.main(line) == 1
    out, error = capsys.readouterr()
    found = json.loads(out)
    damaged = found["unreadable"]
    assert damaged and found["total"]["clips"] == 21 - len(damaged)
    assert {each["split"] for each in damaged} == {"train"}
    assert "left out: record" in error and f"{len(damaged)} of 21 clips can't be read" in error
    assert f"{len(damaged)} clip" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda p: None, (), r"shards does not exist"),
        (lambda p: p.mkdir(), (), r"shards holds no prepared data set; name a folder"),
        (lambda p: p.write_text("x"), (), r"shards is a file; give the folder that"),
        (lambda p: None, ("--crop", "face96"), r"shards does not exist"),
        (lambda p: p.mkdir(), ("--crop", "face96"), r"holds no prepared .* crop face96"),
        (lambda p: p.mkdir(), ("--out", "{folder}"), r"--out .* is a folder; name a file in it"),
        (lambda p: p.mkdir(), ("--json", "{folder}"), r"--json .* is a folder; name a file in"),
        (lambda p: p.mkdir(), ("--max-speakers", "-1"), r"--max-speakers -1: expected 0 or more"),
    ],
)
def test_errors_are_one_sentence(make, options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "shards")
    options = [option.format(folder=tmp_path) for option in options]
    assert main.main(["data", "stats", str(tmp_path / "shards"), *options]) == 1
    out, error = capsys.readouterr()
    assert not out and error.count("\n") == 1 and re.search(message, error)
    assert not (tmp_path / "data_stats.html").exists()


def test_a_page_that_cannot_be_written_is_refused_before_the_clips_are_read(
    toy_data, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(statistics.ClipsBySplit, "summarize", None)  # would be a fault
    line = ["data", "stats", str(toy_data), "--out", str(tmp_path / "file/page.html")]
    assert main.main(line) == 1


def test_several_data_sets_are_listed(measured_data, toy_data, tmp_path, capsys):
    expected = r"holds 2 data sets \(measured/face96/\S+, toy/face96/\S+\); name one, or a crop"
    for source in (measured_data / "measured", toy_data / "toy"):
        shutil.copytree(source, tmp_path / source.name)
    assert main.main(["data", "stats", str(tmp_path), "--out", str(tmp_path / "p.html")]) == 1
    assert re.search(expected, capsys.readouterr().err)


def test_shards_and_page_may_be_in_a_bucket(gs, toy_data, capsys):
    paths.upload(toy_data, paths.parse(f"{gs}/data"))
    line = ["data", "stats", f"{gs}/data", "--out", f"{gs}/made/page.html", "--json", "-"]
    assert main.main(line) == 0
    assert json.loads(capsys.readouterr().out)["total"]["clips"] == 21
    assert list(paths.files(paths.parse(f"{gs}/made"))) == ["page.html"]


@pytest.mark.parametrize(
    "values", [[0.0], [3.0, 3.0], [-0.5, 0.5], [1e-9, 2e-9], [0.1, 5e4], [-3.0, float("nan")]]
)
def test_a_histogram_counts_every_value(values):
    found = statistics.histogram(values)
    finite = [value for value in values if np.isfinite(value)]
    assert sum(found["counts"]) == found["values"] == len(finite)
    assert len(found["edges"]) == len(found["counts"]) + 1 <= 27
    assert found["edges"][0] <= min(finite) and max(finite) <= found["edges"][-1]
    assert (np.diff(found["edges"]) > 0).all()


def test_bins_are_not_finer_than_asked_for():
    found = statistics.histogram([2.96, 3.0, 3.0], 0.05)
    assert (found["edges"], found["counts"]) == ([2.95, 3.0, 3.05], [1, 2])
    found = statistics.histogram([0.3, 0.35], 0.05)  # bins include their lower edge
    assert (found["edges"], found["counts"]) == ([0.3, 0.35, 0.4], [1, 1])


def test_a_histogram_of_nothing_is_none():
    assert statistics.histogram([float("nan"), float("inf")]) is None
