import pytest

from lipsync_jax.data_prep.corpora import Video, tcd_timit
from lipsync_jax.data_prep.extract_clips import extract_clips
from lipsync_jax.data_prep.settings import ExtractionSettings
from tests.helpers import corpus_trees


@pytest.fixture
def videos(tmp_path):
    return {v.speaker: v for v in tcd_timit.find([corpus_trees.tcd_timit(tmp_path)])}


def test_views_from_the_side_are_left_out(videos):
    assert sorted(v.video_id for v in videos.values()) == [
        "lipspeakers/Lipspkr1/sx3",
        "lipspeakers/Lipspkr3/sx3",
        *(f"volunteers/{name}/sa1" for name in ("01M", "08F", "27M", "34M")),
    ]


def test_phones_are_matched_by_the_speakers_number(videos):
    phones = tcd_timit.phones(videos["01M"])  # listed as 01F
    assert [(p.text, p.start, p.end) for p in phones] == [("sh", 0.1, 0.2), ("iy", 0.2, 0.35)]
    assert [p.text for p in tcd_timit.phones(videos["08F"])] == ["d"]
    assert tcd_timit.phones(videos["34M"]) == ()
    assert tcd_timit.transcript(videos["34M"]) == "this isn't well timit's sentence"
    assert tcd_timit.transcript(videos["Lipspkr1"]) == ""


def test_29_97_frames_become_25_by_time(videos):
    outcome = extract_clips(videos["01M"], "tcd_timit", ExtractionSettings(**corpus_trees.SETTINGS))
    (clip,) = outcome.clips  # 15 frames at 30 a second are 0.5 s
    assert len(clip.frames) in (12, 13) and [p.text for p in clip.phones] == ["sh", "iy"]
    assert len(clip.audio) == len(clip.frames) * clip.audio_rate // 25


def test_splits():
    videos = [
        Video(None, f"volunteers/{n:02d}{'MF'[n % 2]}/{i}", f"{n:02d}{'MF'[n % 2]}",
              tcd_timit._recommended(f"{n:02d}M"))
        for n in range(1, 60)
        for i in range(98)
    ] + [
        Video(None, f"lipspeakers/Lipspkr{n}/{i}", f"Lipspkr{n}",
              tcd_timit._recommended(f"Lipspkr{n}"))
        for n in (1, 2, 3)
        for i in range(377)
    ]  # fmt: skip

    def counts(name):
        chosen = list(tcd_timit.Builder.SPLITS[name].assign(videos).values())
        return {split: chosen.count(split) for split in ("train", "validation", "test")}

    assert len(videos) == 6913
    assert counts("volunteers") == {"train": 3822, "validation": 0, "test": 1666}
    assert counts("official") == {"train": 3822 + 754, "validation": 0, "test": 1666 + 377}
    assert counts("vougioukas2018") == {"train": 3822, "validation": 7 * 98, "test": 10 * 98}


def test_a_damaged_label_file_is_named(tmp_path):
    root = corpus_trees.tcd_timit(tmp_path)
    with (root / "volunteer_labelfiles.mlf").open("a") as file:
        file.write("broken line\n")
    with pytest.raises(ValueError, match=r"labelfiles\.mlf, line \d+: 'broken line' is not"):
        tcd_timit.find([root])
