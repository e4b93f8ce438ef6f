import dataclasses
import time
from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.data_prep import clip_cache, segments
from lipsync_jax.data_prep.candidates import Candidates
from lipsync_jax.data_prep.corpora import Video
from lipsync_jax.data_prep.decision import decide
from lipsync_jax.data_prep.extract_clips import extract_clips, read_candidates
from lipsync_jax.data_prep.settings import ExtractionSettings
from lipsync_jax.data_prep.stages import StageLog
from lipsync_jax.media import audio
from tests.helpers import corpus_trees
from tests.helpers.colour_faces import buzz, detect, face_image, square_box, write_video
from tests.media.test_pixels import encode

SETTINGS = ExtractionSettings(**corpus_trees.SETTINGS, max_seconds=0.8)


def unsynced(**options):
    return ExtractionSettings(sync_model="none", **options)


def extract_video(tmp_path, images, samples, settings=SETTINGS, **options):
    path = write_video(tmp_path / "a.mkv", images, samples, **options)
    return extract_clips(Video(path, "s/a", "s"), "folder", settings)


def reasons(result):
    return [(item.clip_id, item.reason) for item in result.rejected]


def test_each_frame_is_in_the_ranges_that_have_it():
    ranges = {"b": range(3, 6), "a": range(0, 4), "empty": range(2, 2), "c": range(5, 9)}
    passing = segments.Passing(ranges.items())
    for frame in (0, 1, 3, 5, 8, 9):  # frames may be left out
        assert sorted(passing.at(frame)) == sorted(k for k, r in ranges.items() if frame in r)
    # Two hours of clips of three seconds.
    passing = segments.Passing((n, range(75 * n, 75 * n + 75)) for n in range(2400))
    started = time.process_time()
    assert all(passing.at(frame) == [frame // 75] for frame in range(180_000))
    assert time.process_time() - started < 2


def test_a_video_becomes_clips_with_their_own_audio(tmp_path):
    images = [face_image(square_box(10 + i)) for i in range(45)]
    ramp = np.linspace(0.1, 0.9, 45 * 441)  # 11025 Hz: 441 samples a frame
    result = extract_video(tmp_path, images, ramp, rate=11025)
    assert result.num_frames == result.num_frames_with_face == 45
    assert result.rejected == result.notes == ()
    first, second = result.clips  # 0.8 s and 0.8 s; the last 0.2 s are too short
    assert (first.clip_id, second.clip_id) == ("s/a/000000", "s/a/000020")
    assert (first.speaker, first.frame_rate, first.audio_rate) == ("s", Fraction(25), 11025)
    for clip, start in ((first, 0), (second, 20)):
        assert len(clip.frames) == 20
        part = ramp[start * 441 : (start + 20) * 441]
        np.testing.assert_allclose(clip.audio / 32768, part, atol=1e-4)
        assert clip.landmarks.shape == (20, 5, 2)
        assert clip.landmarks.dtype == np.float32
    # The face moves evenly, so its crop is constant: red, with its eyes in the upper corners.
    frames = decode_frames(first, range(20))
    assert frames.shape == (20, 96, 96, 3)
    assert (frames[:, 3:78, 3:93, 2] > 200).all() and (frames[:, 3:78, 3:93, :2] < 60).all()
    np.testing.assert_allclose(first.landmarks[:, 0], np.zeros((20, 2)), atol=1e-3)
    np.testing.assert_allclose(first.landmarks[:, 4], np.tile([96, 96 * 0.85], (20, 1)), atol=0.01)


ALIGNED = ExtractionSettings(**corpus_trees.SETTINGS, crop="aligned128x96")


def test_aligned_crops_place_the_face_canonically(tmp_path):
    images = [face_image(square_box(10 + i)) for i in range(30)]
    (clip,) = extract_video(tmp_path, images, buzz(1.2, 50_000), ALIGNED, rate=50_000).clips
    assert (len(clip.audio), clip.audio_rate) == (60_000, 50_000)
    frames = decode_frames(clip, range(30))
    assert frames.shape == (30, 128, 96, 3)
    # The face's upper corners are its eyes. Frames look ahead, by three frames in the mean.
    eyes = clip.landmarks[:, :2]
    assert np.abs(eyes[:24, :, 0].mean(axis=1) - eyes[:24].mean()).max() < 12
    np.testing.assert_allclose(np.ptp(eyes[:24], axis=0), 0, atol=0.01)
    for image, (left, right) in zip(frames[::6], eyes[::6], strict=True):
        middle = ((left + right) / 2).astype(int)
        assert image[middle[1] + 6, middle[0], 2] > 200 > image[middle[1] - 6, middle[0], 2]


def test_alignment_needs_landmarks(tmp_path):
    def blind(rgb):
        return [dataclasses.replace(f, landmarks=np.full((5, 2), np.nan)) for f in detect(rgb)]

    settings = dataclasses.replace(ALIGNED, detector=blind)
    assert reasons(
        extract_video(tmp_path, [face_image(square_box(20))] * 20, buzz(0.8), settings)
    ) == [("s/a/000000", "no landmarks")]


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), 50, 24])
def test_other_frame_rates_become_25_without_drift(tmp_path, rate):
    count = round(2 * rate)
    images = [face_image((4, 4, 30, 30), background=(0, 2 * i, 0)) for i in range(count)]
    settings = ExtractionSettings(**corpus_trees.SETTINGS, max_seconds=2, crop="face128")
    (clip,) = extract_video(tmp_path, images, buzz(2), settings, frame_rate=rate).clips
    assert clip.clip_id == "s/a"
    assert len(clip.frames) == 50
    assert len(clip.audio) == 32000
    assert decode_frames(clip, range(1)).shape[1:] == (128, 128, 3)


