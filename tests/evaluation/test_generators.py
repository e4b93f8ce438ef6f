"""Generators on clips of shards: which kind is loaded, and what their inputs are."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.cli import evaluate
from lipsync_jax.configs import sync_expert as expert_config
from lipsync_jax.data.clip import encode_frame
from lipsync_jax.evaluation import baselines, face_clip, generators, samples
from lipsync_jax.evaluation.evaluator import Evaluator
from lipsync_jax.evaluation.protocol import get
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.media import video_reader
from lipsync_jax.methods.wav2lip.sync_expert_inference import SyncExpertInference
from lipsync_jax.training import checkpoints
from tests.conftest import toy_clip
from tests.helpers import reference_images


@pytest.fixture
def clip():
    """40 aligned frames, each of its own grey, and a click at 0.5 s."""
    clip = toy_clip("s/0", 0)
    audio_samples = np.zeros(len(clip.audio), np.int16)
    audio_samples[8000:8100] = 32767
    frames = tuple(encode_frame(np.full((128, 96, 3), 50 + i, np.uint8)) for i in range(40))
    return dataclasses.replace(clip, frames=frames, audio=audio_samples)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(50)])
def test_the_first_frame_says_the_clips_own_voice(clip, rate):
    reference = face_clip.from_clip(clip)
    actor = generators.AnimationGenerator(
        "aligned128x96", reference_images.animator(frame_rate=rate).model
    )
    generated_clip = actor(reference)
    images = list(generated_clip.read_frames())
    assert len(generated_clip) == len(reference) == len(images) == 40
    assert {int(picture[64, 48, 0]) for picture in images} == {50}
    loud = [i for i, picture in enumerate(images) if picture[-1].max() > 128]
    assert loud and abs(np.mean(loud) - 12.5) <= 1
    silenced = actor(reference, silent=True)
    assert not any(picture[-1].any() for picture in silenced.read_frames())


def test_a_voice_that_ends_before_the_picture_ends_the_clip(clip):
    reference = face_clip.from_clip(dataclasses.replace(clip, audio=clip.audio[:16_000]))
    generated_clip = generators.AnimationGenerator(
        "aligned128x96", reference_images.animator().model
    )(reference)
    assert (
        len(generated_clip)
        == 25
        == len(list(generated_clip.read_frames()))
        == len(generated_clip.boxes)
    )


def test_the_kind_of_generator_is_that_of_its_method(tmp_path):
    reference_images.write_checkpoint(tmp_path / "still", "vougioukas")
    actor = generators.load(tmp_path / "still")
    assert actor.is_animation and actor.crop == "aligned128x96"
    card = {"config": {"method": "flownet", **_flownet()}}
    checkpoints.export_networks(tmp_path / "flow", {"flownet": {"params": {"a": np.ones(1)}}}, card)
    with pytest.raises(ValueError, match="method flownet, which does not dub faces"):
        generators.load(tmp_path / "flow")


def _flownet():
    from lipsync_jax.configs import flownet

    return {k: v for k, v in flownet.get_config().to_dict().items() if k != "method"}


def test_what_a_still_gives_without_a_network(clip):
    reference = face_clip.from_clip(clip)
    still, mean = (
        list(generated_clip.read_frames())
        for generated_clip in baselines.static_baselines(reference).values()
    )
    assert len(still) == len(mean) == 40
    assert {int(p.mean()) for p in still} == {50} and {round(p.mean()) for p in mean} == {70}


def test_stills_and_faces_do_not_share_a_table():
    class Dubbing:
        crop, is_animation = "aligned128x96", False

    actor = generators.AnimationGenerator("aligned128x96", reference_images.animator().model)
    with pytest.raises(ValueError, match="evaluate the two kinds separately"):
        samples._common_crop_and_mode({"a": Dubbing(), "b": actor})
    Dubbing.crop = "face96"
    with pytest.raises(ValueError, match="have different crops"):
        samples._common_crop_and_mode({"a": Dubbing(), "b": actor})


def test_judges_of_other_crops_are_refused():
    inference = SyncExpertInference(expert_config.get_config("tiny"))
    sync_model = SyncModel(inference, "x", None, None)
    for geometry in ("", "face96", "face128"):
        evaluate._check_crops("runs/expert", sync_model, geometry)
    evaluate._check_crops(None, None, "lips64")
    with pytest.raises(ValueError, match="runs/expert was trained on face96 crops, and these"):
        evaluate._check_crops("runs/expert", sync_model, "lips64")


def test_lips_have_no_landmarks_and_all_of_them_is_mouth(clip):
    class Never:
        def points(self, *_):
            raise AssertionError

    scorer = Evaluator(get("face-2"), None, Never())
    reference = face_clip.from_clip(clip, "lips")
    brighter = reference.map_frames(lambda image, i: image + np.uint8(51))
    features_pair = scorer.extract(brighter), scorer.extract(reference)
    # In both directions: differences of uint8 would wrap around.
    for pair in (features_pair, features_pair[::-1]):
        assert scorer.reference_metrics(*pair)[0]["mouth_l1"] == pytest.approx(0.2, abs=1e-3)


class BrightRows:
    """Stands in for landmarks of lips: all points are as far down as the crop is bright."""

    def __call__(self, lips):
        rows = lips.mean(axis=(1, 2, 3))
        points = np.zeros((len(lips), 20, 2), np.float32)
        points[:, ::2, 1] = rows[:, None] / 10  # every second point, since shapes are centred
        return points


def test_lmd_of_lips_over_the_clip_and_over_windows(clip):
    evaluator = Evaluator(get("face-2"), None, None, None, BrightRows())
    reference = face_clip.from_clip(clip, "lips")
    truth = evaluator.extract(reference)
    brighter = reference.map_frames(lambda image, i: image + np.uint8(20 * (i < 8)))
    found, distances = evaluator.reference_metrics(evaluator.extract(brighter), truth)
    # A fifth of the frames, and half of those of the first of four windows, differ by 20 grey
    # levels: every point by one pixel.
    assert found["lmd"] == pytest.approx(8 / 40, abs=0.02) and distances.shape == (40,)
    assert found["lmd_windows"] == pytest.approx(8 / 64, abs=0.02)
    assert {"psnr_windows", "ssim_windows"} < found.keys()
    # Windows that a network generated on their own take the place of those of the clip.
    own = np.stack([np.full((4, 16, 128, 96, 3), 255, np.uint8)[0]] * 4)
    with_windows = evaluator.extract(dataclasses.replace(brighter, windows=own))
    other = evaluator.reference_metrics(with_windows, truth)[0]
    assert other["lmd"] == found["lmd"]
    real = np.array([50 + np.arange(8 * w, 8 * w + 16) for w in range(4)])
    assert other["lmd_windows"] == pytest.approx((255 - real).mean() / 20, abs=0.1)
    assert evaluator.lipleak(truth, truth) == {} and "blink_rate" not in truth.metrics


def test_a_clip_shorter_than_a_window_has_no_window_metrics(clip):
    evaluator = Evaluator(get("face-2"), None, None)
    short = evaluator.extract(face_clip.from_clip(clip, "lips").first_frames(10))
    found, distances = evaluator.reference_metrics(short, short)
    assert not any(name.endswith("_windows") for name in found) and distances is None
    assert np.isnan(short.metrics["cpbd_windows"])


def test_a_face_for_lips_is_asked_for_and_checked(tmp_path, capsys):
    assert evaluate._lip_landmarks(None, "lips64", object()) is None
    assert "--lip-face" in capsys.readouterr().err
    assert evaluate._lip_landmarks(None, "face96", object()) is None
    assert not capsys.readouterr().err
    face = tmp_path / "face.png"
    for path, crop, model, problem in (
        (face, "face96", object(), "these shards have face96 crops; leave it out"),
        (face, "", object(), "videos of faces; leave it out"),
        (face, "lips64", None, "needs landmarks; pip install"),
        (face, "lips64", object(), "face.png does not exist"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=problem):
            evaluate._lip_landmarks(path, crop, model)
    video_reader.write_image(face, np.zeros((80, 80, 3), np.uint8))
    with pytest.raises(ValueError, match=r"--lip-face .*face.png: the image to paste lips onto"):
        evaluate._lip_landmarks(face, "lips64", object())
