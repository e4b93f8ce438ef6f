"""LMD, sync, blinks, identity, word errors and the like, on arrays."""

import json
from pathlib import Path

import numpy as np
import pytest

from lipsync_jax.evaluation.metrics import (
    acd,
    blinks,
    frechet,
    lipleak,
    lmd,
    lse,
    success_rate,
    wer,
)
from lipsync_jax.evaluation.sync import offset

FOLDER = Path(__file__).parents[1] / "golden" / "metrics"


@pytest.fixture(scope="module")
def mouths():
    with np.load(FOLDER / "landmarks.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize(
    ("reading", "key"), [("mean", "lmd"), ("sum", "sum20"), ("clip_mean", "global_mean")]
)
def test_the_three_readings_of_lmd(mouths, reading, key):
    found = lmd.lmd(mouths["real"], mouths["fake"], reading)
    assert found.value == pytest.approx(float(mouths[key]), rel=1e-6)
    assert found.detected == 1


def test_lmd_ignores_where_the_face_is(mouths):
    moved = mouths["real"] + np.random.default_rng(0).normal(size=(len(mouths["real"]), 1, 2))
    assert lmd.lmd(mouths["real"], moved).value == pytest.approx(0, abs=1e-5)


def test_lmd_of_noise_is_what_its_formula_says():
    rng = np.random.default_rng(1)
    real = rng.uniform(0, 64, (4000, 20, 2))
    found = lmd.lmd(real, real + rng.normal(0, 1.2, real.shape)).value
    assert found == pytest.approx(1.2 * np.sqrt(np.pi / 2 * (1 - 1 / 20)), rel=0.01)


def test_lmd_leaves_out_frames_without_a_face(mouths):
    fake = mouths["fake"].copy()
    fake[::2] = np.nan
    found = lmd.lmd(mouths["real"], fake)
    assert found.value == pytest.approx(lmd.lmd(mouths["real"][1::2], fake[1::2]).value)
    assert found.detected == 0.5
    assert np.isnan(found.frames[::2]).all()
    assert np.isnan(lmd.lmd(fake * np.nan, fake).value)
    with pytest.raises(ValueError, match="can't be compared"):
        lmd.lmd(fake, fake[:, :5])
    with pytest.raises(ValueError, match="choose from mean, sum, clip_mean"):
        lmd.lmd(fake, fake, "eq5")


@pytest.mark.parametrize("shift", ["0", "3", "-4"])
def test_lse_of_given_embeddings(shift):
    golden = json.loads((FOLDER / "syncnet_lse.json").read_text())[shift]
    with np.load(FOLDER / "syncnet_lse.npz") as stored:
        found = lse.lse(stored[f"lip_{shift}"], stored[f"aud_{shift}"])
    assert -found.offset == golden["offset"]  # the released code has the opposite sign
    assert found.distance == pytest.approx(golden["min_dist(LSE-D)"], abs=1e-5)
    assert found.confidence == pytest.approx(golden["confidence(LSE-C)"], abs=1e-5)


@pytest.mark.parametrize("lag", [-10, -1, 0, 7, 15])
def test_an_offset_is_found_with_its_sign(lag):
    rng = np.random.default_rng(2)
    speech = rng.normal(size=(90, 16))
    lips = speech[15 - lag : 75 - lag] + 0.1 * rng.normal(size=(60, 16))
    found = offset.measure(lips, speech, np.ones(90, bool), 15)
    assert found.frames == -lag
    assert abs(found.subframe + lag) < 0.5
    assert found.prominence > 0.8


def test_an_offset_between_frames():
    time = np.arange(60)[:, None] / 3 + np.arange(8)
    wide = np.arange(-15, 75)[:, None] / 3 + np.arange(8)
    found = offset.measure(np.sin(time), np.sin(wide - 0.1), np.ones(90, bool), 3 * 5)
    assert found.subframe == pytest.approx(0.3, abs=0.05)


def test_sound_that_is_not_there_is_not_compared():
    rng = np.random.default_rng(3)
    speech = rng.normal(size=(42, 16))
    inside = np.zeros(42, bool)
    inside[15:27] = True
    found = offset.measure(speech[18:30], speech, inside, 15)
    assert found.frames == 3
    assert np.isnan(found.distances[0])
    with pytest.raises(ValueError, match="too few to find an offset"):
        offset.measure(speech[18:30], speech, inside & False, 15)
    with pytest.raises(ValueError, match="need audio of 42 windows"):
        offset.measure(speech[18:30], speech[1:], inside[1:], 15)


def test_offset_accuracy():
    assert offset.offset_accuracy([0, -1, 1.4, 5]) == 0.5
    assert np.isnan(offset.offset_accuracy([]))


