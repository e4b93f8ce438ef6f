from fractions import Fraction

import numpy as np

from lipsync_jax import faces
from lipsync_jax.faces import trajectory
from lipsync_jax.media import video_reader


def make_track(start, length, height=50, detected=None):
    boxes = np.tile(np.float32([10, 10, 50, 10 + height]), (length, 1))
    found = np.ones(length, bool)
    if detected is not None:
        found[detected:] = False
    landmarks = np.full((length, 5, 2), np.nan, np.float32)
    return faces.Track(start, boxes, landmarks, found.astype(np.float32), found)


def test_the_main_face_of_every_shot_and_no_bystander():
    main, bystander, other_shot = make_track(0, 50), make_track(10, 80, 20), make_track(50, 30)
    false_alarm, glimpse = make_track(90, 2), make_track(95, 12, detected=1)
    chosen = trajectory.select_main_tracks([main, bystander, other_shot, false_alarm, glimpse])
    assert sorted(t.start for t in chosen) == [0, 50]
    assert trajectory.select_main_tracks([false_alarm]) == [false_alarm]


def follow(images, detector, **options):
    frames = [video_reader.Frame(Fraction(i, 25), image, i) for i, image in enumerate(images)]
    options = trajectory.FaceOptions(detector=detector, **options)
    survey = trajectory.track_video(frames, Fraction(25), options)
    return trajectory.face_trajectory(survey, trajectory.select_main_tracks(survey.tracks), options)


def at(rgb):
    """Detects a face of the size in the image's first pixel, none for 0."""
    if not rgb[0, 0, 0]:
        return []
    box = np.float32([10, 10, 10 + rgb[0, 0, 0], 60])
    return [faces.Face(box, 0.9, np.full((5, 2), np.nan, np.float32))]


def face_images(values):
    return [np.full((80, 80, 3), value, np.uint8) for value in values]


def test_boxes_are_padded_smoothed_and_interpolated():
    path = follow(face_images([30] * 10 + [34] * 10), at, detect_every=1, smooth=False)
    np.testing.assert_allclose(path.boxes[[0, 15], 2], [40, 44])
    padded = follow(face_images([40] * 10), at, pads=(1, 2, 3, 4))
    plain = follow(face_images([40] * 10), at)
    np.testing.assert_allclose(padded.boxes - plain.boxes, [[-3, -1, 4, 2]] * 10, atol=1e-4)
    smooth = follow(face_images([30] * 10 + [34] * 10), at, detect_every=1)
    assert 40 < smooth.boxes[9, 2] < 44 and path.face_present.all()


def test_before_the_first_face_its_place_is_held_too():
    values = [0] * 8 + [40] * 8
    kept = follow(face_images(values), at, detect_every=1)
    assert np.isnan(kept.boxes[:8]).all() and np.isfinite(kept.boxes[8:]).all()
    held = follow(face_images(values), at, detect_every=1, on_missing_face="hold")
    np.testing.assert_array_equal(held.boxes[:8], held.boxes[[8] * 8])
    np.testing.assert_array_equal(held.face_present, kept.face_present)


def test_a_constant_box_needs_no_detector():
    path = follow(face_images([0] * 3), None, box=(1, 20, 3, 40), pads=(9, 9, 9, 9))
    np.testing.assert_array_equal(path.boxes, [[3, 1, 40, 20]] * 3)
    assert path.face_present.all() and np.isnan(path.landmarks).all()
