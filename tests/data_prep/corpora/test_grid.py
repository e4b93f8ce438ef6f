import logging

import numpy as np
import pytest

from lipsync_jax.data_prep import corpora, prepare
from lipsync_jax.data_prep.corpora import grid
from lipsync_jax.data_prep.extract_clips import extract_clips
from lipsync_jax.data_prep.settings import ExtractionSettings, SplitSettings
from tests.helpers import corpus_trees
from tests.helpers.corpus_trees import SETTINGS, text, video


def test_alignments_are_found_under_another_talkers_number(tmp_path, caplog):
    root = corpus_trees.grid(tmp_path)
    videos = {v.video_id: v for v in grid.find([root / "s1", root / "s2", root / "s3"])}
    assert [w.text for w in grid.words(videos["s1/bbaf2n"])] == ["bin", "blue"]
    (lay,) = grid.words(videos["s2/lwbsza"])  # CRLF ends, and `sp` is a silence
    assert (lay.text, lay.start, lay.end) == ("lay", 3000 / 25000, 6000 / 25000)
    assert grid.words(videos["s3/prii9a"]) == ()
    assert "1 of 3 videos" in caplog.text and "prii9a.align in any folder below" in caplog.text


def test_the_name_tells_the_sentence_without_an_alignment(tmp_path):
    root = corpus_trees.grid(tmp_path)
    said = {v.video_id: grid.transcript(v) for v in grid.find([root])}
    assert said["s1/bbaf2n"] == "bin blue at f two now"
    assert said["s2/lwbsza"] == "lay white by s zero again"
    assert grid.transcript(corpora.Video(root, "s1/holiday", "s1")) == ""


def test_an_alignment_of_another_sentence_is_not_used(tmp_path):
    path = video(tmp_path / "s1/bbaf2n.mpg")
    text(path.with_suffix(".align"), "0 3000 set\n3000 6000 green\n")
    (found,) = grid.find([tmp_path])
    outcome = extract_clips(found, "grid", ExtractionSettings(**SETTINGS))
    assert outcome.clips[0].words == ()
    assert outcome.clips[0].transcript == "bin blue at f two now"
    assert "of another sentence ('set green'" in outcome.notes[0]


def test_layouts_of_both_archives_and_the_samples(tmp_path):
    for name in ("s1/video/mpg_vcd/bbaf2n.mpg", "s1/video/mpg_6000/bbaf2n.mpg",
                 "samples/id2_vcd_swwp2s.mpg", "samples/id2_6000_swwp2s.mpg",
                 "grid_s2_swwp2s.mpg"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    text(tmp_path / "s1/align/bbaf2n.align", "0 3000 bin\n")
    found = grid.find([tmp_path])
    assert [(v.video_id, v.speaker) for v in found] == [("s1/bbaf2n", "s1"), ("s2/swwp2s", "s2")]
    assert all("6000" in str(v.path) for v in found)  # the larger of two sizes
    assert [w.text for w in grid.words(found[0])] == ["bin"]


@pytest.mark.parametrize("grey", [range(4), range(20, 23)])
def test_grey_frames_enter_no_clip(grey, tmp_path):
    path = video(tmp_path / "s1/prii9a.mpg", 45, grey=grey)
    outcome = extract_clips(
        corpora.Video(path, "s1/prii9a", "s1"), "grid", ExtractionSettings(**SETTINGS)
    )
    lengths = [len(clip.frames) for clip in outcome.clips]
    assert lengths == ([41] if grey[0] == 0 else [20, 22])
    assert outcome.notes == (f"{len(grey)} undecoded (grey) frames were left out",)
    from lipsync_jax.data.clip import decode_frames

    for clip in outcome.clips:
        frames = decode_frames(clip, range(len(clip.frames)))
        assert all(np.std(frame) > 8 for frame in frames)


def test_the_endpointed_audio_is_never_used(tmp_path):
    video(tmp_path / "s1/bbaf2n.mpg", silent=True)
    path = video(tmp_path / "audio_25k/s1/bbaf2n.wav.mpg")
    path.rename(tmp_path / "audio_25k/s1/bbaf2n.wav")
    (found,) = grid.find([tmp_path])
    outcome = extract_clips(found, "grid", ExtractionSettings(**SETTINGS))
    assert [item.reason for item in outcome.rejected] == ["no audio"]


def test_papers_splits(caplog):
    caplog.set_level(logging.ERROR)
    videos = [
        corpora.Video(None, f"s{n}/v{i}", f"s{n}")
        for n in range(1, 35)
        if n != 21
        for i in range(200)
    ]

    def tested(name):
        splits = grid.Builder.SPLITS[name].assign(videos)
        assert len(splits) == len(videos)
        return [video for video, split in splits.items() if split == "test"]

    speakers = {name: {v.partition("/")[0] for v in tested(name)} for name in grid.Builder.SPLITS}
    assert speakers["unseen"] == {"s1", "s2", "s20", "s22"}
    assert speakers["chen2018"] == {"s33"}
    assert speakers["vougioukas2018"] == grid.TEST_SPEAKERS
    assert len(speakers["overlapped"]) == 33 and len(tested("overlapped")) == 33 * 51


def test_a_published_split_has_a_config_of_its_own_and_shares_the_cache(tmp_path):
    root = corpus_trees.grid(tmp_path / "raw")
    out, settings = tmp_path / "out", ExtractionSettings(**SETTINGS)
    report = prepare.prepare([root], out, "grid", settings, split=SplitSettings("chen2018"))
    assert report["data"].endswith("grid/face96-chen2018/1.2.0")
    assert (out / "grid" / report["config"] / "report.json").is_file()
    assert [k for k, v in report["video_splits"].items() if v == "test"] == ["s33/sgwz1p"]
    assert sorted(report["video_splits"].values()) == ["test", "train", "train", "validation"]
    assert len(list((out / "grid/face96/cache").glob("*.npz"))) == 4
    whole = prepare.prepare([root], out, "grid", settings, split=SplitSettings("chen2018", 0))
    assert "validation" not in whole["video_splits"].values()
    with pytest.raises(ValueError, match="choose auto, speaker, video, published, unseen"):
        prepare.prepare([root], out, "grid", settings, split=SplitSettings("official"))
