"""Untrusted checkpoints: none may exhaust the memory or end in a traceback."""

import json
import shutil

import numpy as np
import pytest
import tensorstore

from lipsync_jax.cli import main
from lipsync_jax.configs import lip_reader, sync_expert, wav2lip
from lipsync_jax.diagnostics import artifacts
from lipsync_jax.evaluation import generators
from lipsync_jax.evaluation.lip_reading import LipReadingModel
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.synthesis import animation_model
from lipsync_jax.synthesis.dubbing_model import DubbingModel
from lipsync_jax.training import arrays, checkpoints, inference, model_cards
from tests.helpers import reference_images

CARD = {"config": {"method": "wav2lip", "data": {"crop": "face96"}}}
CONFIGS = {
    "generator": wav2lip.get_config("tiny").to_dict(),
    "expert": sync_expert.get_config("tiny").to_dict(),
    "reader": {**lip_reader.get_config("grid").to_dict(), "vocabulary": ["a"]},
}


@pytest.fixture(scope="module")
def animating(tmp_path_factory):
    return reference_images.write_checkpoint(tmp_path_factory.mktemp("whole") / "run", "vougioukas")


@pytest.fixture
def run(animating, tmp_path):
    return shutil.copytree(animating, tmp_path / "run")


def claim(folder, player, name, shape, dtype="float32"):
    """Gives an array another shape, without writing any of its values."""
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "ocdbt", "base": f"file://{folder / player}", "path": f"{name}/"},
    }
    tensorstore.open(
        spec,
        create=True,
        delete_existing=True,
        shape=list(shape),
        dtype=dtype,
        chunk_layout=tensorstore.ChunkLayout(chunk_shape=[min(n, 1000) for n in shape]),
    ).result()


def tiny(folder, player, card=CARD, name="params.a.kernel", shape=(10**6, 10**6)):
    """A checkpoint of a kilobyte that claims 10**12 numbers."""
    parts = name.split(".")
    leaf = np.ones((2, 2), np.float32)
    for part in reversed(parts):
        leaf = {part: leaf}
    checkpoints.export_networks(folder, {player: leaf}, card)
    claim(folder, player, name, shape)
    return folder


