"""LRW, LRS2 and LRS3."""

import pytest

from lipsync_jax.data_prep import prepare
from lipsync_jax.data_prep.corpora import LayoutError, clip_text, lrs2, lrs3, lrw
from lipsync_jax.data_prep.extract_clips import extract_clips
from lipsync_jax.data_prep.settings import ExtractionSettings
from tests.helpers import corpus_trees
from tests.helpers.corpus_trees import SETTINGS, text


def splits(corpus, root, name="official"):
    return dict(corpus.Builder.SPLITS[name].assign(corpus.find([root])))


def test_lrw_word_in_the_middle_and_audio_longer_than_the_video(tmp_path):
    videos = lrw.find([corpus_trees.lrw(tmp_path)])
    assert [v.video_id for v in videos] == [
        f"ABOUT/{folder}/ABOUT_00001" for folder in ("train", "val", "test")
    ]
    (clip,) = extract_clips(videos[0], "lrw", ExtractionSettings(**SETTINGS)).clips
    assert len(clip.frames) == 29
    assert len(clip.audio) == round(29 * clip.audio_rate / 25)
    (word,) = clip.words
    assert (word.text, round(word.start, 4), round(word.end, 4)) == ("about", 0.38, 0.78)
    assert round(25 * (word.start + word.end) / 2 - 0.5) == 14  # the middle frame
    text(videos[0].annotation, "Disk reference: 1\nDuration: long\n")
    with pytest.raises(ValueError, match=r"ABOUT_00001\.txt: expected a line `Duration"):
        lrw.words(videos[0])


def test_lrs2_lists_outside_the_archive_with_a_second_field(tmp_path):
    root = corpus_trees.lrs2(tmp_path)
    expected = {
        "main/111/00001": "train", "main/222/00001": "validation", "main/333/00001": "test",
        "main/333/00002": "test", "pretrain/111/00007": "pretrain",
    }  # fmt: skip
    assert splits(lrs2, root) == splits(lrs2, root / "mvlrs_v1") == expected
    assert splits(lrs2, root / "mvlrs_v1" / "main") == expected
    assert "pretrain/111/00007" not in splits(lrs2, root, "main")
    assert splits(lrs2, root, "pretrain")["pretrain/111/00007"] == "train"
    for name in ("train", "val", "test"):
        (root / f"{name}.txt").rename(root / "mvlrs_v1" / f"{name}.txt")
    assert splits(lrs2, root) == expected


def test_lrs2_without_lists_says_so_before_any_work(tmp_path):
    root = corpus_trees.lrs2(tmp_path)
    for file in root.glob("*.txt"):
        file.unlink()
    with pytest.raises(ValueError, match=r"looked for train\.txt, val\.txt and test\.txt in"):
        prepare.prepare([root], tmp_path / "out", "lrs2", ExtractionSettings(**SETTINGS))
    assert not (tmp_path / "out").exists()


def test_lrs2_texts(tmp_path):
    videos = {v.video_id: v for v in lrs2.find([corpus_trees.lrs2(tmp_path)])}
    assert lrs2.transcript(videos["main/111/00001"]) == "that was the plan"  # {NS} goes
    assert lrs2.words(videos["main/111/00001"]) == ()
    words = lrs2.words(videos["pretrain/111/00007"])
    assert [(w.text, w.start) for w in words] == [("so", 0.12), ("the", 0.32), ("weather", 0.42)]
    settings = ExtractionSettings(**SETTINGS)
    (clip,) = extract_clips(videos["main/111/00001"], "lrs2", settings).clips
    assert clip.transcript == "that was the plan"
    halves = extract_clips(
        videos["pretrain/111/00007"], "lrs2", ExtractionSettings(**SETTINGS, max_seconds=0.5)
    ).clips
    assert [clip.transcript for clip in halves] == ["so the", "weather"]