def test_unusable_videos_are_reported(tmp_path):
    face, none = face_image(square_box(20)), face_image()
    cases = {
        "no face": ([none] * 20, buzz(0.8)),
        "too short": ([face] * 5, buzz(0.2)),
        "no audio": ([face] * 20, None),
        "silent": ([face] * 20, np.zeros(12800)),
        "face often lost": ([face, none] * 10, buzz(0.8)),
        "face too small": ([face_image(square_box(20, size=8))] * 20, buzz(0.8)),
        "several faces": ([face_image(square_box(10), square_box(50))] * 20, buzz(0.8)),
    }
    for reason, (images, samples) in cases.items():
        result = extract_video(tmp_path, images, samples)
        assert not result.clips
        assert {reason} == {item.reason for item in result.rejected}, result.rejected
    slow = extract_video(tmp_path, [face] * 20, buzz(2), frame_rate=10)
    assert reasons(slow) == [("s/a", "too few frames")]


def test_no_clip_crosses_a_scene_cut(tmp_path):
    images = [face_image(square_box(20))] * 14 + [
        face_image(square_box(21), background=(210, 220, 90))
    ] * 13
    result = extract_video(tmp_path, images, buzz(27 / 25))
    assert [(c.clip_id, len(c.frames)) for c in result.clips] == [
        ("s/a/000000", 14),
        ("s/a/000014", 13),
    ]


def test_a_segment_is_compared_with_the_faces_beside_it_alone(monkeypatch):
    def track(start, length, size):
        box, points = np.float32([0, 0, size, size]), np.zeros((length, 5, 2), np.float32)
        rows = np.tile(box, (length, 1)), points, np.ones(length, np.float32)
        return faces.Track(start, *rows, np.ones(length, bool), np.zeros(3, np.float32), None)

    compared, relative_size = [], segments._relative_size

    def counted(segment, other):
        compared.append(other.start)
        return relative_size(segment, other)

    monkeypatch.setattr(segments, "_relative_size", counted)
    # Two hours, a face each second; beside the second face is a larger one.
    tracks = [track(25 * number, 25, 50) for number in range(7200)]
    tracks.insert(2, track(30, 20, 90))
    kept = segments.cut("a", tracks, [], unsynced(detect_every=1), set(), StageLog())
    assert len(kept) == 7199 and kept[1].start == 50 and compared == [30]


def test_a_bystander_is_left_out(tmp_path):
    images = [face_image(square_box(10, 10, size=30), square_box(60, size=12))] * 20
    result = extract_video(tmp_path, images, buzz(0.8))
    (clip,) = result.clips
    assert (decode_frames(clip, range(1))[..., 2] > 200).mean() > 0.8
    assert not result.rejected


def test_a_broken_file_is_a_result(tmp_path):
    broken = tmp_path / "a.mp4"
    broken.write_bytes(b"no video at all")
    (rejected,) = extract_clips(Video(broken, "a", "a"), "folder", SETTINGS).rejected
    assert rejected.reason == "unreadable"
    assert "a.mp4" in rejected.detail

    def failing(rgb):
        raise RuntimeError("out of luck")

    result = extract_video(
        tmp_path, [face_image()] * 3, buzz(1), dataclasses.replace(SETTINGS, detector=failing)
    )
    assert result.rejected[0].detail == "RuntimeError: out of luck"


def test_audio_may_lie_beside_the_video(tmp_path):
    path = write_video(tmp_path / "a.mkv", [face_image(square_box(20))] * 20)
    audio.save(tmp_path / "a.wav", buzz(0.8, 22050), 22050)
    (clip,) = extract_clips(Video(path, "a", "a"), "folder", SETTINGS).clips
    assert clip.audio_rate == 22050
    assert len(clip.audio) == 17640


