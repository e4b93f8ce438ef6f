import dataclasses

import cv2
import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.data_prep.synthetic import render_clips
from lipsync_jax.data_prep.synthetic.articulation import Voice
from lipsync_jax.data_prep.synthetic.face import FaceState, Identity, Portrait
from lipsync_jax.data_prep.synthetic.face.portrait import FRAME

SIZE = 128


@pytest.fixture(scope="module")
def portraits():
    identities = [Identity.sample(np.random.default_rng(seed)) for seed in range(60, 66)]
    identities = [dataclasses.replace(identity, beard="none") for identity in identities]
    return [Portrait(identity, 2 * SIZE / 5.2) for identity in identities]


@pytest.fixture(scope="module")
def performances(portraits):
    rngs = [np.random.default_rng(seed) for seed in range(len(portraits))]
    return [render_clips.sample_performance(Voice.sample(rng), 3.0, rng) for rng in rngs]


def _crop(portrait, state, rows=96, columns=96):
    box = faces.face_box(portrait.box(state), portrait.landmarks(state))
    return portrait.render(state, (rows, columns), tuple(box.tolist()))


def _static_frame(state):
    """Only the mouth of a state, on a head at rest."""
    names = ("jaw", "opening", "width", "rounding", "tuck", "tongue")
    return FaceState(**{name: getattr(state, name) for name in names})


def test_frames_are_bgr_and_do_not_depend_on_what_came_before(portraits):
    portrait = portraits[0]
    state = FaceState(opening=0.4, jaw=0.4, blink=0.3)
    first = portrait.render(state, (60, 80))
    portrait.render(FaceState(blink=1.0, gaze=(0.5, 0.0)), (60, 80))
    again = Portrait(portrait.identity, 2 * SIZE / 5.2).render(state, (60, 80))
    assert first.shape == (60, 80, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, portrait.render(state, (60, 80)))
    np.testing.assert_array_equal(first, again)


def test_skin_is_redder_than_blue(portraits):
    for portrait in portraits:
        cheek = _crop(portrait, FaceState())[45:60, 20:30].reshape(-1, 3).mean(0)
        assert cheek[2] > cheek[0]


def test_identities_differ(portraits):
    small = [cv2.resize(_crop(p, FaceState()), (24, 24)).astype(float) for p in portraits]
    for i, one in enumerate(small):
        assert all(np.abs(one - other).mean() > 8 for other in small[:i])


def test_the_mouth_opens_with_the_articulation(portraits, performances):
    """What changes around the lips, against a shut mouth, goes with the articulated gap."""
    for portrait, performance in zip(portraits, performances, strict=True):
        shut = _crop(portrait, FaceState(opening=0.0, jaw=0.0)).astype(float)
        states = [_static_frame(state) for state in performance.states[::3]]
        change = [
            np.abs(_crop(portrait, state).astype(float) - shut)[62:92, 36:60].mean()
            for state in states
        ]
        opening = [max(state.opening, 0) for state in states]
        assert np.corrcoef(change, opening)[0, 1] > 0.85


def test_lips_pressed_for_p_b_m_leave_no_gap(portraits):
    """The inside of the mouth shows in no pixel: its rows don't change with the tongue."""
    for portrait in portraits:
        shut = FaceState(opening=-0.3, jaw=0.12)
        parted = FaceState(opening=0.5, jaw=0.12)
        for state, same in ((shut, True), (parted, False)):
            raised = dataclasses.replace(state, tongue=1.0)
            assert np.array_equal(_crop(portrait, state), _crop(portrait, raised)) == same


def test_a_blink_changes_the_eyes_only(portraits):
    for portrait in portraits:
        opened, shut = (_crop(portrait, FaceState(blink=blink)).astype(int) for blink in (0, 1))
        changed = np.abs(opened - shut).max(-1) > 12
        rows = np.flatnonzero(changed.any(1))
        assert changed.sum() > 60
        assert rows.min() > 15 and rows.max() < 50