def _eyes(openness):
    points = np.zeros((len(openness), 68, 2))
    for first, x in ((36, 0.0), (42, 100.0)):
        across = np.array([0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]) * 30 + x
        up = np.array([0, 0.5, 0.5, 0, -0.5, -0.5]) * 30
        points[:, first : first + 6, 0] = across
        points[:, first : first + 6, 1] = up * np.asarray(openness)[:, None]
    return points


def test_blinks_are_counted_and_timed():
    openness = np.full(100, 0.3)
    for start in (20, 60):
        openness[start : start + 6] = (0.3, 0.15, 0.03, 0.03, 0.18, 0.3)
    found = blinks.blinks(blinks.eye_aspect_ratio(_eyes(openness)))
    np.testing.assert_array_equal(found.intervals, [[20, 25], [60, 65]])
    assert found.rate == pytest.approx(0.5)
    assert found.duration == pytest.approx(0.2)
    openness[40] = np.nan
    assert len(blinks.blinks(openness).intervals) == 2


def test_open_eyes_do_not_blink():
    found = blinks.blinks(0.3 + 0.01 * np.sin(np.arange(50)))
    assert found.rate == 0
    assert np.isnan(found.duration)
    with pytest.raises(ValueError, match="at least one frame"):
        blinks.blinks(np.full(5, np.nan))


def test_eye_aspect_ratio_is_of_the_shape_alone():
    points = _eyes(np.array([0.3, 0.1]))
    turned = 3 * points @ np.array([[0.6, 0.8], [-0.8, 0.6]]) + 7
    np.testing.assert_allclose(blinks.eye_aspect_ratio(points), [0.3, 0.1], rtol=1e-9)
    np.testing.assert_allclose(blinks.eye_aspect_ratio(turned), [0.3, 0.1], rtol=1e-9)


def test_lipleak():
    points = np.zeros((5, 68, 2))
    points[:, 45, 0] = 100
    points[:, [67, 66, 65], 1] = np.array([0, 10, 0, 10, 0])[:, None]
    driven = lipleak.mouth_opening(points)
    np.testing.assert_allclose(driven, [0, 0.1, 0, 0.1, 0])
    assert lipleak.lipleak(0.2 * driven + 1, driven) == pytest.approx(0.2)
    assert lipleak.lipleak(driven * 0, driven) == 0
    assert np.isnan(lipleak.lipleak(driven, driven * 0))
    assert np.isnan(lipleak.lipleak(driven[:1], driven))


def test_acd():
    rng = np.random.default_rng(4)
    person, other = rng.normal(size=(2, 64))
    same = person + 0.1 * rng.normal(size=(20, 64))
    assert acd.acd(np.tile(person, (3, 1)), person) == pytest.approx(0, abs=1e-12)
    for distance in acd.DISTANCES:
        assert acd.acd(same, person, distance) < acd.acd(same, other, distance)
    assert acd.acd(same, person, "euclidean") == pytest.approx(0.8, rel=0.1)
    same[0] = np.nan
    assert np.isfinite(acd.acd(same, person))
    assert np.isnan(acd.acd(same * np.nan, person))
    with pytest.raises(ValueError, match="don't fit"):
        acd.acd(same, person[1:])
    with pytest.raises(ValueError, match="choose from cosine, euclidean"):
        acd.acd(same, person, "l1")


def test_word_error_rates_are_those_of_jiwer():
    *pairs, corpus = json.loads((FOLDER / "golden.json").read_text())["wer"]
    for pair in pairs:
        assert wer.wer(pair["ref"], pair["hyp"]) == pytest.approx(pair["wer"])
    found = wer.corpus_wer((pair["ref"], pair["hyp"]) for pair in pairs)
    assert found == pytest.approx(corpus["corpus_wer"])
    assert wer.wer("now", "bin now now soon") == 3
    with pytest.raises(ValueError, match="at least one word"):
        wer.wer("", "bin")


def test_frechet_distance():
    with np.load(FOLDER / "frechet.npz") as stored:
        a, b, golden = stored["a"], stored["b"], float(stored["fd"])
    assert frechet.frechet(a, b) == pytest.approx(golden, rel=1e-9)
    assert frechet.frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet.frechet(a, a + 1) == pytest.approx(16, rel=1e-6)
    assert frechet.frechet(a[:5], b[:4]) > 0  # fewer samples than features
    with pytest.raises(ValueError, match="two samples or more"):
        frechet.frechet(a, b[:1])
    with pytest.raises(ValueError, match="not finite"):
        frechet.frechet(a, b * np.nan)


def test_success_rate():
    found = success_rate.success_rate([("a", ""), ("b", "no face"), ("c", ""), ("d", "")])
    assert found.rate == 0.75
    assert found.failed == (("b", "no face"),)
    assert np.isnan(success_rate.success_rate([]).rate)