def test_words_go_with_the_clip_their_middle_is_in(tmp_path):
    path = write_video(tmp_path / "bbaf2n.mkv", [face_image(square_box(20))] * 40, buzz(1.6))
    path.with_suffix(".align").write_text(
        "0 5000 sil\n5000 10000 bin\n16000 26000 blue\n30000 39000 now\n"
    )
    first, second = extract_clips(Video(path, "s1/bbaf2n", "s1"), "grid", SETTINGS).clips
    words = [
        [(w.text, round(w.start, 3), round(w.end, 3)) for w in c.words] for c in (first, second)
    ]
    assert words == [[("bin", 0.2, 0.4)], [("blue", 0.0, 0.24), ("now", 0.4, 0.76)]]


def test_errors_of_settings_name_the_option():
    for wrong, message in (
        ({"crop": "face97"}, "choose one of face96"),
        ({"min_seconds": 5.0}, "the shortest must be"),
        ({"detector": "haar"}, "choose auto, "),
        ({"detect_every": 0}, "at least one frame"),
    ):
        with pytest.raises(ValueError, match=message):
            ExtractionSettings(**wrong)


def test_results_are_cached_under_the_detector_that_made_them(tmp_path, monkeypatch):
    first, second = faces.DETECTORS
    monkeypatch.setitem(faces.DETECTORS, second, detect)
    video, weights = tmp_path / "video.mkv", tmp_path / "own.onnx"
    video.write_bytes(b"a video")
    weights.write_bytes(b"weights")
    source = Video(video, "video", "someone")

    def key(**options):
        return clip_cache.cache_key(source, "folder", unsynced(**options))

    assert ExtractionSettings().detector == first
    assert key() == key(detector=first) != key(detector=second)
    before = key(detector=f"yunet:{weights}")
    weights.write_bytes(b"other weights")
    assert key(detector=f"yunet:{weights}") != before
    monkeypatch.setitem(faces.DETECTORS, first, lambda rgb: 1 / 0)
    assert key() == key(detector=second)


def test_cached_candidates_are_read_whole_or_not_at_all(tmp_path):
    images = [face_image(square_box(10 + i)) for i in range(45)]
    images[30:34] = [face_image()] * 4
    path = write_video(tmp_path / "a.mkv", images, buzz(1.8))
    video, file = Video(path, "s/a", "s"), tmp_path / "cached.npz"
    found = read_candidates(video, "folder", SETTINGS)
    result = decide(video, found, SETTINGS)
    assert len(result.clips) == 2
    clip_cache.save(found, file, "key", result)
    read, features = clip_cache.load(file, "key")
    assert features.keys() == result.features.keys() != set()
    again = decide(video, read, SETTINGS, features)
    assert again.rejected == result.rejected
    assert (again.num_frames, again.num_frames_with_face, again.notes) == (45, 41, ())
    for a, b in zip(again.clips, result.clips, strict=True):
        for field in dataclasses.fields(a):
            np.testing.assert_equal(getattr(a, field.name), getattr(b, field.name))
        for name, values in a.features.items():
            np.testing.assert_array_equal(values, b.features[name])
    assert clip_cache.load(file, "another key") is None
    assert clip_cache.load(tmp_path / "none.npz", "key") is None
    whole = file.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 4):
        file.write_bytes(whole[:size])
        assert clip_cache.load(file, "key") is None


def test_writers_of_one_file_do_not_meet(tmp_path, monkeypatch):
    """Processes of two machines that share the folder may have one number."""
    file, savez = tmp_path / "a.npz", np.savez

    def save_another(stream, **arrays):
        monkeypatch.setattr(np, "savez", savez)
        clip_cache.save(Candidates(notes=("another",)), file, "key")
        savez(stream, **arrays)

    monkeypatch.setattr(np, "savez", save_another)
    clip_cache.save(Candidates(notes=("own",)), file, "key")
    assert clip_cache.load(file, "key")[0].notes == ("own",)

    def fail(stream, **arrays):
        raise OSError("the disk is full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk is full"):
        clip_cache.save(Candidates(), file, "key")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_the_key_of_a_result_follows_file_and_settings(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"1")
    source = Video(path, "a", "a")
    key = clip_cache.cache_key(source, "grid", unsynced())
    assert key == clip_cache.cache_key(source, "grid", unsynced())
    keys = {key, clip_cache.cache_key(source, "grid", unsynced(smoothing=7))}
    path.with_suffix(".align").write_text("0 1000 bin\n")
    keys.add(clip_cache.cache_key(source, "grid", unsynced()))
    path.write_bytes(b"12")
    keys.add(clip_cache.cache_key(source, "grid", unsynced()))
    assert len(keys) == 4


def test_interlaced_videos_are_deinterlaced_and_noted(tmp_path):
    path = tmp_path / "a.mp4"
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1", "crf": "4"}
    images = [face_image(square_box(10 + i)) for i in range(25)]
    for i in range(24):
        images[i] = images[i].copy()
        images[i][1::2] = images[i + 1][1::2]
    encode(path, images, options=options)
    audio.save(tmp_path / "a.wav", buzz(1), 16_000)
    result = extract_clips(Video(path, "a", "a"), "folder", SETTINGS)
    assert result.notes == ("interlaced: deinterlaced",)
    assert result.clips
