import re

import numpy as np
import pytest

from lipsync_jax.data.clip import decode_frames
from lipsync_jax.data_prep import source_video
from lipsync_jax.data_prep.corpora import Video, hdtf
from lipsync_jax.data_prep.extract_clips import extract_clips
from lipsync_jax.data_prep.settings import ExtractionSettings
from tests.helpers import corpus_trees
from tests.helpers.colour_faces import buzz, face_image, square_box, write_video
from tests.helpers.corpus_trees import SETTINGS, text


def test_lists_with_a_mark_and_clips_without_a_crop_line(tmp_path, caplog):
    videos = {v.video_id: v for v in hdtf.find([corpus_trees.hdtf(tmp_path)])}
    assert list(videos) == [
        "RD_Radio1_000_0", "WDA_NameOne_000_0", "WDA_NameOne_000_1", "WDA_NameTwo_001_0",
    ]  # fmt: skip
    first, second = videos["WDA_NameOne_000_0"], videos["WDA_NameOne_000_1"]
    assert (first.start, first.end) == (0, 1) and (second.start, second.end) == (2, 3)
    assert first.region == (0, 120 / 720, 800 / 720, 600 / 720)  # min_width width min_height height
    assert second.region is None
    assert first.speaker == "WDA_NameOne"
    assert videos["RD_Radio1_000_0"].end is None  # a ready clip
    assert "1 of the 5 clips of the lists have no video" in caplog.text


def test_clips_are_cut_in_time_and_space(tmp_path):
    images = [face_image(square_box(10), square_box(50)) for _ in range(50)]
    sound = np.concatenate([np.zeros(16000), buzz(1.0)])
    path = write_video(tmp_path / "a.mkv", images, sound)
    part = Video(path, "a_0", "a", start=1.0, end=1.6, region=(0, 0, 40 / 60, 1))
    (clip,) = extract_clips(part, "hdtf", ExtractionSettings(**SETTINGS)).clips
    assert len(clip.frames) == 15
    assert np.abs(clip.audio[:200]).max() > 1000  # the silence before has gone
    red = decode_frames(clip, [0])[0][..., 2]
    assert red.mean() > 200  # one face is left in the region
    whole = Video(path, "a", "a")
    assert not extract_clips(whole, "hdtf", ExtractionSettings(**SETTINGS)).clips


def test_a_damaged_list_is_named(tmp_path):
    root = corpus_trees.hdtf(tmp_path)
    text(root / "HDTF_dataset/RD_annotion_time.txt", "RD_Radio1_000.mp4 00:10\n")
    with pytest.raises(ValueError, match=r"RD_annotion_time\.txt: '00:10' is not `mm:ss-mm:ss`"):
        hdtf.find([root])
    text(root / "HDTF_dataset/RD_annotion_time.txt", "RD_Radio1_000.mp4 00:10-00:09\n")
    with pytest.raises(ValueError, match="ends before it begins"):
        hdtf.find([root])
    text(root / "HDTF_dataset/RD_annotion_time.txt", "RD_Radio1_000.mp4 00:10-00:12\n")
    text(root / "HDTF_dataset/RD_resolution.txt", "RD_Radio1_000.mp4 720p\n")
    with pytest.raises(ValueError, match=r"RD_resolution\.txt: '720p' is no number of pixels"):
        hdtf.find([root])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"region": (1.4, 0, 1, 1)}, r"has 80x60 pixels, of which the crop .*60x60 at 84, 0. has"),
        ({"start": 5.0}, r"audio of .*a\.mkv ends at 0\.48 s, before the part to use, from 5 s on"),
    ],
)
def test_a_part_that_the_video_has_not_is_named(part, message, tmp_path):
    path = corpus_trees.video(tmp_path / "a.mkv")
    (rejected,) = extract_clips(
        Video(path, "a_0", "a", **part), "hdtf", ExtractionSettings(**SETTINGS)
    ).rejected
    assert re.search(message, rejected.detail)


def test_a_region_beyond_the_image_is_what_lies_in_it(tmp_path):
    path = corpus_trees.video(tmp_path / "a.mkv", 2)
    whole, left, right = (
        next(source_video.read_frames(Video(path, "a", "a", region=region))).image
        for region in (None, (-0.5, 0, 1, 1), (1, 0, 1, 1))
    )
    np.testing.assert_array_equal(left, whole[:, :30])
    np.testing.assert_array_equal(right, whole[:, 60:])


def test_videos_without_lists_are_refused(tmp_path):
    corpus_trees.video(tmp_path / "WDA_NameOne_000.mp4")
    with pytest.raises(FileNotFoundError, match=r"looked for lists \*_annotion_time\.txt"):
        hdtf.find([tmp_path])
