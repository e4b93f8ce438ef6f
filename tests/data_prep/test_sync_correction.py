import dataclasses

import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.cli import main
from lipsync_jax.data.clip import Word, decode_frames
from lipsync_jax.data_prep import decision, prepare, source_video, stages, sync_correction
from lipsync_jax.data_prep import extract_clips as extraction
from lipsync_jax.data_prep import extraction as preparation
from lipsync_jax.data_prep.corpora import Video
from lipsync_jax.data_prep.settings import ExtractionSettings
from lipsync_jax.data_prep.stages import Rejected, StageCounts
from lipsync_jax.data_prep.worker_pool import ExtractionSummary
from lipsync_jax.media import audio
from tests.helpers import corpus_trees, talking
from tests.helpers.colour_faces import detect

SETTINGS = ExtractionSettings(
    **{**corpus_trees.SETTINGS, "sync_model": talking.sync_model}, max_seconds=4
)
FRAMES = 100
SPEECH = talking.random_speech_mask(FRAMES, seed=4)


def shifted(samples, frames):
    """Delays audio; what comes in at the start is noise."""
    noise = talking.speech_audio(np.zeros(abs(frames), bool))
    whole = np.concatenate([noise, samples]) if frames > 0 else samples[-frames * 640 :]
    return whole[: FRAMES * 640]


def extract(path, samples, settings=SETTINGS, **options):
    talking.write_talking_video(path, SPEECH, samples, **options)
    return extraction.extract_clips(Video(path, "a", "s"), "folder", settings)


def frame_levels(clip):
    """Returns whether each frame of a clip shows a mouth that speaks, and whether it is loud."""
    frames = decode_frames(clip, range(len(clip.frames)))
    mouths = frames[:, 60:80, 30:66, 0].astype(float).mean(axis=(1, 2)) > 90
    sound = np.abs(clip.audio.reshape(len(clip.frames), 640)).mean(axis=1) > 1000
    return mouths, sound


@pytest.mark.parametrize("offset", [-6, -3, 0, 1, 6])
def test_an_injected_offset_is_corrected(offset, tmp_path):
    result = extract(tmp_path / "a.mkv", shifted(talking.speech_audio(SPEECH), offset))
    (clip,) = result.clips
    mouths, sound = frame_levels(clip)
    assert (mouths == sound).all()
    assert FRAMES - abs(offset) <= len(clip.frames) <= FRAMES
    assert abs(clip.sync_offset) <= 0.02 and clip.sync_confidence > 0.5
    changed = result.stages["sync offset"].changed
    assert changed == ({f"audio shifted by {-offset:+d} frames": 1} if offset else {})


@pytest.mark.parametrize(
    ("offset", "low_confidence"),
    [(-8, "drop"), (-7, "drop"), (7, "drop"), (8, "drop"), (8, "keep")],
)
def test_a_large_offset_is_dropped(offset, low_confidence, tmp_path):
    settings = dataclasses.replace(SETTINGS, low_sync_confidence=low_confidence)
    result = extract(tmp_path / "a.mkv", shifted(talking.speech_audio(SPEECH), offset), settings)
    (rejected,) = result.rejected
    assert (rejected.reason, rejected.stage) == ("sync offset too large", "sync confidence")
    assert rejected.detail == f"{offset:+d} frames"
    assert not result.clips


def test_audio_of_another_video_is_dropped_or_kept_as_it_is(tmp_path):
    other = talking.speech_audio(talking.random_speech_mask(FRAMES, seed=9))
    result = extract(tmp_path / "a.mkv", other)
    assert [item.reason for item in result.rejected] == ["low sync confidence"]
    counts = result.stages["sync confidence"]
    assert (counts.entered, counts.left, counts.dropped) == (1, 0, {"low sync confidence": 1})
    settings = dataclasses.replace(SETTINGS, low_sync_confidence="keep")
    (clip,) = extract(tmp_path / "a.mkv", other, settings).clips
    assert np.isnan(clip.sync_offset) and np.isnan(clip.sync_confidence)
    assert len(clip.frames) == FRAMES


def test_a_data_set_without_clips_names_the_option_that_keeps_them(tmp_path, monkeypatch, capsys):
    other = talking.speech_audio(talking.random_speech_mask(FRAMES, seed=9))
    talking.write_talking_video(tmp_path / "raw" / "a.mkv", SPEECH, other)
    run = prepare.prepare
    monkeypatch.setattr(
        prepare,
        "prepare",
        lambda sources, out, corpus, _, **rest: run(sources, out, corpus, SETTINGS, **rest),
    )
    paths = ["--input", str(tmp_path / "raw"), "--out", str(tmp_path / "out")]
    assert main.main(["prepare", *paths, "--workers", "0"]) == 1
    printed, error = capsys.readouterr()
    assert "no clip could be made; rejected: 1 low sync confidence. 1 of 1" in error
    assert "--low-sync-confidence keep" in error and "--low-sync-confidence keep" in printed


