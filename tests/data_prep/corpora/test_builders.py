"""What holds of every corpus: one parametrized test each, on a miniature of its official layout."""

import time
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from lipsync_jax.data import loader
from lipsync_jax.data_prep import corpora, prepare
from lipsync_jax.data_prep.corpora import layout
from lipsync_jax.data_prep.settings import ExtractionSettings
from tests.helpers import corpus_trees

# Clips of each split of the miniature tree, under the default split.
COUNTS = {
    "folder": {"train": 1, "validation": 1, "test": 1},
    "grid": {"train": 2, "validation": 1, "test": 1},
    "tcd_timit": {"train": 1, "validation": 1, "test": 3},
    "crema_d_av": {"train": 2, "validation": 1, "test": 1},
    "lrw": {"train": 1, "validation": 1, "test": 1},
    "lrs2": {"pretrain": 1, "train": 1, "validation": 1, "test": 2},
    "lrs3": {"pretrain": 1, "train": 1, "validation": 1, "test": 1},
    "ldc2009v01": {"train": 2, "validation": 1, "test": 1},
    "voxceleb2": {"train": 2, "validation": 1, "test": 1},
    "hdtf": {"train": 1, "validation": 1, "test": 2},
}


@pytest.fixture
def tree(request, tmp_path):
    return getattr(corpus_trees, request.param)(tmp_path / "raw")


def build(name, tree, out, config="face96"):
    builder = tfds.builder(name, config=config, data_dir=out, settings=corpus_trees.SETTINGS)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=tree))
    return builder


def test_every_corpus_has_a_count():
    assert set(COUNTS) == set(corpora.NAMES) == set(corpora.BUILDERS)


@pytest.mark.parametrize(("tree", "name"), [(n, n) for n in COUNTS], indirect=["tree"])
def test_builder_and_command_write_the_same(tree, name, tmp_path, capsys):
    builder = build(name, tree, tmp_path / "tfds")
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    assert counts == COUNTS[name]
    assert "Unknown size" not in str(builder.info) + capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "tfds").iterdir()) == [name]  # no stray folder

    settings = ExtractionSettings(**corpus_trees.SETTINGS)
    report = prepare.prepare([tree], tmp_path / "cli", name, settings)
    assert {k: v["clips"] for k, v in report["splits"].items() if v["clips"]} == counts
    for split in counts:
        ours, theirs = (
            loader.ClipDataSource(loader.find_dataset(str(tmp_path / where), "face96"), split)
            for where in ("cli", "tfds")
        )
        assert len(ours) == len(theirs)
        for a, b in ((ours[i], theirs[i]) for i in range(len(ours))):
            assert (a.clip_id, a.frames, a.words, a.transcript, a.phones) == (
                b.clip_id,
                b.frames,
                b.words,
                b.transcript,
                b.phones,
            )
    # An outsider gets images.
    source = tfds.data_source(name, data_dir=tmp_path / "tfds", split="test", download=False)
    assert source[0]["frames"][0].shape == (96, 96, 3)
    # Nothing new to do: the shards stay.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cli").rglob("*.array_record*")}
    prepare.prepare([tree], tmp_path / "cli", name, settings)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "cli").rglob("*.array_record*")}


def test_data_source_prepares_what_lies_in_the_usual_folder(tmp_path):
    corpus_trees.lrw(tmp_path / "downloads" / "manual")
    options = {"settings": corpus_trees.SETTINGS}
    source = tfds.data_source("lrw", split="train", data_dir=tmp_path, builder_kwargs=options)
    assert source[0]["transcript"] == b"about"
    assert sorted(p.name for p in (tmp_path / "downloads").iterdir()) == ["manual"]


def test_the_standard_test_case_of_tfds_may_name_the_raw_corpus(tmp_path, monkeypatch):
    """It replaces `manual_dir` by a folder `dummy_data`, and needs TensorFlow."""
    tree = corpus_trees.lrs2(tmp_path / "dummy_data")
    monkeypatch.setattr(tfds.download.DownloadManager, "manual_dir", tree)
    builder = tfds.builder("lrs2", data_dir=tmp_path / "out", settings=corpus_trees.SETTINGS)
    builder.download_and_prepare()
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    assert counts == COUNTS["lrs2"]


def test_no_clip_of_any_video_is_an_error_with_the_reasons(tmp_path):
    corpus_trees.video(tmp_path / "raw/a.mp4", silent=True)
    with pytest.raises(ValueError, match="no clip could be made of the videos in") as error:
        build("folder", tmp_path / "raw", tmp_path / "out")
    assert "no audio, e.g. a" in str(error.value)
    assert not list((tmp_path / "out").rglob("*.array_record*"))


