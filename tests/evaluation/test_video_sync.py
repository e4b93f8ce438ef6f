"""`lipsync sync`: offsets are measured, reported, marked as low-confidence and removed."""

import itertools
import json
import re
import types
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import scipy.ndimage

from lipsync_jax import user_cache, weights
from lipsync_jax.cli import dub as dub_command
from lipsync_jax.cli import main
from lipsync_jax.cli import sync as sync_command
from lipsync_jax.evaluation.sync import dub_sync, motion_offset, offset, offset_cache, video_sync
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.faces import cache
from lipsync_jax.faces.trajectory import VideoFaces
from lipsync_jax.media import audio, frame_source, mux, video_reader
from lipsync_jax.synthesis import face_detection_pass, model_info
from lipsync_jax.synthesis.options import DubbingOptions
from tests.helpers import colour_faces, talking


@pytest.fixture(scope="module")
def talking_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("films") / "said.mkv"
    return talking.write_talking_video(path, talking.random_speech_mask(75))


@pytest.fixture
def _stub_sync_model(monkeypatch):
    monkeypatch.setattr(SyncModel, "load", lambda directory: talking.sync_model())
    monkeypatch.setattr(model_info, "credit", lambda directory: f"model {directory}")


def _moved(talking_video, folder, frames):
    path = folder / f"moved{frames}.mkv"
    mux.mux(talking_video, talking_video, path, delay=Fraction(frames, 25))
    return path


@pytest.mark.parametrize("frames", [-10, -3, 0, 1, 10])
def test_injected_offsets_are_found(talking_video, tmp_path, frames):
    (track,) = video_sync.measure(_moved(talking_video, tmp_path, frames), talking.sync_model())
    assert track.av_offset.frames == frames
    assert track.offset_ms == pytest.approx(40 * frames, abs=20)
    assert track.is_confident
    assert (track.start, track.end) == (0, 3)


def test_other_frame_rates(tmp_path):
    path = talking.write_talking_video(
        tmp_path / "fast.mkv", talking.random_speech_mask(60), rate=50
    )
    (track,) = video_sync.measure(_moved(path, tmp_path, 4), talking.sync_model())
    assert track.av_offset.frames == 4
    assert track.is_confident


def test_sound_of_something_else_is_doubted(tmp_path):
    other = talking.speech_audio(talking.random_speech_mask(75, seed=5))
    path = talking.write_talking_video(
        tmp_path / "other.mkv", talking.random_speech_mask(75), other
    )
    (track,) = video_sync.measure(path, talking.sync_model())
    assert not track.is_confident
    assert "LOW CONFIDENCE, not reliable: " in sync_command.describe(track)
    with pytest.raises(ValueError, match="no face has a confident audio offset"):
        video_sync.shift_audio(path, tmp_path / "fixed.mkv", [track])
    assert not (tmp_path / "fixed.mkv").exists()


def test_every_shot_is_measured_and_short_ones_are_not(tmp_path):
    output = talking.random_speech_mask(95)

    numbers = itertools.count()

    def brighter(image):
        ground = (image == colour_faces.BACKGROUND).all(axis=2, keepdims=True)
        return np.where(ground & (next(numbers) >= 15), np.uint8(200), image)

    path = talking.write_talking_video(tmp_path / "cut.mkv", output, transform=brighter)
    first, second = video_sync.measure(path, talking.sync_model())
    assert (first.av_offset, first.reason) == (None, "shorter than 1 s")
    assert "not measured, shorter than 1 s" in sync_command.describe(first)
    assert (second.start, second.av_offset.frames) == (pytest.approx(0.6), 0)
    assert "in sync" in sync_command.describe(second)


def test_a_fixed_file_is_in_sync_and_its_picture_untouched(
    talking_video, tmp_path, _stub_sync_model, capsys
):
    moved, fixed, out = (
        _moved(talking_video, tmp_path, 7),
        tmp_path / "out.mkv",
        tmp_path / "found.json",
    )
    words = ["sync", str(moved), "--sync-model", "expert", "--write-synced", str(fixed)]
    assert main.main([*words, "--json", str(out)]) == 0
    output = capsys.readouterr().out
    assert re.search(r"audio 2[78]\d ms late \(\+7.0 frames", output)
    assert re.search(r"audio 2[78]\d ms earlier", output)
    found = json.loads(out.read_text())
    assert found["tracks"][0]["offset_frames"] == 7
    assert found["video"] == str(moved)
    assert len(found["tracks"][0]["distances"]) == 31
    assert _packets(moved) == _packets(fixed)
    (track,) = video_sync.measure(fixed, talking.sync_model())
    assert track.av_offset.frames == 0