def test_an_empty_split_is_told_with_the_option_that_keeps_clips():
    counts = {"videos": 4, "videos_used": 2, "seconds_of_video": 1, "frames_with_face": 1}
    counts |= {"videos_from_cache": 0, "notes": {}, "copies": {}, "split_by": "video", "data": "d"}
    rejected = {"reason": "low sync confidence", "clip_id": "a", "detail": ""}
    counts |= {"rejected": [rejected], "rejected_by_reason": {"low sync confidence": 1}}
    counts["stages"] = stages.as_json({"sync offset": StageCounts(entered=4)})
    size = {"clips": 1, "seconds": 1.0, "speakers": 1}
    blurred = {"rejected_by_reason": {"blurred": 2, "low sync confidence": 1}}
    blurred["rejected"] = [rejected, {**rejected, "reason": "blurred"}]
    for test_clips, changes, expected in ((1, {}, False), (0, {}, True), (0, blurred, False)):
        splits = {"train": size, "test": {**size, "clips": test_clips}}
        text = prepare.format_report({**counts, **changes, "splits": splits})
        assert ("1 of 4 clips were dropped" in text) is expected
        assert ("--low-sync-confidence keep" in text) is expected


def test_a_run_warns_early_that_most_clips_are_dropped(caplog):
    """A long run should not end before one learns that its data set lacks most clips."""

    def summaries(reason, count):
        rejected = tuple(Rejected(f"a/{n}", reason) for n in range(count))
        reached = {"sync offset": StageCounts(entered=10)}
        return [ExtractionSummary("a", "s", {}, rejected, stages=reached)] * 5

    for reason, count, expected in (
        ("low sync confidence", 6, "12 of 20 clips"),
        ("sync offset not measured", 10, "20 of 20 clips"),
        ("low sync confidence", 5, ""),
        ("blurred", 10, ""),
    ):
        caplog.clear()
        assert len(list(preparation._log_progress(summaries(reason, count), 5))) == 5
        assert len(caplog.messages) == bool(expected)
        assert expected in caplog.text


def test_a_voice_from_elsewhere_costs_its_part_of_the_track_only(tmp_path):
    silent_mouth = np.random.default_rng(3).random(50) < 0.35
    talking.write_talking_video(
        tmp_path / "a.mkv",
        np.concatenate([SPEECH, silent_mouth]),
        talking.speech_audio(np.concatenate([SPEECH, ~silent_mouth])),
    )
    result = extraction.extract_clips(Video(tmp_path / "a.mkv", "a", "s"), "folder", SETTINGS)
    assert [clip.clip_id for clip in result.clips] == ["a/000000"]
    reasons = [(item.clip_id, item.reason) for item in result.rejected]
    assert reasons == [("a/000100", "off-screen voice")]


def test_what_the_shift_leaves_may_be_too_short(tmp_path):
    settings = dataclasses.replace(SETTINGS, min_seconds=3.92)
    result = extract(tmp_path / "a.mkv", shifted(talking.speech_audio(SPEECH), 6), settings)
    assert [item.reason for item in result.rejected] == ["truncated"]


def test_words_are_shifted_with_the_audio():
    synced = decision._Synced(None, 10, 60, 5)
    words = (Word("early", 0.2, 0.5), Word("one", 0.6, 0.8), Word("late", 2.5, 2.8))
    (word,) = decision._words_in(words, synced)
    assert (word.text, word.start, word.end) == ("one", 0.0, pytest.approx(0.2))


def test_a_batch_at_a_time_gives_the_offset_of_the_whole(tmp_path):
    """Embeddings do not depend on where batches of crops end."""
    model = talking.sync_model()
    path = talking.write_talking_video(tmp_path / "a.mkv", SPEECH)
    images = [frame.image for frame in source_video.read_frames(Video(path, "a", "s"))]
    (track,) = faces.track_faces(images, detect)
    stream = sync_correction.TrackEmbeddings(model, track, track.frames, 1)
    for image in images:
        stream.add(image)
    measured = stream.measure(audio.load_from_video_start(path, 16_000)[0])
    assert measured.video.shape == (FRAMES - 4, 5)
    assert measured.sync.av_offset.frames == 0
    assert measured.relative_prominence(0, FRAMES) == pytest.approx(1)
    assert measured.relative_prominence(20, 60) > 0.8
    assert np.isnan(measured.relative_prominence(20, 22))


def test_a_track_shorter_than_a_window_is_not_measured(tmp_path):
    settings = dataclasses.replace(SETTINGS, min_seconds=0.12)
    path = talking.write_talking_video(tmp_path / "a.mkv", SPEECH[:3])
    result = extraction.extract_clips(Video(path, "a", "s"), "folder", settings)
    (rejected,) = result.rejected
    assert (rejected.reason, rejected.stage) == ("sync offset not measured", "sync offset")
    assert "too few to find an offset; give at least half a second" in rejected.detail


def test_the_cache_depends_on_what_is_loaded_of_a_sync_model_alone(tmp_path):
    best = tmp_path / "best" / "200"
    for name in ("checkpoints/100/train/x", "best/200/expert/d/w", "best/200/model_card/metadata"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"a")
    folder = sync_correction.model_folder(
        ExtractionSettings(sync_model=str(tmp_path), detector=detect)
    )
    assert folder == best
    fingerprint = sync_correction.model_fingerprint.__wrapped__
    before = fingerprint(folder)
    (tmp_path / "checkpoints" / "100" / "train" / "x").write_bytes(b"b" * 1000)
    (best / "digests.json").write_text("{}")
    assert fingerprint(folder) == before
    for name in ("expert/d/w", "model_card/metadata"):
        (best / name).write_bytes(b"b")
        assert fingerprint(folder) != before
        (best / name).write_bytes(b"a")


def test_a_folder_without_a_sync_model_is_told_before_any_work(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint to run"):
        sync_correction.model_folder(ExtractionSettings(sync_model=str(tmp_path), detector=detect))
