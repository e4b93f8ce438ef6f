"""Methods, one folder per paper: `load` returns one to train, `load_inference` one to run."""

import importlib
import typing
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import ml_collections

from lipsync_jax.methods.base import Method
from lipsync_jax.types import ModelCard, ModelCards

if TYPE_CHECKING:
    from lipsync_jax.methods.inference import Inference


class Modules(NamedTuple):
    """Absolute names of the modules of a method; "" where there is none.

    Attributes:
        training: has `make(config, model_cards) -> Method`.
        inference: has `make(model_card)`, annotated with the class that it makes, one of
            `methods.inference`.
    """

    training: str = ""
    inference: str = ""


_HERE = __name__
# config.method -> its modules; a new method adds a line.
MODULES = {
    "flownet": Modules(f"{_HERE}.flownet.method"),
    "glance": Modules(f"{_HERE}.glance.method", f"{_HERE}.glance.inference"),
    "glance_autoencoder": Modules(f"{_HERE}.glance.autoencoder_method"),
    "jain": Modules(f"{_HERE}.jain.method", f"{_HERE}.jain.inference"),
    "lip_reader": Modules(f"{_HERE}.lip_reader.method"),
    "lipgan": Modules(f"{_HERE}.lipgan.method", f"{_HERE}.lipgan.inference"),
    "speech2vid": Modules(f"{_HERE}.speech2vid.method", f"{_HERE}.speech2vid.inference"),
    "speech2vid_lips": Modules(
        f"{_HERE}.speech2vid.lips_method", f"{_HERE}.speech2vid.lips_inference"
    ),
    "stable_syncnet": Modules(
        f"{_HERE}.stable_syncnet.method", f"{_HERE}.stable_syncnet.inference"
    ),
    "sync_expert": Modules(
        f"{_HERE}.wav2lip.sync_expert", f"{_HERE}.wav2lip.sync_expert_inference"
    ),
    "syncnet_v2": Modules(inference=f"{_HERE}.syncnet.inference"),
    "vgan": Modules(f"{_HERE}.vgan.method", f"{_HERE}.vgan.inference"),
    "vougioukas": Modules(f"{_HERE}.vougioukas.method", f"{_HERE}.vougioukas.inference"),
    "wav2lip": Modules(f"{_HERE}.wav2lip.method", f"{_HERE}.wav2lip.inference"),
}


def register(name: str, training: str = "", inference: str = "") -> None:
    """Adds a method that lies outside of this package.

    Args:
        name: the value of `config.method`.
        training: absolute name of the module that trains the method, see `Modules`.
        inference: absolute name of the module that runs the method.

    Raises:
        ValueError: the name is taken by other modules.
    """
    modules = Modules(training, inference)
    if MODULES.setdefault(name, modules) != modules:
        raise ValueError(f"the method {name!r} is registered already: choose another name")


def load(config: ml_collections.ConfigDict, model_cards: ModelCards | None = None) -> Method:
    """Returns the method that a config names.

    Args:
        config: `config.method` is a key of MODULES.
        model_cards: of the checkpoints of the frozen networks in `config.frozen`; {} at inference.

    Raises:
        ValueError: `config.method` is unknown, or cannot be trained.
    """
    trainable = [name for name, modules in MODULES.items() if modules.training]
    if config.method not in trainable:
        raise ValueError(
            f"config.method={config.method!r} is not a method; choose one of {', '.join(trainable)}"
        )
    return _import(MODULES[config.method].training).make(config, model_cards or {})


def load_inference(model_card: ModelCard) -> "Inference":
    """Returns what a checkpoint's networks can do: dub, animate, or measure synchronization.

    Args:
        model_card: of a checkpoint; `model_card["config"]` describes the networks.

    Raises:
        ValueError: the method is unknown or has no inference.
        Exception: of any type, where the config describes no network.
    """
    name = model_card["config"].get("method")
    if name not in MODULES:
        raise ValueError(f"the method {name!r} is unknown; known ones are {', '.join(MODULES)}")
    if not MODULES[name].inference:
        raise ValueError(f"the method {name} has no inference: its networks only serve in training")
    return _import(MODULES[name].inference).make(model_card)


def has_inference(name: object, kind: type) -> bool:
    """Returns whether a method has inference of a class of `methods.inference`.

    Args:
        name: of the method; unknown ones have none.
        kind: `DubbingInference`, `AnimationInference` or `SyncInference`.

    Raises:
        TypeError: the annotation of the method's `make` does not name a class.
    """
    if not (isinstance(name, str) and name in MODULES and MODULES[name].inference):
        return False
    made = typing.get_type_hints(_import(MODULES[name].inference).make).get("return")
    if not isinstance(made, type):
        raise TypeError(f"{MODULES[name].inference}.make must be annotated with the class it makes")
    return issubclass(made, kind)


def validate(model_card: ModelCard) -> None:
    """Raises an error of any type if a checkpoint's config describes no network."""
    name = model_card["config"].get("method")
    if name in MODULES and not MODULES[name].training:
        load_inference(model_card)
    else:
        load(ml_collections.ConfigDict(model_card["config"]))


def _import(module: str) -> ModuleType:
    return importlib.import_module(module)
