"""A folder a paper; `load` finds a config's method by its name."""

import importlib

import ml_collections

from lipsync_jax.methods.base import Method
from lipsync_jax.types import Cards

# config.method -> its module here; another paper adds a line.
MODULES = {
    "flownet": "flownet.method",
    "glance": "glance.method",
    "glance_autoencoder": "glance.autoencoder_method",
    "jain": "jain.method",
    "lip_reader": "lip_reader.method",
    "lipgan": "lipgan.method",
    "speech2vid": "speech2vid.method",
    "sync_expert": "wav2lip.sync_expert",
    "temporal_gan": "vougioukas.method",
    "vgan": "vgan.method",
    "wav2lip": "wav2lip.method",
}


def load(config: ml_collections.ConfigDict, cards: Cards | None = None) -> Method:
    """The method a config names.

    Args:
        config: `config.method` is a key of MODULES.
        cards: the cards of the frozen networks that `config.frozen` names; inference needs none.

    Raises:
        ValueError: there is no such method.
    """
    if config.method not in MODULES:
        raise ValueError(
            f"config.method={config.method!r} is no method; choose one of {', '.join(MODULES)}"
        )
    module = importlib.import_module(f"{__name__}.{MODULES[config.method]}")
    return module.make(config, cards or {})
