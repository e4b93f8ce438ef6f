"""The ComfyUI node, loaded as ComfyUI loads it, against a stub of its tensors."""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import media_files, scenes

FOLDER = Path(__file__).parents[2] / "examples" / "comfyui"


class Tensor(np.ndarray):
    """What the node uses of a torch.Tensor."""

    def cpu(self):
        return self


@pytest.fixture
def package(monkeypatch):
    torch = types.ModuleType("torch")
    torch.from_numpy = lambda array: array.view(Tensor)
    monkeypatch.setitem(sys.modules, "torch", torch)
    spec = importlib.util.spec_from_file_location("lipsync_node", FOLDER / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def inputs():
    frames = np.full((6, 65, 96, 3), 0.5, np.float32).view(Tensor)
    sound = media_files.tone(220, 0.4, 16_000)[None, None].view(Tensor)
    return {"frames": frames, "audio": {"waveform": sound, "sample_rate": 16_000}, "fps": 25.0}


@pytest.fixture
def given(package, monkeypatch):
    """The options with which a toy network dubbed; its faces are in a constant box."""
    pipeline, options_given = scenes.lip_sync_pipeline(), {}

    class Pipeline:
        def generate(self, *files, **options):
            options_given.update(options)
            return pipeline.generate(*files, **options, box=(10, 58, 20, 68))

    monkeypatch.setattr(package, "_pipeline", lambda checkpoint: Pipeline())
    return options_given


def test_every_input_is_an_argument_of_the_function(package):
    (node,) = package.NODE_CLASS_MAPPINGS.values()
    assert package.NODE_CLASS_MAPPINGS.keys() == package.NODE_DISPLAY_NAME_MAPPINGS.keys()
    declared = node.INPUT_TYPES()
    code = getattr(node, node.FUNCTION).__code__
    arguments = code.co_varnames[1 : code.co_argcount]
    assert (*declared["required"], *declared["optional"]) == arguments
    assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == 3
    assert len((FOLDER / "__init__.py").read_text().splitlines()) < 150


def test_frames_as_long_as_the_audio_come_out(package, inputs, given):
    (node,) = package.NODE_CLASS_MAPPINGS.values()
    frames, audio, report = node().dub(**inputs, quality="fast", consent=True, label="")
    assert frames.shape == (10, 64, 96, 3) and frames.dtype == np.float32
    assert 0 <= frames.min() and frames.max() <= 1
    changed = np.abs(np.asarray(frames) - 0.5).max(axis=(0, 3))
    assert changed[36:56, 24:64].max() > 0.05 and changed[:, 80:].max() < 0.02
    assert audio is inputs["audio"] and report.startswith("10 of 10 frames edited")
    assert given == {
        "quality": "fast", "lossless": True, "label": None, "cache": False, "fps": 25
    }  # fmt: skip


@pytest.mark.usefixtures("given")
def test_a_single_frame_keeps_the_rate(package, inputs):
    (node,) = package.NODE_CLASS_MAPPINGS.values()
    inputs |= {"frames": inputs["frames"][:1], "fps": 50.0}
    frames, _, _ = node().dub(**inputs, quality="fast", consent=True, label="")
    assert len(frames) == 20  # 0.4 s


def test_consent_is_asked_for(package, inputs):
    (node,) = package.NODE_CLASS_MAPPINGS.values()
    with pytest.raises(ValueError, match="set consent to true"):
        node().dub(**inputs, quality="good", consent=False)
