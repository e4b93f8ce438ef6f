import gzip

import numpy as np
import pytest

from lipsync_jax.data_prep import prepare
from lipsync_jax.data_prep.corpora import voxceleb2
from lipsync_jax.data_prep.extract_clips import extract_clips
from lipsync_jax.data_prep.settings import ExtractionSettings
from tests.helpers import corpus_trees
from tests.helpers.corpus_trees import SETTINGS, text, video


def test_ids_have_all_three_parts_and_boxes_are_fractions(tmp_path):
    videos = voxceleb2.find([corpus_trees.voxceleb2(tmp_path)])
    assert len(videos) == len({v.video_id for v in videos}) == 5
    read = voxceleb2.boxes(videos[0])
    assert read.frames[:2].tolist() == [245, 246] and len(read.frames) == 12
    np.testing.assert_allclose(read.boxes[0], (0.392, 0.223, 0.253, 0.451))
    assert read.header["FV Conf"].split() == ["16.120", "(1)"]
    assert read.header["Offset"] == "1"


def test_boxes_in_pixels_are_voxceleb1(tmp_path):
    root = corpus_trees.voxceleb2(tmp_path)
    (found, *_) = voxceleb2.find([root])
    text(
        found.annotation,
        "Identity  : \tid1\n\nFRAME \tX \tY \tW \tH \n000001 \t120 \t80 \t90 \t90 \n",
    )
    with pytest.raises(ValueError, match="face boxes are in pixels, as in VoxCeleb1"):
        voxceleb2.boxes(found)
    outcome = extract_clips(found, "voxceleb2", ExtractionSettings(**SETTINGS))
    assert [item.reason for item in outcome.rejected] == ["unreadable"]


def test_clips_shorter_than_their_text_file_are_dropped(tmp_path):
    videos = {v.speaker: v for v in voxceleb2.find([corpus_trees.voxceleb2(tmp_path)])}
    outcome = extract_clips(videos["id00014"], "voxceleb2", ExtractionSettings(**SETTINGS))
    assert not outcome.clips
    assert outcome.rejected[0].reason == "incomplete"
    assert outcome.rejected[0].detail == "12 frames of the 20 that its text file lists"


def test_clips_are_read_again_when_their_text_file_is_complete(tmp_path):
    root = corpus_trees.voxceleb2(tmp_path / "raw")
    settings = ExtractionSettings(**SETTINGS)
    found = voxceleb2.find([root])[0]
    whole = found.annotation.read_text()
    before = prepare.prepare([root], tmp_path / "out", "voxceleb2", settings)
    assert found.video_id in before["video_splits"]
    found.annotation.write_text(whole.rpartition("\n0")[0] + "\n")  # a frame is missing
    cut = prepare.prepare([root], tmp_path / "out", "voxceleb2", settings)
    assert found.video_id not in cut["video_splits"]
    found.annotation.write_text(whole)
    again = prepare.prepare([root], tmp_path / "out", "voxceleb2", settings)
    assert again["video_splits"] == before["video_splits"]


def test_audio_may_lie_in_the_archive_of_audio(tmp_path):
    path = video(tmp_path / "dev/mp4/id00012/AbCdEfGhIjK/00001.mp4", silent=True)
    sound = video(tmp_path / "dev/aac/id00012/AbCdEfGhIjK/00001.m4a")
    (found,) = voxceleb2.find([tmp_path])
    assert (found.path, found.audio_path) == (path.resolve(), sound.resolve())
    assert len(extract_clips(found, "voxceleb2", ExtractionSettings(**SETTINGS)).clips) == 1


@pytest.mark.parametrize(
    "meta",
    [
        "VoxCeleb2 ID ,VGGFace2 ID ,Gender,Set \nid00012 ,n12 ,m ,dev \nid00017 ,n1 ,f ,test \n",
        "Name \tVoxCeleb2 ID \tVGGFace2 ID \tGender \tSet \nA B \tid00012 \tn1 \tm \tdev \n"
        "C D \tid00017 \tn2 \tf \ttest \n",
    ],
)
def test_archives_unpacked_without_dev_and_test(meta, tmp_path):
    for speaker in ("id00012", "id00017"):
        video(tmp_path / f"mp4/{speaker}/AbCdEfGhIjK/00001.mp4")
    split = voxceleb2.Builder.SPLITS["official"]
    with pytest.raises(ValueError, match=r"put vox2_meta\.csv into it or beside it"):
        split.assign(voxceleb2.find([tmp_path]))
    text(tmp_path / "vox2_meta.csv", meta)
    assert list(split.assign(voxceleb2.find([tmp_path])).values()) == ["train", "test"]
    text(tmp_path / "vox2_meta.csv", "a,b\n")
    with pytest.raises(ValueError, match="expected the columns `VoxCeleb2 ID` and `Set`"):
        voxceleb2.find([tmp_path])


def test_the_english_clips(tmp_path):
    root = corpus_trees.voxceleb2(tmp_path)
    english = voxceleb2.Builder.SPLITS["english"]
    with pytest.raises(ValueError, match=r"needs vox-en\.id\.gz of AV-HuBERT"):
        english.assign(voxceleb2.find([root]))
    with gzip.open(root / "vox-en.id.gz", "wt") as file:
        file.write("dev/mp4/id00012/BbCdEfGhIjK/00001\ntest/mp4/id00017/DbCdEfGhIjK/00001\n")
    assert dict(english.assign(voxceleb2.find([root]))) == {
        "dev/id00012/BbCdEfGhIjK/00001": "train",
        "test/id00017/DbCdEfGhIjK/00001": "test",
    }