def test_a_small_file_that_claims_many_numbers_is_refused_before_any_is_read(tmp_path):
    for player, load in (
        ("generator", DubbingModel.load),
        ("expert", SyncModel.load),
        ("reader", LipReadingModel.load),
        ("generator", lambda folder: checkpoints.load_network(folder, "generator")),
        ("expert", lambda folder: checkpoints.read_item(folder / "expert")),
        ("expert", lambda folder: checkpoints.check_compatible(folder / "expert", {})),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        tiny(folder, player, {"config": CONFIGS[player]})
        fault = f"checkpoint {folder}: {player} claims arrays of 4000000000000 bytes "
        with pytest.raises(ValueError, match=fault):
            load(folder)


def test_the_command_says_it_in_one_line(tmp_path, capsys):
    folder = tiny(tmp_path / "run", "generator", {"config": CONFIGS["generator"]})
    for name in ("face.png", "voice.wav"):
        (tmp_path / name).write_bytes(b"0")
    words = ["generate", "--checkpoint_path", folder, "--face", tmp_path / "face.png"]
    words += ["--audio", tmp_path / "voice.wav", "--outfile", tmp_path / "out.mp4"]
    capsys.readouterr()
    assert main.main([*map(str, words)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "claims arrays of" in said and str(folder) in said


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("params.decoder.up_1.norm.scale", (7,), "float32"),
        ("batch_stats.decoder.up_1.norm.mean", (7,), "float32"),
        ("params.noise.hidden_bias_0", (30, 1), "float32"),
        ("params.noise.hidden_bias_0", (30,), "int32"),
        ("params.noise.hidden_bias_0", (30,), "complex64"),
    ],
)
def test_other_shapes_and_types_are_refused_before_any_is_read(
    run, monkeypatch, name, shape, dtype
):
    claim(run, "generator", name, shape, dtype)
    monkeypatch.setattr(inference, "read_item", None)
    with pytest.raises(ValueError, match=f"checkpoint {run}: "):
        animation_model.load(run)


def test_larger_networks_must_be_on_disk(run, monkeypatch):
    monkeypatch.setattr(arrays, "_UNCHECKED_BYTES", 0)
    animation_model.load(run)  # drawn weights do not pack
    claim(run, "generator", "params.noise.hidden_bias_0", (10**8,))
    with pytest.raises(ValueError, match=r"the largest is params/noise/hidden_bias_0"):
        animation_model.load(run)


@pytest.mark.parametrize("damage", ["_METADATA", "manifest.ocdbt", "cut", "d"])
def test_damaged_arrays_name_the_checkpoint(run, damage):
    item = run / "generator"
    if damage == "d":
        shutil.rmtree(item / "d")
    elif damage == "cut":
        for path in (item / "d").iterdir():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        (item / damage).write_bytes(b"\x00damage")
    with pytest.raises(ValueError, match=rf"^checkpoint {run}: .*damaged") as caught:
        animation_model.load(run)
    assert str(caught.value).isprintable()


def deep(levels):
    return json.loads("[" * levels + "]" * levels)


@pytest.mark.parametrize(
    ("card", "fault"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"{", "is no JSON"),
        (b'{"config": ' + b"[" * 10**5, "is nested too deeply"),
        (b" " * (4 << 20) + b"{}", "has more than 4 MB"),
        (b"9" * 5000, "Exceeds the limit"),
        ([], "is no JSON object"),
        ({}, "has no config"),
        ({"config": "wav2lip"}, "has no config"),
        ({"config": {}}, "names no method"),
        ({"config": {"method": 3}}, "names no method"),
        ({"config": {"method": "..cli"}}, "names no method"),
        ({"config": {"method": "vougioukas.model"}}, "names no method"),
        ({"config": {"method": "no\x1b[2Jsuch"}}, "names no method"),
        ({**CARD, "more": deep(40)}, "is nested too deeply"),
        ({"config": {"method": "wav2lip", "data": []}}, "config.data that is no object"),
        ({"config": {"method": "wav2lip", "data": {"crop": "x"}}}, "crop that is none"),
        ({"config": {"method": "wav2lip", "data": {"crop": {}}}}, "crop that is none"),
        ({"config": {"method": "wav2lip", "a.b": 1}}, "has an invalid name in config"),
        ({"config": {"method": "wav2lip", "__class__": 1}}, "has an invalid name in config"),
        (
            {"config": {"method": "a", "model": {"width_mult": 1e9}}},
            "config.model.width_mult=1000000000.0",
        ),
        ({"config": {"method": "a", "model": {"size": [96, 2**31]}}}, "larger than any network's"),
        ({"config": {"method": "a", "model": {"size": [1] * 65}}}, "more than 64 values"),
        (
            {"config": {"method": "a", "model": {"size": [[1]]}}},
            "a list or an object among the values of config.model.size",
        ),
        (b'{"config": {"method": "a", "model": {"width": NaN}}}', "larger than any network's"),
        ({**CARD, "frame_rate": "fast"}, "a frame_rate that is not between"),
        ({**CARD, "frame_rate": -25}, "a frame_rate that is not between"),
        ({"config": {"method": "a", "frame_rate": 1e300}}, "a frame_rate that is not between"),
        ({**CARD, "step": "3"}, "a step that is no number"),
        ({**CARD, "validation": [1]}, "metrics that are no numbers"),
        ({**CARD, "validation": {"balanced_accuracy": "1"}}, "metrics that are no numbers"),
        ({**CARD, "source": "wav2lip.pth"}, "a source that names no file"),
        ({**CARD, "canonical_face": [[0, 0]] * 67}, "canonical_face that is no 68 points"),
        ({**CARD, "canonical_face": [[0, None]] * 68}, "canonical_face that is no 68 points"),
    ],
)
def test_invalid_model_cards_name_the_checkpoint(tmp_path, card, fault):
    (tmp_path / "run" / "model_card").mkdir(parents=True)
    content = card if isinstance(card, bytes) else json.dumps(card).encode()
    (tmp_path / "run" / "model_card" / "metadata").write_bytes(content)
    with pytest.raises(ValueError, match=fault) as caught:
        checkpoints.read_model_card(tmp_path / "run")
    said = str(caught.value)
    assert said.startswith(f"checkpoint {tmp_path / 'run'}: its model_card/metadata ")
    assert said.isprintable() and len(said) < 600
    assert artifacts.scan(tmp_path).broken  # the doctor says so, and goes on


