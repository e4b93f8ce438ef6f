"""One file a paper; `load` finds a config's method by its name."""

import importlib
from collections.abc import Mapping
from typing import Any

import ml_collections

from lipsync_jax.methods.base import Method


def load(
    config: ml_collections.ConfigDict, cards: Mapping[str, Mapping[str, Any]] | None = None
) -> Method:
    """The method a config names.

    Args:
        config: `config.method` is the name of a module in this package.
        cards: the cards of the frozen networks that `config.frozen` names; inference needs none.

    Raises:
        ValueError: there is no such method.
    """
    name = f"lipsync_jax.methods.{config.method}"
    try:
        module = importlib.import_module(name) if str(config.method).isidentifier() else None
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        module = None
    if not hasattr(module, "make"):
        raise ValueError(f"config.method={config.method!r} names no method of lipsync_jax/methods")
    return module.make(config, cards or {})
