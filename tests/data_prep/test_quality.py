import cv2
import numpy as np
import pytest

from lipsync_jax.data_prep import quality
from lipsync_jax.data_prep.settings import ExtractionSettings
from lipsync_jax.data_prep.synthetic.face import FaceState, Identity, Portrait

SETTINGS = ExtractionSettings(sync_model="none")
TONE = (3000 * np.sin(np.arange(32_000))).astype(np.int16)


def problem(detailed=False, **changes):
    values = {"face_height": 90.0, "outside": 0.0, "sharpness": 100.0, "samples": TONE}
    values |= {"rate": 16_000, "relative_prominence": None, **changes}
    found = quality.problem(SETTINGS, **values)
    return found if detailed else found and found[0]


def test_each_defect_has_its_reason():
    assert problem() is None
    assert problem(face_height=39.0) == "face too small"
    assert problem(outside=0.25) == "face cut off"
    assert problem(sharpness=9.0) == "blurred"
    assert problem(samples=np.full(32_000, 20, np.int16)) == "silent"
    assert problem(relative_prominence=0.3) is None
    for changes, detail in (
        ({"face_height": 20.0}, "20 pixels high, of --min-face-height 40"),
        ({"outside": 0.25}, "25% of the face box is outside of the image, of --max-outside"),
        ({"sharpness": 9.0}, "variance of the Laplacian 9.0, of --min-sharpness 10"),
    ):
        assert detail in problem(detailed=True, **changes)[1]


def test_a_voice_is_off_screen_where_there_is_speech(monkeypatch):
    for seconds, reason in ((2.0, "off-screen voice"), (0.5, None)):
        monkeypatch.setattr(quality, "_speech_seconds", lambda *_, s=seconds: s)
        assert problem(relative_prominence=0.2) == reason


def test_a_face_out_of_focus_is_not_sharp():
    portrait = Portrait(Identity.sample(np.random.default_rng(2)), 60)
    face = portrait.render(FaceState(), (256, 256), (-1.3, -1.3, 1.3, 1.5))
    sharp, soft = (quality.sharpness(image) for image in (face, cv2.GaussianBlur(face, (0, 0), 8)))
    assert sharp > 3 * SETTINGS.min_sharpness
    assert soft < SETTINGS.min_sharpness
    assert quality.sharpness(cv2.resize(face, (96, 96), interpolation=cv2.INTER_AREA)) == (
        pytest.approx(sharp, rel=0.2)
    )


def test_the_part_of_a_box_beyond_the_image_is_found():
    boxes = np.array([[10, 10, 30, 30], [-10, 0, 10, 20]], np.float32)
    assert quality.outside_fraction(boxes, 100, 100) == pytest.approx(0.25)
    assert quality.outside_fraction(boxes[:1], 20, 20) == pytest.approx(0.75)
