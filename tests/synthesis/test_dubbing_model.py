import jax
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import sync_expert as expert_config
from lipsync_jax.configs import wav2lip as wav2lip_config
from lipsync_jax.methods.wav2lip.inference import Wav2LipInference
from lipsync_jax.provenance import metadata
from lipsync_jax.synthesis import dubbing_model
from lipsync_jax.synthesis.compositing import first_read_row
from lipsync_jax.synthesis.dubbing_model import DubbingModel, GeneratorProgram, load_generator
from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.training import checkpoints
from tests.helpers import media_files


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A generator with random weights, the smallest there is."""
    config = wav2lip_config.get_config("tiny")
    config.model.width_mult = 0.02
    module = methods.load(config).networks["generator"].module
    inputs = np.zeros((1, 80, 16, 1), np.float32), np.zeros((1, 96, 96, 6), np.float32)
    shapes = jax.eval_shape(lambda key: module.init(key, *inputs, train=False), jax.random.key(0))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.uniform(0.1, 0.2, x.shape).astype(np.float32), shapes)
    folder = tmp_path_factory.mktemp("run") / "checkpoint"
    checkpoints.export_networks(folder, {"generator": variables}, {"config": config.to_dict()})
    return folder, variables


def test_the_network_gets_its_inputs_as_it_knows_them(monkeypatch):
    monkeypatch.setattr(dubbing_model, "default_batch_size", lambda: 4)
    rng = np.random.default_rng(0)
    audio_windows = rng.normal(size=(3, 16, 80)).astype(np.float32)
    faces = rng.integers(0, 256, (3, 96, 96, 3), np.uint8)

    class Generator:
        def apply(self, variables, audio, both, first_row):
            assert audio.shape == (4, 80, 16, 1) and both.shape == (4, 96, 96, 6)
            # The upper half as it was, the lower half of the reference dimmed; then the sound.
            generated = both[..., :3] + variables["params"]["dim"] * (both[..., 3:] - both[..., :3])
            return generated.at[:, 0, 0, 0].set(audio[:, 7, 5, 0])[:, first_row:]

    inference = Wav2LipInference(wav2lip_config.get_config("tiny"))
    inference._generator = Generator()
    program, variables = GeneratorProgram(inference), {"params": {"dim": np.float32(0.5)}}
    program.prepare(variables)
    program.set_variables(variables)
    editor = DubbingModel(program, 96, "name")
    generated = np.asarray(editor(audio_windows, faces, 4))
    assert generated.shape == (4, 96, 96, 3) and generated.dtype == np.uint8
    np.testing.assert_array_equal(
        generated[:3, 0, 0, 0], np.rint(255 * audio_windows[:, 5, 7].clip(0, 1))
    )
    np.testing.assert_array_equal(generated[:3, 1:48], faces[:, 1:48])
    np.testing.assert_allclose(generated[:3, 48:], faces[:, 48:] / 2, atol=0.51)
    rows = np.asarray(editor(audio_windows, faces, 4, first_row=50))
    np.testing.assert_array_equal(rows[:3, :50], faces[:, :50])
    np.testing.assert_array_equal(rows[:, 50:], generated[:, 50:])


def test_the_name_of_a_model_depends_on_its_weights(checkpoint):
    variables = checkpoint[1]
    other = jax.tree.map(lambda x: x + 1, variables)
    assert metadata.model_hash(other) != metadata.model_hash(variables)


def test_a_network_is_traced_once_and_compiled_without_running(checkpoint, monkeypatch):
    traced = []
    generate = Wav2LipInference.generate

    def count(self, variables, audio, faces, references, first_row):
        traced.append((len(audio), first_row))
        return generate(self, variables, audio, faces, references, first_row)

    monkeypatch.setattr(Wav2LipInference, "generate", count)
    monkeypatch.setattr(dubbing_model, "default_batch_size", lambda: 2)
    model = DubbingModel.load(checkpoint[0])
    row = first_read_row(DubbingOptions(), 96)
    model.compile(2, row)
    inputs = np.zeros((1, 16, 80), np.float32), np.zeros((1, 96, 96, 3), np.uint8)
    assert model(*inputs, 2, row).shape == (2, 96, 96, 3)
    assert traced == [(2, row)]
    # The whole face, as published Wav2Lip pastes, is another program.
    assert model(*inputs, 2, first_read_row(DubbingOptions(blend="box"), 96)).shape[1] == 96
    assert traced == [(2, row), (2, 0)]


def test_a_loaded_generator_generates_what_its_checkpoint_does(checkpoint, monkeypatch):
    monkeypatch.setattr(dubbing_model, "default_batch_size", lambda: 2)
    inference, program, model_hash = load_generator(checkpoint[0])
    assert model_hash == metadata.model_hash(checkpoint[1])
    rng = np.random.default_rng(0)
    audio_windows = rng.normal(size=(2, 16, 80)).astype(np.float32)
    face = rng.integers(0, 256, (2, 96, 96, 3), np.uint8)
    unit = face.astype(np.float32) / 255
    expected = jax.jit(inference.generate)(checkpoint[1], audio_windows, unit, unit)
    np.testing.assert_allclose(program(audio_windows, face), 255 * expected, atol=0.51)


def test_a_checkpoint_that_draws_nothing_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"):
        DubbingModel.load(tmp_path / "nowhere")
    config = expert_config.get_config("tiny")
    checkpoints.export_networks(
        tmp_path / "expert", {"expert": {"params": {"w": np.ones(1)}}}, {"config": config.to_dict()}
    )
    with pytest.raises(ValueError, match="sync_expert, which does not dub faces; give"):
        DubbingModel.load(tmp_path / "expert")


def test_weights_of_another_network_are_told_at_once(checkpoint, tmp_path):
    config = wav2lip_config.get_config("tiny")
    config.model.width_mult = 0.1
    checkpoints.export_networks(
        tmp_path / "run", {"generator": checkpoint[1]}, {"config": config.to_dict()}
    )
    with pytest.raises(ValueError, match=r"run: its weights are not those of the network"):
        DubbingModel.load(tmp_path / "run")


def test_the_command_from_end_to_end(checkpoint, tmp_path, capsys):
    from lipsync_jax.cli import main

    media_files.write_media(
        tmp_path / "a b.mp4", media_files.uniform_times(10), media_files.tone(200, 0.4, 48_000)
    )
    path = str(tmp_path / "a b.mp4")
    files = ["--checkpoint_path", str(checkpoint[0]), "--face", path, "--audio", path]
    outfile = str(tmp_path / "out ü.mp4")
    box = ["--box", "4", "44", "10", "50", "--batch_size", "4"]
    status = main.main(["dub", *files, "--outfile", outfile, *box])
    output = capsys.readouterr()
    assert status == 0 and "10 frames edited, 0 unchanged" in output.out

    status = main.main(["dub", *files, "--outfile", outfile, "--nosmooth", "--silence-mode", "no"])
    assert status == 1 and "--silence-mode='no' is unknown" in capsys.readouterr().err
