import pytest

from lipsync_jax.data_prep import prepare
from lipsync_jax.data_prep.corpora import LayoutError, Video, crema_d_av
from lipsync_jax.data_prep.extract_clips import extract_clips
from lipsync_jax.data_prep.settings import ExtractionSettings
from tests.helpers import corpus_trees


def test_bad_clips_and_pointers_are_reported_and_silent_videos_get_their_wav(tmp_path):
    root = corpus_trees.crema_d_av(tmp_path / "raw")
    settings = ExtractionSettings(**corpus_trees.SETTINGS)
    report = prepare.prepare([root], tmp_path / "out", "crema_d_av", settings)
    dropped = {item["clip_id"]: item["detail"] for item in report["rejected"]}
    assert dropped["1076_MTI_NEU_XX"] == "very short and silent"
    assert "git lfs pull" in dropped["1004_TSI_HAP_XX"]
    assert report["rejected_by_reason"] == {"faulty": 2}
    assert "1003_IEO_SAD_LO" in report["video_splits"]  # its flv has no audio
    assert "1003_IEO_SAD_LO.wav, whose offset is not known" in report["notes"]["1003_IEO_SAD_LO"][0]


def test_audio_that_is_a_pointer_is_named(tmp_path):
    root = corpus_trees.crema_d_av(tmp_path)
    file = root / "AudioWAV/1003_IEO_SAD_LO.wav"
    corpus_trees.text(file, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    videos = {video.video_id: video for video in crema_d_av.find([root])}
    settings = ExtractionSettings(**corpus_trees.SETTINGS)
    (rejected,) = extract_clips(videos[file.stem], "crema_d_av", settings).rejected
    assert rejected.detail.startswith(f"{file} is a Git LFS pointer")


@pytest.mark.parametrize("name", crema_d_av.FAULTS)
def test_the_four_bad_clips(name, tmp_path):
    (tmp_path / "VideoFlash").mkdir()
    for stem in (name, "1001_DFA_ANG_XX"):
        (tmp_path / f"VideoFlash/{stem}.flv").write_bytes(b"x" * 2000)
    faults = {v.video_id: v.fault for v in crema_d_av.find([tmp_path])}
    assert faults == {name: crema_d_av.FAULTS[name], "1001_DFA_ANG_XX": ""}


def test_a_download_of_pointers_is_refused(tmp_path):
    for number in range(40):
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        corpus_trees.text(tmp_path / f"VideoFlash/10{number:02d}_DFA_ANG_XX.flv", pointer)
    with pytest.raises(LayoutError, match=r"a Git LFS pointer, not the file: run `git lfs pull`"):
        crema_d_av.find([tmp_path])


def test_links_to_missing_videos_are_faulty(tmp_path):
    root = corpus_trees.crema_d_av(tmp_path)
    (root / "VideoFlash/1091_TSI_NEU_XX.flv").symlink_to("nowhere.flv")  # as of git-annex
    faults = {video.video_id: video.fault for video in crema_d_av.find([root])}
    assert faults["1091_TSI_NEU_XX"].startswith("a link to a missing file")


def test_names_tell_the_sentence():
    def said(name):
        return crema_d_av.transcript(Video(None, name, "1001"))

    assert said("1001_WSI_NEU_XX") == "we'll stop in a couple of minutes"
    assert len(crema_d_av.SENTENCES) == 12


def test_splits():
    videos = [Video(None, f"{actor}_{i}", str(actor)) for actor in range(1001, 1092)
              for i in range(82)]  # fmt: skip
    splits = {name: list(split.assign(videos).values())
              for name, split in crema_d_av.Builder.SPLITS.items()}  # fmt: skip
    assert splits["vougioukas2020"].count("test") == 820
    # As many actors as TFDS has clips of (5144 - 738 - 1556), with those that lack a few.
    assert [splits["tfds"].count(s) // 82 for s in ("train", "validation", "test")] == [63, 9, 19]