def test_a_checkpoint_without_its_model_card_is_named(tmp_path):
    (tmp_path / "model_card").mkdir()
    with pytest.raises(FileNotFoundError, match="has no model_card/metadata"):
        model_cards.read(tmp_path)


@pytest.mark.parametrize(
    ("stamp", "writer"),
    [
        ({}, "a version before 0.2"),
        ({"format": 3, "lipsync_jax": "9.1"}, "version 9.1"),
        ({"format": 1, "lipsync_jax": "0\x1b[2J"}, "version 0\\x1b[2J"),
        ({"format": "2"}, "version unknown"),
    ],
)
def test_another_format_is_refused_with_the_version_that_wrote_it(tmp_path, stamp, writer):
    checkpoints.export_networks(
        tmp_path / "run", {"generator": {"params": {"a": np.ones(1)}}}, CARD
    )
    assert checkpoints.read_model_card(tmp_path / "run").items() >= model_cards.stamp().items()
    path = tmp_path / "run" / "model_card" / "metadata"
    path.write_text(json.dumps({**CARD, **stamp}))
    with pytest.raises(ValueError) as caught:
        checkpoints.load_network(tmp_path / "run", "generator")
    said = str(caught.value)
    assert said.startswith(
        f"checkpoint {tmp_path / 'run'} was written by {writer} of lipsync_jax, "
    )
    assert "lipsync convert" in said and said.isprintable()


def test_checkpoints_of_the_old_layout_are_refused_as_such(tmp_path):
    """Versions before 0.2 had the model card in a folder `card`."""
    run = tmp_path / "run"
    checkpoints.export_networks(run / "best" / "3", {"expert": {"params": {"a": np.ones(1)}}}, CARD)
    (run / "best" / "3" / "model_card").rename(run / "best" / "3" / "card")
    for read in (
        checkpoints.read_model_card,
        lambda folder: checkpoints.find_network(folder, "generator"),
        lambda folder: checkpoints.load_network(folder, "expert"),
    ):
        with pytest.raises(ValueError, match=r"best/3 was written by a version before 0\.2 of"):
            read(run)
    assert "before 0.2" in artifacts.scan(tmp_path).broken[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "base"},
        {"method": "os"},
        {"method": "no_such"},
        {"model": {"width_mult": "wide"}},
        {"model": {"width_mult": -1}},
        {"model": {"image_size": 96}},
        {"model": {"image_size": [196608, 196608]}},
        {"model": {"noise_layers": 200_000}},
        {"model": {"context_size": 200_000}},
        {"model": {"audio_samples": 199_999, "audio_rate": 1000}},
        {"model": {"audio_rate": 0}},
        {"model": {"unknown": 1}},
        {"model": 3},
        {"model": None},
        {"frame_rate": None},
        {"eval_noise_std": "loud"},
    ],
)
def test_configs_that_describe_no_network_name_the_checkpoint(run, changes):
    path = run / "model_card" / "metadata"
    card = json.loads(path.read_text())
    card["config"].update(changes)
    path.write_text(json.dumps(card))
    for load in (animation_model.load, DubbingModel.load):
        with pytest.raises(ValueError, match=f"checkpoint {run}|config.method") as caught:
            load(run)
        assert str(caught.value).isprintable()


def test_evaluation_needs_the_crop_of_a_generator(run):
    path = run / "model_card" / "metadata"
    card = json.loads(path.read_text())
    del card["config"]["data"]
    path.write_text(json.dumps({**card, "canonical_face": [[0, 0]] * 68}))
    with pytest.raises(ValueError, match=r"does not name the crop that it was trained on"):
        generators.load(run)
