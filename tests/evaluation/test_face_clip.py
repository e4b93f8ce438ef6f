"""What is cut out of videos and clips, and the still faces that methods must beat."""

from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.evaluation import baselines, face_clip
from lipsync_jax.evaluation.protocol import Protocol, get
from lipsync_jax.media import mux
from tests.conftest import toy_clip
from tests.helpers import talking

PROTOCOL = Protocol("test", 1, crop_size=16, detect_every=1)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    said = talking.random_speech_mask(30)
    talking.write_talking_video(folder / "real.mkv", said)
    talking.write_talking_video(folder / "elsewhere.mkv", said, position=(10, 10))
    talking.write_talking_video(folder / "fast.mkv", said, rate=50)
    talking.write_talking_video(folder / "short.mkv", said[:10])
    return folder


def test_a_video_is_its_main_face_25_times_a_second(films):
    real, fast = (face_clip.from_video(films / f"{n}.mkv", PROTOCOL) for n in ("real", "fast"))
    assert len(real) == len(fast) == 30
    assert real.frame_indices == tuple(range(30))
    assert fast.frame_indices == tuple(range(0, 60, 2))
    np.testing.assert_array_equal(real.crops(16), fast.crops(16))
    np.testing.assert_allclose(real.boxes[0, :3], [30, 20, 62])
    assert len(real.first_frames(7).crops(8)) == 7


def test_a_generated_video_is_cut_at_its_references_boxes(films):
    real = face_clip.from_video(films / "real.mkv", PROTOCOL)
    generated_clip = face_clip.matched_to(films / "elsewhere.mkv", real, PROTOCOL)
    np.testing.assert_array_equal(generated_clip.boxes, real.boxes)
    assert len(face_clip.matched_to(films / "short.mkv", real, PROTOCOL)) == 10
    fast = face_clip.matched_to(films / "fast.mkv", real, PROTOCOL)
    np.testing.assert_array_equal(fast.crops(16), real.crops(16))


def test_footage_starts_where_the_face_does(tmp_path):
    numbers = iter(range(99))

    def late(image):
        return image if next(numbers) >= 10 else image * 0 + 50

    said = talking.random_speech_mask(40)
    path = talking.write_talking_video(tmp_path / "late.mkv", said, transform=late)
    real = face_clip.from_video(path, PROTOCOL)
    assert (real.start, real.audio_start, real.frame_indices[0]) == (Fraction(10, 25), 6400, 10)
    talking.write_talking_video(tmp_path / "all.mkv", said)
    generated_clip = face_clip.matched_to(tmp_path / "all.mkv", real, PROTOCOL)
    assert generated_clip.frame_indices == real.frame_indices
    np.testing.assert_array_equal(generated_clip.crops(16), real.crops(16))


def test_what_cannot_be_compared(films, tmp_path):
    real = face_clip.from_video(films / "real.mkv", PROTOCOL)
    empty = talking.write_talking_video(
        tmp_path / "empty.mkv", talking.random_speech_mask(10), transform=lambda image: image * 0
    )
    for read in (
        lambda: face_clip.from_video(empty, PROTOCOL),
        lambda: face_clip.matched_to(empty, real, PROTOCOL),
    ):
        with pytest.raises(ValueError, match="no face was found in any of 10 frames"):
            read()
    wide = talking.write_talking_video(
        tmp_path / "short.mkv", talking.random_speech_mask(3), transform=lambda image: image
    )
    with pytest.raises(ValueError, match="give a longer video"):
        face_clip.matched_to(wide, real, PROTOCOL)


def test_a_clip_of_shards_is_its_own_crop():
    clip = toy_clip("a/b", 3)
    real = face_clip.from_clip(clip)
    assert (len(real), real.size, real.detector_boxes) == (40, (96, 96), None)
    assert len(real.samples) == 40 * 640
    sync_model = talking.sync_model()
    image = next(iter(real.read_frames()))
    captured = real.sync_crop_fn(sync_model, "track")(image, 0)
    assert captured.shape == (24, 24, 3)
    np.testing.assert_allclose(
        captured.mean(axis=(0, 1)), image[..., ::-1].mean(axis=(0, 1)), atol=2
    )


def test_still_mouths(films):
    real = face_clip.from_video(films / "real.mkv", PROTOCOL)
    reference_image = baselines.mouth_baselines(real)
    true, copied, mean = (x.crops(16) for x in (real, *reference_image.values()))
    assert list(reference_image) == ["copy-reference", "mean-mouth"]
    np.testing.assert_array_equal(copied[:, :7], true[:, :7])
    assert np.ptp(copied.astype(int), axis=0).max() <= 1
    assert np.ptp(true.astype(int), axis=0).max() > 200
    np.testing.assert_allclose(mean[5, 9:15], true[:, 9:15].mean(axis=0), atol=25)
    assert np.ptp(mean.astype(int), axis=0).max() <= 1


def test_whole_frames_for_face_corpora(films):
    real = face_clip.from_video(films / "real.mkv", PROTOCOL)
    image = next(iter(real.read_frames()))
    captured = real.sync_crop_fn(talking.sync_model(), get("wav2lip-lrs-2").sync_crop)(image, 0)
    assert captured.shape == (24, 24, 3)
    assert abs(int(captured[0, 0, 0]) - int(image[0, 0, 2])) <= 1


def test_sound_that_is_moved_is_moved_in_footage(films, tmp_path):
    mux.mux(films / "real.mkv", films / "real.mkv", tmp_path / "m.mkv", delay=Fraction(1, 5))
    real = face_clip.from_video(films / "real.mkv", PROTOCOL)
    moved = face_clip.from_video(tmp_path / "m.mkv", PROTOCOL)
    np.testing.assert_allclose(moved.samples[3200:9600], real.samples[:6400], atol=1e-3)
    with pytest.raises(ValueError, match="choose from face-2, wav2lip-lrs-2"):
        get("face-0")