def _packets(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_a_file_that_cannot_be_written_is_refused_before_the_video_is_measured(
    talking_video, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(video_sync, "measure", lambda *_: pytest.fail("late"))
    (tmp_path / "folder.mp4").mkdir()
    for name, message in (
        ("out.avi", "out.avi: a video is written as one of .mp4, .m4v, .mov, .mkv"),
        ("folder.mp4", "folder.mp4 is a folder; give a file in it"),
    ):
        words = ["sync", str(talking_video), "--write-synced", str(tmp_path / name)]
        assert main.main(words) == 1
        error = capsys.readouterr().err
        assert "--write-synced " in error and message in error


def test_a_video_without_faces_or_sound(tmp_path, _stub_sync_model, capsys):
    empty = talking.write_talking_video(
        tmp_path / "empty.mkv", talking.random_speech_mask(30), transform=lambda image: image * 0
    )
    assert main.main(["sync", str(empty), "--sync-model", "expert"]) == 1
    assert "no face found" in capsys.readouterr().out
    silent = tmp_path / "silent.mkv"
    with video_reader.VideoWriter(silent, 25, talking.SIZE) as writer:
        writer.write(talking.talking_face(True))
    assert main.main(["sync", str(silent), "--sync-model", "expert"]) == 1
    assert "silent.mkv has no audio stream" in capsys.readouterr().err
    assert main.main(["sync", str(empty), "--sync-model", "expert", "--max-offset", "1"]) == 1
    assert "give at least 3 frames" in capsys.readouterr().err


def _track(lag, clarity=0.5, start=0.0, end=2.0):
    found = offset.AVOffset(round(lag), lag, 1.0, 1.0, clarity, np.ones(31))
    return video_sync.TrackSync(0, start, end, found)


def test_one_lag_of_a_whole_video():
    assert video_sync.video_offset([_track(2), _track(3, end=4), _track(-9, 0.1)]) == pytest.approx(
        (2 * 2 + 3 * 4) / 6 / 25
    )
    with pytest.raises(ValueError, match="the faces disagree: audio offsets from 0 to 200 ms"):
        video_sync.video_offset([_track(0), _track(5)])


def test_a_faint_offset_needs_stability_and_the_vote_of_the_mouths_motion():
    def track(windows=200, stability=0.95, vote=2, frames=2):
        found = offset.AVOffset(frames, frames, 1.0, 0.05, 0.05, np.ones(31), stability, windows)
        by_motion = None if vote is None else motion_offset.MotionOffset(vote, 0.5, np.ones(31))
        return video_sync.TrackSync(0, 0.0, 8.0, found, vote=by_motion)

    assert track().is_confident
    assert track(vote=3).is_confident
    assert not track(vote=4).is_confident
    assert not track(vote=None).is_confident
    assert not track(stability=0.85).is_confident
    assert not track(windows=70).is_confident
    assert not track(frames=15, vote=15).is_confident  # a better offset may lie beyond the range


def test_stability_tells_a_clip_that_agrees_from_noise():
    rng = np.random.default_rng(0)
    audio_embeddings = rng.normal(size=(200 + 20, 8))
    mask = np.ones(220, bool)
    video = audio_embeddings[13:213] + 3 * rng.normal(size=(200, 8))
    found = offset.measure(video, audio_embeddings, mask, 10)
    assert (found.frames, found.windows) == (3, 200)
    assert found.stability > 0.9
    assert found.prominence < offset.MIN_PROMINENCE
    noise = offset.measure(rng.normal(size=(200, 8)), audio_embeddings, mask, 10)
    assert noise.stability < 0.9


@pytest.mark.parametrize("frames", [-5, 0, 12])
def test_the_mouths_motion_follows_the_loudness(frames):
    loud = np.repeat(np.random.default_rng(2).random(50), 4)
    samples = np.repeat(loud, 640) * np.random.default_rng(3).normal(size=200 * 640)
    crops = (
        np.full((8, 8, 3), 100, np.uint8) + np.uint8(30 * loud[i] * (i % 2)) for i in range(200)
    )
    motion = motion_offset.MouthMotion()
    assert len([*motion.watch(crops)]) == len(motion.values()) == 200
    levels = motion_offset.speech_levels(samples, -frames * 640, 200, 15, 640)
    assert abs(motion_offset.measure(motion.values(), levels, 15).frames - frames) <= 1
    assert motion_offset.measure(np.ones(200), levels, 15) is None
    with pytest.raises(ValueError, match="200 frames need 230 levels, not 10"):
        motion_offset.measure(motion.values(), levels[:10], 15)


def test_the_report_of_dubbing_has_the_offset_before_and_after(talking_video, tmp_path):
    late = _moved(talking_video, tmp_path, 4)
    sync = dub_sync.measure(late, talking_video, talking.sync_model())
    before, after = dub_sync.describe(sync)
    assert before.startswith("sync before: audio 1")
    assert "ms late (+4.0 frames of 25 a second)" in before
    assert after.startswith("sync after: in sync (")
    missing = tmp_path / "photo.png"
    before, _ = dub_sync.describe(dub_sync.measure(missing, talking_video, talking.sync_model()))
    assert before.startswith("sync before: not measured, ")
    assert str(tmp_path) not in before
    image = VideoFaces((Fraction(0),), ())
    sync = dub_sync.measure(missing, talking_video, talking.sync_model(), image)
    assert dub_sync.describe(sync)[0] == "sync before: not measured, the face is an image"


def test_seconds_of_a_video_have_the_offset_of_the_whole(talking_video, monkeypatch):
    """A limit changes neither offset nor confidence, and reads no more audio than needed."""
    model, lengths, load = talking.sync_model(), [], audio.load_from_video_start

    def counted(*args, **options):
        samples, rate = load(*args, **options)
        lengths.append(len(samples) / rate)
        return samples, rate

    monkeypatch.setattr(audio, "load_from_video_start", counted)
    whole = video_sync.measure(talking_video, model)
    (limited,) = video_sync.measure(talking_video, model, end=Fraction(60), longest_only=True)
    best = video_sync.longest(whole)
    assert limited.av_offset[:5] == best.av_offset[:5] and limited.vote.frames == best.vote.frames
    video_sync.measure(talking_video, model, end=Fraction(1, 25), max_offset=1)
    assert lengths[0] == lengths[1] and lengths[2] < 2.5


def test_bands_of_motion_are_those_of_a_gaussian_filter():
    rng = np.random.default_rng(0)
    for length in (20, 60, 300):
        values = rng.normal(0, 1, length)
        for std in (1.0, 12.0):
            expected = scipy.ndimage.gaussian_filter1d(values, std)
            np.testing.assert_allclose(motion_offset._gaussian_filter(values, std), expected)


def test_the_report_of_dubbing_detects_no_face_again(talking_video, tmp_path, monkeypatch):
    source = frame_source.open_frame_source(talking_video)
    found = face_detection_pass.detect_faces_in_video(
        source, None, DubbingOptions(cache=False), lambda *_: None
    )
    count = len(found.times)
    numbers = [*range(count), *range(count - 2, -1, -1)][: count + 9]  # ping-pong
    longer = tmp_path / "longer.mp4"
    images = [frame.image for frame in source.frames()]
    samples, rate = audio.load_from_video_start(talking_video)
    audio.save(tmp_path / "voice.wav", np.resize(samples, rate * len(numbers) // 25), rate)
    with video_reader.VideoWriter(
        longer, 25, source.size, preset="ultrafast", audio=tmp_path / "voice.wav"
    ) as writer:
        for number in numbers:
            writer.write(images[number])

    def refuse(*_):
        raise AssertionError("faces were detected")

    monkeypatch.setattr(face_detection_pass, "detect_faces_in_video", refuse)
    sync = dub_sync.measure(talking_video, longer, talking.sync_model(), found, numbers)
    before, after = dub_sync.describe(sync)
    assert "in sync (" in before and "in sync (" in after
    with pytest.raises(AssertionError, match="detected"):  # a file of other frames
        dub_sync.measure(talking_video, longer, talking.sync_model(), found, numbers[:-1])


@pytest.mark.usefixtures("_stub_sync_model")
def test_the_report_of_dubbing_without_a_cache_neither_reads_nor_writes_one(
    talking_video, monkeypatch
):
    def refuse(*_):
        raise AssertionError("the cache was used")

    monkeypatch.setattr(weights, "resolve", lambda *_: Path("built_in"))
    for name in ("load", "store"):
        monkeypatch.setattr(cache, name, refuse)
        monkeypatch.setattr(offset_cache, name, refuse)
    result = types.SimpleNamespace(video_faces=None, frame_numbers=())
    sync = dub_command._measure_sync(talking_video, talking_video, {"cache": False}, result)
    for line in dub_sync.describe(sync):
        assert "in sync (" in line


def test_the_offset_before_dubbing_is_measured_once(talking_video, tmp_path, monkeypatch):
    late, model = _moved(talking_video, tmp_path, 4), talking.sync_model()
    first = dub_sync.measure(late, talking_video, model)
    measured, measure = [], video_sync.measure

    def count(path, *args, **options):
        measured.append(path)
        return measure(path, *args, **options)

    monkeypatch.setattr(video_sync, "measure", count)
    again = dub_sync.measure(late, talking_video, model)
    assert measured == [talking_video]
    np.testing.assert_equal(vars(again.before), vars(first.before))
    # Other weights, the faces of another detection, no cache, a damaged entry.
    other = SyncModel(model.inference, "other", model._video_encoder, model._audio_encoder)
    dub_sync.measure(late, talking_video, other)
    found = face_detection_pass.detect_faces_in_video(
        frame_source.open_frame_source(late), None, DubbingOptions(), lambda *_: None
    )
    dub_sync.measure(late, talking_video, model, found, range(len(found.times)))
    dub_sync.measure(late, talking_video, model, cache=False)
    assert measured.count(late) == 3
    for entry in user_cache.folder("sync").iterdir():
        entry.write_text("{}")
    dub_sync.measure(late, talking_video, model)
    assert measured.count(late) == 4