def test_a_part_of_a_video_without_word_times_has_no_transcript(tmp_path):
    path = corpus_trees.video(tmp_path / "main/1/00001.mp4", 50)
    text(path.with_suffix(".txt"), "Text:  A LONG SENTENCE\nConf:  4\n")
    (video,) = lrs2.find([tmp_path])
    halves = ExtractionSettings(**SETTINGS, max_seconds=1.0)
    assert [c.transcript for c in extract_clips(video, "lrs2", halves).clips] == ["", ""]


def test_lrs3_groups_by_talk_and_says_that_it_is_withdrawn(tmp_path, caplog):
    root = corpus_trees.lrs3(tmp_path / "raw")
    videos = {v.video_id: v for v in lrs3.find([root])}
    assert "LRS3 is withdrawn" in caplog.text
    assert "no longer give it out" in lrs3.Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    video = videos["trainval/AbCdEfGhIjK/50001"]
    assert [w.text for w in lrs3.words(video)] == ["and", "then"]
    assert clip_text.read(video.annotation).frames.tolist() == [123, 124]
    settings = ExtractionSettings(**SETTINGS)
    report = prepare.prepare([root], tmp_path / "out", "lrs3", settings)
    assert sorted(report["video_splits"].values()) == ["pretrain", "test", "train", "validation"]

    with pytest.raises(ValueError, match=r"needs lrs3-valid\.id of AV-HuBERT"):
        splits(lrs3, root, "avhubert")
    text(root / "lrs3-valid.id", "trainval/BbCdEfGhIjK/50001\n")
    chosen = splits(lrs3, root, "avhubert")
    assert [k for k, v in chosen.items() if v == "validation"] == ["trainval/BbCdEfGhIjK/50001"]


def test_a_talk_held_out_for_validation_leaves_pretrain_too():
    from lipsync_jax.data_prep.splits import add_validation

    published = {f"trainval/{t}/1": "train" for t in "abcdefghijkl"}
    published |= {f"pretrain/{t}/1": "pretrain" for t in "abcdefghijkl"}
    speakers = {name: name.split("/")[1] for name in published}
    chosen = add_validation(published, speakers, 0.2)
    held_out = {speakers[name] for name, split in chosen.items() if split == "validation"}
    assert held_out
    assert {speakers[n] for n, s in chosen.items() if s == "pretrain"}.isdisjoint(held_out)
    assert add_validation(published, speakers, 0) == published


def test_a_video_stays_for_training_where_both_would_be_held_out():
    from lipsync_jax.data_prep.splits import add_validation, hash_position

    names = sorted(map(str, range(1000)), key=hash_position)[:2]
    assert max(map(hash_position, names)) < 0.1
    chosen = add_validation(dict.fromkeys(names, "train"), dict.fromkeys(names, "a"), 0.1)
    assert chosen == dict(zip(names, ("validation", "train"), strict=True))


def test_links_to_missing_videos_cost_no_other(tmp_path):
    root = corpus_trees.lrs2(tmp_path / "raw")
    lost = root / "mvlrs_v1/main/111/00001.mp4"
    lost.unlink()
    lost.symlink_to("nowhere.mp4")
    settings = ExtractionSettings(**SETTINGS)
    report = prepare.prepare([root], tmp_path / "out", "lrs2", settings)
    ((name, detail),) = [(item["clip_id"], item["detail"]) for item in report["rejected"]]
    assert (name, detail.partition(":")[0]) == (
        "main/111/00001",
        f"{lost} is a link to a missing file",
    )
    assert report["data"] and report["videos_used"] == 4


def test_clip_texts_that_are_none(tmp_path):
    broken = text(tmp_path / "1.txt", "Text:  A\n\nWORD START END ASDSCORE\nA now then 1\n")
    with pytest.raises(ValueError, match=r"1\.txt, line 4: 'now then' are not numbers"):
        clip_text.read(broken)
    with pytest.raises(ValueError, match="is neither `Key: value`, nor a row"):
        clip_text.read(text(tmp_path / "2.txt", "<html>\n"))


def test_a_folder_of_another_corpus_is_refused(tmp_path):
    corpus_trees.lrw(tmp_path)
    with pytest.raises(LayoutError, match=r"there is no LRS2; .*found: lipread_mp4/"):
        lrs2.find([tmp_path])