@pytest.mark.parametrize("name", COUNTS)
def test_builders_say_where_the_corpus_comes_from(name, tmp_path):
    builder = tfds.builder(name, data_dir=tmp_path)
    assert len(builder.MANUAL_DOWNLOAD_INSTRUCTIONS) > 60
    assert str(builder.VERSION) in builder.RELEASE_NOTES
    assert {"face96", "lips64"} <= set(builder.builder_configs)
    if name != "folder":
        assert builder.info.citation.startswith("@") and builder.info.homepage.startswith("http")
        assert builder.info.redistribution_info.license
    assert max(len(line) for line in builder.MANUAL_DOWNLOAD_INSTRUCTIONS.splitlines()) <= 160


@pytest.mark.parametrize("name", COUNTS)
def test_wrong_folders_are_refused_at_once(name, tmp_path):
    wrong = tmp_path / "wrong"
    (wrong / "some" / "folder").mkdir(parents=True)
    (wrong / "notes.txt").write_text("x")
    started = time.monotonic()
    with pytest.raises(FileNotFoundError, match=r"notes\.txt"):
        corpora.get(name).find([wrong])
    with pytest.raises(FileNotFoundError, match=r"found: (notes\.txt|some/)"):
        build(name, wrong, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        build(name, tmp_path / "nowhere", tmp_path / "out")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="the folder is empty"):
        build(name, empty, tmp_path / "out")
    assert time.monotonic() - started < 5
    assert not list((tmp_path / "out").rglob("*.array_record*"))


@pytest.mark.parametrize(
    ("name", "archive"),
    [("lrw", "lrw-v1-partaa"), ("lrs2", "lrs2_v1_partab"), ("lrs3", "lrs3_trainval.zip"),
     ("voxceleb2", "vox2_dev_mp4_partaa"), ("tcd_timit", "straightcam.zip"), ("grid", "s1.zip"),
     ("grid", "s1.mpg_6000.part1.tar"), ("crema_d_av", "CREMA-D-master.zip"),
     ("hdtf", "HDTF.zip"), ("ldc2009v01", "LDC2009V01.tgz")],
)  # fmt: skip
def test_archives_are_pointed_out(name, archive, tmp_path):
    (tmp_path / archive).write_bytes(b"x")
    with pytest.raises(corpora.LayoutError, match=f"{archive} is an archive: join and") as error:
        corpora.get(name).find([tmp_path])
    assert corpora.BUILDERS[name].MANUAL_DOWNLOAD_INSTRUCTIONS.strip() in str(error.value)


@pytest.mark.parametrize(("tree", "name"), [(n, n) for n in COUNTS], indirect=["tree"])
def test_the_corpus_may_lie_deeper_and_twice_named(tree, name):
    found = corpora.get(name).find([tree])
    deeper = [video.video_id for video in corpora.get(name).find([tree.parent])]
    if name != "folder":  # whose speakers are the folders below the source
        assert deeper == [video.video_id for video in found]
    ids = [video.video_id for video in found]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", [name for name in COUNTS if name != "folder"])
def test_a_tree_of_empty_files_is_refused(name, tmp_path):
    root = getattr(corpus_trees, name)(tmp_path)
    for path in root.rglob("*"):
        if path.suffix in corpora.SUFFIXES:
            path.write_bytes(b"")
    with pytest.raises(corpora.LayoutError, match="an empty file"):
        corpora.get(name).find([root])


def test_large_trees_without_content_are_refused_before_they_are_listed(tmp_path):
    def videos():
        for number in range(32):
            path = tmp_path / f"{number}.mp4"
            path.write_bytes(b"")
            yield corpora.Video(path, str(number), "a")
        raise AssertionError("looked further")

    with pytest.raises(corpora.LayoutError, match="no other of the first 32 videos has content"):
        layout.collect(videos(), "GRID", [tmp_path], "*.mpg", "Unpack it.")


def test_the_documentation_names_every_corpus_and_split():
    page = (Path(__file__).parents[3] / "docs" / "reference" / "corpora.md").read_text(
        encoding="utf-8"
    )
    for name, builder in corpora.BUILDERS.items():
        assert f"| `{name}` |" in page
        for split in builder.SPLITS:
            assert f"| `{split}` |" in page, (name, split)


@pytest.mark.parametrize(("tree", "name"), [(n, n) for n in COUNTS], indirect=["tree"])
def test_hidden_files_beside_the_files_of_a_corpus_are_passed_over(tree, name):
    corpus = corpora.get(name)
    expected = [(video, corpus.words(video)) for video in corpus.find([tree])]
    for path in [path for path in tree.rglob("*") if path.is_file()]:
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\xff\xff")  # AppleDouble
    assert [(video, corpus.words(video)) for video in corpus.find([tree])] == expected
