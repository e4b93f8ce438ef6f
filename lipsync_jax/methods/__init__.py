"""Methods, one folder per paper; `load` returns the method that a config names."""

import importlib

import ml_collections

from lipsync_jax.methods.base import Method
from lipsync_jax.types import ModelCards

# config.method -> module of this package; a new method adds a line.
MODULES = {
    "flownet": "flownet.method",
    "glance": "glance.method",
    "glance_autoencoder": "glance.autoencoder_method",
    "jain": "jain.method",
    "lip_reader": "lip_reader.method",
    "lipgan": "lipgan.method",
    "speech2vid": "speech2vid.method",
    "sync_expert": "wav2lip.sync_expert",
    "vgan": "vgan.method",
    "vougioukas": "vougioukas.method",
    "wav2lip": "wav2lip.method",
}


def load(config: ml_collections.ConfigDict, model_cards: ModelCards | None = None) -> Method:
    """Returns the method that a config names.

    Args:
        config: `config.method` is a key of MODULES.
        model_cards: of the checkpoints of the frozen networks in `config.frozen`; {} at inference.

    Raises:
        ValueError: `config.method` is unknown.
    """
    if config.method not in MODULES:
        raise ValueError(
            f"config.method={config.method!r} is not a method; choose one of {', '.join(MODULES)}"
        )
    module = importlib.import_module(f"{__name__}.{MODULES[config.method]}")
    return module.make(config, model_cards or {})
