"""Sync models: loaded, fed with windows, and the same whatever the batch."""

from fractions import Fraction

import jax
import numpy as np
import pytest

from lipsync_jax.data import windows
from lipsync_jax.evaluation.cropping import crop_bgr, syncnet_boxes
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.interop.convert import OFFICIAL_NETWORKS
from lipsync_jax.media import audio
from lipsync_jax.methods.syncnet.inference import SyncNetInference
from lipsync_jax.methods.syncnet.model import SyncNetV2
from lipsync_jax.methods.wav2lip import sync_expert_inference
from lipsync_jax.methods.wav2lip.model import SyncExpert
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.training import checkpoints
from tests.helpers import networks, talking

CARD = {
    "config": {
        "method": "sync_expert",
        "precision": "float32",
        "data": {"crop": "face96"},
        "model": {"width_mult": 1 / 32, "depth_mult": 0.0},
    }
}


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    """A narrow expert, its variables and where it lies."""
    module = SyncExpert(width_mult=1 / 32, depth_mult=0.0)
    variables = networks.random_variables(module, (80, 16, 1), (48, 96, 15))
    folder = tmp_path_factory.mktemp("experts") / "expert"
    checkpoints.export_networks(folder, {"expert": variables}, CARD)
    return module, variables, folder


def test_each_encoder_of_an_expert_runs_alone(expert):
    module, variables, _ = expert
    rng = np.random.default_rng(0)
    sound, faces = (rng.random(shape, np.float32) for shape in ((2, 80, 16, 1), (2, 48, 96, 15)))
    expected = jit(module.apply)(variables, sound, faces)
    of_sound, no_faces = jit(module.apply)(variables, sound, None)
    no_sound, of_faces = jit(module.apply)(variables, None, faces)
    assert no_faces is no_sound is None
    np.testing.assert_allclose(of_sound, expected[0], atol=1e-6)
    np.testing.assert_allclose(of_faces, expected[1], atol=1e-6)


def test_an_expert_sees_and_hears_as_in_training(expert):
    module, variables, folder = expert
    loaded = SyncModel.load(folder)
    assert (loaded.kind, loaded.size, loaded.crop_style) == ("sync_expert", 96, "face")
    crops = np.random.default_rng(0).integers(0, 256, (40, 96, 96, 3), np.uint8)
    samples = (0.1 * np.random.default_rng(1).normal(size=40 * 640)).astype(np.float32)
    lips, sound = loaded.embed_video(iter(crops)), loaded.embed_audio(samples, 36)
    faces = np.stack([crops[i : i + 5] for i in (0, 31, 35)])
    mel = windows.gather_windows(audio.mel_spectrogram(samples), np.array([0, 99, 112]))
    with jax.default_matmul_precision("highest"):
        features, seen = jit(module.apply)(
            variables,
            windows.windows_to_nhwc(mel),
            sync_expert_inference.stack_lower_half(faces / 255),
        )
    assert lips.shape == sound.shape == (36, features.shape[1])
    np.testing.assert_allclose(lips[[0, 31, 35]], seen, atol=1e-5)
    np.testing.assert_allclose(sound[[0, 31, 35]], features, atol=1e-5)


def test_too_few_frames_have_no_window():
    sync_model = talking.sync_model()
    assert sync_model.embed_video(iter(np.zeros((4, 24, 24, 3), np.uint8))).shape == (0, 0)
    assert sync_model.embed_video(iter(np.zeros((5, 24, 24, 3), np.uint8))).shape == (1, 5)


@pytest.mark.parametrize("first", [-3000, 0, 9600, 20_000])
def test_sound_around_windows_is_the_sound_at_their_times(first):
    sync_model, samples = talking.sync_model(), talking.speech_audio(talking.random_speech_mask(60))
    around, inside = sync_model.embed_audio_with_offsets(samples, first, 10, 15)
    assert len(around) == len(inside) == 40
    starts = first + 640 * (np.arange(40) - 15)
    np.testing.assert_array_equal(inside, (starts >= 0) & (starts + 3200 <= len(samples)))
    padded = np.pad(samples, 20_000)
    direct = sync_model.embed_audio(padded[first + 20_000 :], 10)
    np.testing.assert_array_equal(around[15:25], direct)


def test_syncnet_is_known_by_its_player(tmp_path):
    shapes = networks.abstract_variables(SyncNetV2(), (13, 20, 1), (5, 224, 224, 3))[1]
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    kind = OFFICIAL_NETWORKS["syncnet_v2"]
    checkpoints.export_networks(
        tmp_path / "syncnet", {kind.checkpoint_key: zeros}, {"config": kind.config}
    )
    loaded = SyncModel.load(tmp_path / "syncnet")
    assert (loaded.kind, loaded.size, loaded.crop_style) == ("syncnet_v2", 224, "syncnet")


def test_mfcc_windows_are_four_columns_apart():
    samples = (0.1 * np.random.default_rng(2).normal(size=16_000)).astype(np.float32)
    mfcc = audio.syncnet_mfcc(audio.to_int16(samples)).astype(np.float32)
    spec = SyncNetInference().audio_features
    starts = spec.window_starts([Fraction(i, 25) for i in range(30)])
    cuts = spec.gather(spec.compute(samples), starts)
    assert cuts.shape == (30, 20, 13)
    np.testing.assert_array_equal(cuts[3], mfcc[12:32])
    silent = audio.syncnet_mfcc(np.zeros(3200, np.int16))[0].astype(np.float32)
    np.testing.assert_array_equal(cuts[-1, -1], silent)


def test_what_is_no_judge(tmp_path, expert):
    _, variables, _ = expert
    checkpoints.export_networks(
        tmp_path / "other", {"generator": variables}, {"config": {"method": "wav2lip"}}
    )
    with pytest.raises(ValueError, match="which is no sync model"):
        SyncModel.load(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        SyncModel.load(tmp_path / "none")
    card = {"config": CARD["config"] | {"model": {"width_mult": 1 / 16, "depth_mult": 0.0}}}
    checkpoints.export_networks(tmp_path / "wrong", {"expert": variables}, card)
    with pytest.raises(ValueError, match="its weights are not those of the network"):
        SyncModel.load(tmp_path / "wrong")


def test_crops_of_syncnet():
    boxes = np.tile(np.array([10, 20, 50, 80], np.float32), (20, 1))
    boxes[7] = (0, 0, 400, 400)  # the median drops it
    found = syncnet_boxes(boxes)
    np.testing.assert_allclose(found, np.tile([30 - 42, 50 - 30, 30 + 42, 50 + 54], (20, 1)))
    image = np.full((40, 40, 3), (9, 8, 7), np.uint8)
    crop = crop_bgr(image, np.array([-40, 0, 40, 80], np.float32), 8, border_value=110)
    np.testing.assert_array_equal(crop[:, :3], 110)
    np.testing.assert_array_equal(crop[0, -1], (7, 8, 9))
