"""`lipsync export`: StableHLO and ONNX files compute what the network computes."""

import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.cli import main
from lipsync_jax.configs import lipgan, wav2lip
from lipsync_jax.interop.export import examples
from lipsync_jax.interop.export import folder as export_folder
from lipsync_jax.interop.export.examples import Comparison
from lipsync_jax.interop.export.functions import Function
from lipsync_jax.methods.common.recurrent_inference import RecurrentInference
from lipsync_jax.training import checkpoints
from tests.helpers import reference_images, toy_paper
from tests.helpers.networks import abstract_variables, random_variables_like

pytestmark = pytest.mark.usefixtures("quick_programs")


def write_checkpoint(folder, name="warp"):
    """Writes a dubbing network of a few channels with random weights."""
    variants = {
        "published": lambda: wav2lip.get_config("tiny"),
        "warp": lambda: wav2lip.get_config("in_the_box"),
        "lipgan": lambda: lipgan.get_config("tiny"),
    }
    config = variants[name]()
    config.model.width_mult, config.model.depth_mult = 0.02, 0
    if name != "lipgan":
        config.data.crop = "face64"
    inference = methods.load_inference({"config": config.to_dict()})
    features, size = inference.audio_features, inference.image_size
    audio = (features.window, features.bins) if name == "lipgan" else (80, 16, 1)
    _, shapes = abstract_variables(inference._generator, audio, (size, size, 6))
    variables = random_variables_like(shapes)
    card = {"config": config.to_dict(), "licence": "for tests"}
    checkpoints.export_networks(folder, {"generator": variables}, card)
    return folder


