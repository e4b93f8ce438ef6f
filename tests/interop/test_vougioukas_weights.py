import zipfile

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from lipsync_jax.cli import main
from lipsync_jax.interop import convert, torch_files
from lipsync_jax.methods.vougioukas import torch_weights as vougioukas
from lipsync_jax.training import checkpoints
from tests.golden.tgan import recipe


@pytest.fixture
def checkpoint():
    return recipe.checkpoint("tiny")


def saved(tree, path):
    """Writes a tree as torch.save does."""
    storages = []

    def code(value):
        if isinstance(value, np.ndarray):
            storages.append(value)
            kind = {"f": "Float", "i": "Long"}[value.dtype.kind]
            storage = ("storage", f"ctorch\n{kind}Storage\n", str(len(storages) - 1), "cpu")
            strides = tuple(stride // value.itemsize for stride in value.strides)
            return (
                "ctorch._utils\n_rebuild_tensor_v2\n("
                f"(V{storage[0]}\n{storage[1]}V{storage[2]}\nV{storage[3]}\nI{value.size}\ntQ"
                f"I0\n{code(value.shape)}{code(strides)}I00\n}}tR"
            )
        if isinstance(value, dict):
            return "}" + "".join(f"{code(key)}{code(item)}s" for key, item in value.items())
        if isinstance(value, tuple | list):
            return f"({''.join(map(code, value))}t"
        if isinstance(value, bool):
            return f"I0{value:d}\n"
        return {str: "V", int: "I", float: "F"}[type(value)] + f"{value}\n"

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made/data.pkl", f"{code(tree)}.".encode())
        for i, storage in enumerate(storages):
            archive.writestr(f"made/data/{i}", storage.tobytes())
    return path


@pytest.mark.parametrize("counters", [True, False])
def test_converts_bit_for_bit(tmp_path, capsys, checkpoint, counters):
    given = dict(checkpoint)
    if not counters:
        for part in recipe.PARTS:
            items = given[part].items()
            given[part] = {k: v for k, v in items if not k.endswith("num_batches_tracked")}
    source = saved(given, tmp_path / "grid.dat")
    assert main.main(["convert", str(source), str(tmp_path / "out")]) == 0
    assert "is a vougioukas" in capsys.readouterr().out

    variables, model_card = checkpoints.load_network(tmp_path / "out", "generator")
    found, expected = (flatten_dict(x) for x in (variables, vougioukas.read(given).variables))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, strict=True)
    assert model_card["config"]["model"] == {
        "audio_rate": 16_000,
        "audio_samples": 960,
        "audio_size": 20,
        "context_size": 24,
        "noise_size": 10,
        "identity_size": 12,
        "image_size": [128, 96],
        "audio_encoder_channels": 16,
        "width_mult": 3 / 64,
    }
    assert model_card["frame_rate"] == 25 and model_card["source"]["file"] == "grid.dat"
    np.testing.assert_array_equal(model_card["canonical_face"], given["mean_face"])
    assert "without a licence" in model_card["licence"]


def test_every_value_finds_its_place(checkpoint):
    params = vougioukas.read(checkpoint).variables["params"]
    audio, identity, frames = (checkpoint[part] for part in recipe.PARTS)
    for found, official in (
        (params["audio_encoder"]["conv_3"]["kernel"].T, audio["encoder.cl.3.weight"]),
        (params["context"]["hidden_kernel_1"].T, audio["rnn.weight_hh_l1"]),
        (params["context"]["hidden_bias_0"], audio["rnn.bias_hh_l0"]),
        (params["noise"]["input_bias_0"], frames["rnn_noise.bias_ih_l0"]),
        (
            params["identity_encoder"]["code"]["kernel"][1, 2].T,
            identity["cl.5.0.weight"][..., 1, 2],
        ),
        (
            params["decoder"]["fuse_4"]["kernel"][1, 2].T,
            frames["dcl.1.dcl1.weight"][..., 1, 2],
        ),
        (params["decoder"]["up_1"]["norm"]["scale"], frames["dcl.4.activation2.0.weight"]),
    ):
        np.testing.assert_array_equal(found, official)


def without(tree, *path):
    tree = dict(tree)
    if len(path) > 1:
        tree[path[0]] = without(tree[path[0]], *path[1:])
    else:
        del tree[path[0]]
    return tree


def nested(width, depth):
    """A list of width**depth zeros that takes no memory: all of its lists are one object."""
    found = [0.0] * width
    for _ in range(depth - 1):
        found = [found] * width
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: without(tree, "audio_rate"), "its entry audio_rate is missing"),
        (
            lambda tree: {**tree, "aux_latent": "ten"},
            "its entry aux_latent is no number between 0 and",
        ),
        (
            lambda tree: {**tree, "video_rate": float("nan")},
            "its entry video_rate is no number between",
        ),
        (lambda tree: {**tree, "sequential_noise": False}, "passes no recurrent unit"),
        (lambda tree: {**tree, "img_size": 128}, "its img_size is not height and width"),
        (lambda tree: {**tree, "img_size": (2**40, 96)}, "its img_size is not height and width"),
        (lambda tree: {**tree, "aud_enc_dim": 10**9}, "its entry aud_enc_dim is no number between"),
        (lambda tree: {**tree, "mean_face": np.zeros((5, 2))}, r"mean_face has shape \(5, 2\)"),
        (lambda tree: {**tree, "mean_face": np.zeros((68, 2), "c8")}, "mean_face has shape"),
        (lambda tree: {**tree, "mean_face": nested(10, 12)}, "its mean_face is no array"),
        (lambda tree: {**tree, "encoder": {"a": nested(10, 12)}}, "a of encoder is no tensor"),
        (
            lambda tree: without(tree, "encoder", "encoder.cl.0.weight"),
            "its tensor encoder/encoder.cl.0.weight is missing",
        ),
        (
            lambda tree: without(tree, "generator", "dcl.5.weight"),
            "those of the network it describes: generator/dcl.5.weight is missing$",
        ),
        (
            lambda tree: {**tree, "encoder_id": {**tree["encoder_id"], "extra": np.zeros(1)}},
            "encoder_id/extra is unexpected",
        ),
        (
            lambda tree: {**tree, "id_enc_dim": 13},
            r"encoder_id/cl.5.0.weight is \(12, 48, 4, 3\), not \(13, 48, 4, 3\)",
        ),
    ],
)
def test_errors_name_the_entry(checkpoint, change, message):
    with pytest.raises(ValueError, match=message):
        vougioukas.read(change(checkpoint))


def test_refuses_a_diverged_network(tmp_path, checkpoint):
    checkpoint["generator"]["dcl.5.weight"][0] = np.nan
    source = saved(checkpoint, tmp_path / "timit.dat")
    with pytest.raises(ValueError, match=r"timit.dat .*1 tensors .*generator/dcl.5.weight"):
        convert.convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_recognises_the_three_state_dicts(tmp_path, checkpoint):
    assert vougioukas.is_checkpoint(torch_files.read(saved(checkpoint, tmp_path / "a.dat")))
    assert not vougioukas.is_checkpoint(without(checkpoint, "encoder_id"))
    assert not vougioukas.is_checkpoint([1, 2])