def test_crops_are_framed_as_those_of_real_videos(portraits, performances):
    for portrait, performance in zip(portraits, performances, strict=True):
        boxes, landmarks = render_clips.crop_boxes(
            portrait, performance.states, np.random.default_rng(0)
        )
        inside = faces.to_crop(landmarks, boxes, 1)
        assert (inside[:, 3:, 1] > 0.5).all() and (inside[:, 3:, 1] < 0.9).all()
        assert (inside[:, 3, 0] < inside[:, 4, 0]).all() and (inside[:, :2, 1] < 0.5).all()
        chins = [(0.0, portrait.identity.chin)]
        chins = np.stack([portrait.project(np.array(chins), state) for state in performance.states])
        assert (faces.to_crop(chins, boxes, 1)[..., 1] < 1).all()


def test_landmarks_lie_on_what_they_name(portraits):
    """The mouth corners bound what moves when the mouth opens, turned heads included."""
    for portrait, yaw in zip(portraits, (-0.2, 0.2, 0, 0, 0.1, -0.1), strict=True):
        state = FaceState(opening=0.5, jaw=0.0, yaw=yaw)
        wide = dataclasses.replace(state, tongue=1.0)
        changed = np.abs(_crop(portrait, state).astype(int) - _crop(portrait, wide)).max(-1) > 8
        box = faces.face_box(portrait.box(state), portrait.landmarks(state))
        left, right = faces.to_crop(portrait.landmarks(state), box, 96)[3:, 0]
        columns = np.flatnonzero(changed.any(0))
        assert left - 2 < columns.min() and columns.max() < right + 2
        assert abs((columns.min() + columns.max()) / 2 - (left + right) / 2) < 3


def test_the_detector_finds_them(portraits, performances):
    for portrait, performance in zip(portraits, performances, strict=True):
        for state in performance.states[::40]:
            image = portrait.render(state, (256, 256))
            detected = faces.detect(np.ascontiguousarray(image[..., ::-1]))
            assert len(detected) == 1


def test_heads_move_and_eyes_blink(performances):
    for performance in performances:
        assert len(performance.states) == 75
        turn = np.array([(state.yaw, state.pitch, state.roll) for state in performance.states])
        assert (turn.std(0) > 0.003).all() and (np.abs(turn) < 0.5).all()
        assert np.abs(np.diff(turn, axis=0)).max() < 0.1  # no jumps between frames
    assert (
        sum(max(state.blink for state in performance.states) > 0.9 for performance in performances)
        >= 3
    )


def _rendered_places(portrait, monkeypatch, points, state):
    """Renders a mark at each point of a head at rest; returns the places of the marks, head units.

    Args:
        points: (n, 2) of the face at rest, head units.
    """
    canvas, size, places = portrait._canvas, 4 * SIZE, []
    heads = np.zeros((1 + len(points), canvas.height, canvas.width, 4), np.uint8)
    heads[..., 3] = 255
    for head, pixel in zip(heads[1:], np.round(canvas.pixels(points)).astype(int), strict=True):
        cv2.circle(head, pixel.tolist(), 2, (255, 255, 255, 255), -1)
    heads = iter(heads)
    monkeypatch.setattr(portrait, "_animated_head", lambda _: next(heads))
    plain = portrait.render(state, (size, size))
    for _ in points:
        mark = (portrait.render(state, (size, size)).astype(int) - plain).sum(-1)
        centre = [(np.indices(mark.shape)[i] * mark).sum() / mark.sum() + 0.5 for i in (1, 0)]
        places.append(np.array(centre) * (FRAME[2] - FRAME[0]) / size + FRAME[:2])
    return np.array(places)


@pytest.mark.parametrize("angle", [-0.3, 0.3])
@pytest.mark.parametrize(("name", "axis"), [("yaw", 0), ("pitch", 1)])
def test_a_turn_moves_near_parts_of_the_head_further(portraits, monkeypatch, name, axis, angle):
    portrait, turned = portraits[0], FaceState(**{name: angle})
    points = np.array([(0.0, portrait.identity.nose_y), (-0.95, -0.3)])  # nose, temple
    before, after = (
        _rendered_places(portrait, monkeypatch, points, state) for state in (FaceState(), turned)
    )
    np.testing.assert_allclose(before, points, atol=0.02)
    np.testing.assert_allclose(after, portrait.project(points, turned), atol=0.02)
    flat = before * [np.cos(turned.yaw), 1]  # what the turn makes of a flat head
    nose, temple = np.sign(angle) * (after - flat)[:, axis]
    assert nose > 0.2 and nose > temple + 0.05  # to where the face turns