def read_code(folder):
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network of two layers, one of its arrays without effect."""
    toy_paper.register()
    folder = tmp_path_factory.mktemp("dubbing") / "run"
    rng = np.random.default_rng(0)
    layers = {"tint": (80, 3), "mix": (1, 1, 3, 3)}
    params = {
        name: {"kernel": rng.normal(size=shape), "bias": rng.normal(size=3)}
        for name, shape in layers.items()
    }
    params["of_training"] = {"kernel": np.ones(5)}
    params = jax.tree.map(np.float32, params)
    config = toy_paper.get_config("toy", folder, 1)
    card = {"config": config.to_dict(), "licence": "for tests"}
    checkpoints.export_networks(folder, {"generator": {"params": params}}, card)
    return folder


@pytest.fixture(scope="module")
def exported(run):
    pytest.importorskip("flatbuffers")
    out = run.parent / "out"
    return out, export_folder.export(run, out, formats=["stablehlo"], check=True)


def test_a_network_is_traced_once_while_it_is_loaded(run, monkeypatch):
    card, traced = checkpoints.read_model_card(run), []
    inference = methods.load_inference(card)
    generate = type(inference).generate

    def counted(*arguments):
        traced.append(arguments)
        return generate(*arguments)

    monkeypatch.setattr(type(inference), "generate", counted)
    export_folder._load(run, card["config"]["method"], None, floats=False)
    assert len(traced) == 1


def test_the_encoder_of_an_animation_is_traced_once_while_it_is_loaded(tmp_path, monkeypatch):
    reference_images.write_checkpoint(tmp_path / "run", "vougioukas")
    encode_image, traced = RecurrentInference.encode_image, []

    def counted(*arguments):
        traced.append(arguments)
        return encode_image(*arguments)

    monkeypatch.setattr(RecurrentInference, "encode_image", counted)
    network = export_folder._load(tmp_path / "run", "vougioukas", None, floats=False)
    assert len(traced) == 1
    (image,), codes = network.functions[0].inputs, network.functions[0].outputs
    assert image.shape == (*network.inference.image_size, 3)
    assert {spec.name for spec in codes} <= {spec.name for spec in network.functions[1].inputs}


def test_one_program_for_all_platforms_computes_what_the_network_does(exported):
    out, result = exported
    (compared,) = result.comparisons
    assert compared.agrees and compared.values == 2 * 16 * 96 * 96 * 3
    card = json.loads((out / "card.json").read_text())
    assert card == result.card
    program = card["stablehlo"]["model"]
    assert program["platforms"] == ["cpu", "cuda", "tpu"]
    assert card["notice"] == "synthetic media generator" and card["licence"] == "for tests"
    inputs = {entry["name"]: entry for entry in card["functions"]["model"]["inputs"]}
    assert inputs["audio"]["shape"] == ["b", 16, 80]
    assert inputs["faces"]["shape"] == ["b", 96, 96, 3] and inputs["faces"]["dtype"] == "uint8"
    assert card["image"]["colour_order"] == "BGR" and card["audio"]["lookback_seconds"] == "1/25"


def test_weights_without_effect_are_left_out(exported):
    with np.load(exported[0] / "model.weights.npz") as weights:
        names = {
            f"params/{layer}/{name}" for layer in ("tint", "mix") for name in ("kernel", "bias")
        }
        assert set(weights.files) == names


def test_weights_may_be_inside_and_faces_floats(run, tmp_path):
    pytest.importorskip("flatbuffers")
    options = {"formats": ["stablehlo"], "inline_weights": True, "floats": True, "batch": 2}
    result = export_folder.export(run, tmp_path / "out", check=True, **options)
    assert not (tmp_path / "out" / "model.weights.npz").exists()
    (faces,) = result.card["functions"]["model"]["outputs"]
    assert faces["dtype"] == "float32" and faces["shape"][0] == 2
    assert 0 <= result.comparisons[0].relative <= 1e-5


def test_the_current_folder_may_be_written(run, tmp_path, monkeypatch):
    pytest.importorskip("flatbuffers")
    monkeypatch.chdir(tmp_path)
    result = export_folder.export(run, ".", formats=["stablehlo"])
    assert {path.name for path in tmp_path.iterdir()} == {*result.card["files"], "card.json"}


def test_the_code_of_the_readme_runs(exported, monkeypatch, capsys):
    monkeypatch.chdir(exported[0])
    (code,) = read_code(exported[0])
    assert len(code.splitlines()) <= 10
    exec(code, {})
    name, difference = capsys.readouterr().out.split()
    assert name == "generated" and float(difference) <= 1


def test_only_the_command_that_dubs_takes_an_exported_folder(exported, capsys):
    again = [str(exported[0] / "again"), "--format", "stablehlo"]
    assert main.main(["export", str(exported[0]), *again]) == 1
    assert "was written by `lipsync export`" in capsys.readouterr().err
    face = ["--face", "face.png", "--audio", "a.wav"]
    assert main.main(["dub", "--checkpoint-path", str(exported[0]), *face]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "torch"], "choose from onnx, stablehlo"),
        (["--format", "stablehlo", "--platforms", "abacus"], "choose from cpu, cuda, tpu"),
        (["--format", "stablehlo", "--platforms", "tpu", "--check"], "add cpu to --platforms"),
        (["--platforms", "cpu"], "--platforms is for StableHLO: add stablehlo to --format"),
        (["--inline-weights"], "--inline-weights is for StableHLO: add stablehlo to --format"),
        (["--batch", "0"], "--batch 0: give b for any number, or 1 to 4096"),
        (["--batch", "many"], "--batch many: give b for any number"),
    ],
)
def test_wrong_options_are_told_before_anything_is_read(options, message, tmp_path, capsys):
    assert main.main(["export", str(tmp_path / "no"), str(tmp_path / "out"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_missing_packages_and_folders_in_use_are_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(export_folder._NEEDED, "onnx", ("not_there",))
    assert main.main(["export", str(tmp_path), str(tmp_path / "out")]) == 1
    assert "needs not_there: pip install 'lipsync_jax[export]'" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    assert main.main(["export", str(tmp_path), str(tmp_path / "out")]) == 1
    assert "exists already: name a new folder" in capsys.readouterr().err


def test_a_file_that_differs_is_not_written(run, tmp_path, monkeypatch):
    pytest.importorskip("flatbuffers")
    wrong = Comparison("model.stablehlo", 1000, 900, 7, 0.0, 1.0, 1.0)
    monkeypatch.setattr(export_folder.examples, "compare", lambda *_: wrong)
    with pytest.raises(ValueError, match="900 of 1000 values differ, by 7 at most"):
        export_folder.export(run, tmp_path / "out", formats=["stablehlo"], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == []


def test_a_file_that_gives_nan_does_not_agree():
    expected = np.linspace(0, 1, 5, dtype=np.float32)
    example = examples.Example((), (expected,), 1.0)
    function = Function("model", lambda *_: (), {}, (), ())
    for value, agrees in ((expected[2], True), (np.nan, False)):
        output = expected.copy()
        output[2] = value
        compared = examples.compare(
            "model.onnx", lambda output=output: (output,), function, [example]
        )
        assert compared.agrees == agrees


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vougioukas", "jain"])
def test_recurrent_networks_export_encode_and_step(method, tmp_path):
    pytest.importorskip("jax2onnx")
    reference_images.write_checkpoint(tmp_path / "run", method)
    formats = ("onnx", "stablehlo")
    result = export_folder.export(tmp_path / "run", tmp_path / "out", formats=formats, check=True)
    assert len(result.comparisons) == 4 and all(found.agrees for found in result.comparisons)
    step = result.card["functions"]["step"]
    names = [[entry["name"] for entry in step[kind]] for kind in ("inputs", "outputs")]
    assert {"features", "noise", "encoded_0", "state_0", "state_1"} <= {*names[0]}
    assert names[1] == ["frames", "next_state_0", "next_state_1"]
    with pytest.raises(ValueError, match=r"--batch b: a step .* give --batch 1"):
        export_folder.export(tmp_path / "run", tmp_path / "other", batch="b")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["published", "warp", "lipgan"])
def test_onnx_files_run_without_jax(name, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("jax2onnx")
    run = write_checkpoint(tmp_path / "run", name)
    result = export_folder.export(run, tmp_path / "out", check=True)
    assert all(found.agrees for found in result.comparisons)
    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert {entry.version for entry in model.opset_import if not entry.domain} == {21}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["notice"] == model.doc_string == "synthetic media generator"
    assert metadata["model_hash"] == result.card["model_hash"]
    code = (
        "import sys; sys.modules.update(jax=None, lipsync_jax=None)\n" + read_code(result.folder)[0]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=result.folder, check=True, capture_output=True, text=True
    )
    assert float(done.stdout.split()[-1]) <= 1
