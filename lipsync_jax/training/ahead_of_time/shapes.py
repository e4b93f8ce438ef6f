"""Shapes of a train step's inputs, without data and without checkpoints."""

import dataclasses
import json
from collections.abc import Mapping
from fractions import Fraction

import jax
import ml_collections
import numpy as np

from lipsync_jax import methods
from lipsync_jax.data.clip import CROP_SPECS, Clip, Word, encode_frame
from lipsync_jax.methods.base import Method, NetworkState, State
from lipsync_jax.training import arrays, checkpoints, inputs
from lipsync_jax.training.compiled_steps import CompiledSteps
from lipsync_jax.types import ModelCard

_SECONDS = 20  # longer than any example of a config
_AUDIO_RATE = 16000  # samples a second
# Examples sampled to find the largest shape of a method whose segments differ in length.
_NUM_SAMPLED = 16

Batch = dict[str, jax.ShapeDtypeStruct]
Configs = Mapping[str, ml_collections.ConfigDict]


@dataclasses.dataclass(frozen=True)
class AbstractMethod:
    """A method with the shapes that its train step takes.

    Attributes:
        method: of the config.
        example: the shapes of one example, each with a leading axis of 1.
        frozen: network -> its abstract variables.
    """

    method: Method
    example: Batch
    frozen: Mapping[str, NetworkState]

    def batch(self, size: int) -> Batch:
        """Returns a batch of `size` examples, those of all devices together."""
        return {
            name: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)
            for name, x in self.example.items()
        }

    def trained(self, size: int) -> State:
        """Returns the abstract initial state of the trained networks, for `size` examples."""
        state: State = jax.eval_shape(self.method.init, _key(), self.batch(size))
        return state

    def state(self, steps: CompiledSteps, batch: Batch) -> State:
        """Returns the abstract state before the first step.

        Args:
            steps: of the method.
            batch: from `batch`.
        """
        state: State = jax.eval_shape(steps.init_state, _key(), batch)
        return state.replace(networks={**state.networks, **self.frozen})


def abstract_method(config: ml_collections.ConfigDict, frozen_configs: Configs) -> AbstractMethod:
    """Returns the method of a config, and the shapes of its largest training batch.

    Args:
        config: the experiment; its data folder and workdir are not read. A checkpoint that
            `config.frozen` names gives the shapes of that network.
        frozen_configs: experiments that train the other networks of `config.frozen`, by network.

    Raises:
        ValueError: config, checkpoint or frozen configs do not fit; says what to do.
    """
    config = ml_collections.ConfigDict(config)
    without_frozen = ml_collections.ConfigDict({**config, "frozen": {}})
    inputs.require_inputs(without_frozen, with_data=False)
    model_cards, frozen = {}, {}
    for name, block in config.frozen.items():
        if block.checkpoint:
            model_cards[name], frozen[name] = _from_checkpoint(config, name)
        else:
            model_cards[name], frozen[name] = _from_config(config, name, frozen_configs)
            if "min_accuracy" in block:  # of a trained network; this one is not
                block.min_accuracy = 0.0
    method = methods.load(config, model_cards)
    method.validate_config()
    return AbstractMethod(method, abstract_example(method), frozen)


def abstract_example(method: Method) -> Batch:
    """Returns the shapes of a method's largest training example, as a batch of 1."""
    return {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in largest_example(method).items()
    }


def largest_example(method: Method) -> dict[str, np.ndarray]:
    """Returns a method's largest training example, as a batch of 1.

    Of a clip of noise, or, where the method generates its own data, of the first of these.
    """
    source = method.data_source("train")
    clip = synthetic_clip(method.config) if source is None else source[0]
    sampled = [
        method.collate([method.make_example(clip, np.random.default_rng(seed))])
        for seed in range(_NUM_SAMPLED)
    ]
    largest = max(sampled, key=lambda batch: sum(np.asarray(x).nbytes for x in batch.values()))
    return {name: np.asarray(x) for name, x in largest.items()}


def synthetic_clip(config: ml_collections.ConfigDict) -> Clip:
    """Returns a clip of noise of which the method of a config can make examples."""
    rng, crop, rate = np.random.default_rng(0), CROP_SPECS[config.data.crop], Fraction(25)
    frame = encode_frame(rng.integers(0, 256, (crop.height, crop.width, 3), np.uint8))
    count = int(_SECONDS * rate)
    word = config.vocabulary[0] if "vocabulary" in config else "word"
    return Clip(
        clip_id="synthetic",
        speaker="synthetic",
        frames=(frame,) * count,
        frame_rate=rate,
        audio=rng.integers(-3000, 3000, _SECONDS * _AUDIO_RATE).astype(np.int16),
        audio_rate=_AUDIO_RATE,
        landmarks=np.full((count, 5, 2), np.nan, np.float32),
        words=(Word(word, 0.0, _SECONDS / 2),),
    )


def _from_checkpoint(
    config: ml_collections.ConfigDict, name: str
) -> tuple[ModelCard, NetworkState]:
    block = config.frozen[name]
    model_card = checkpoints.read_model_card(block.checkpoint)
    inputs.require_method(config, name, model_card)
    item = checkpoints.find_network(block.checkpoint, block.network)
    return model_card, NetworkState(**arrays.shapes(item))


def _from_config(
    config: ml_collections.ConfigDict, name: str, frozen_configs: Configs
) -> tuple[ModelCard, NetworkState]:
    block = config.frozen[name]
    if name not in frozen_configs:
        raise ValueError(
            f"config.frozen.{name}: no config trains the method {block.method}; name a trained "
            f"network, --config.frozen.{name}.checkpoint=RUN"
        )
    frozen_config = ml_collections.ConfigDict(frozen_configs[name])
    # The run takes a network that fits its images.
    frozen_config.data.crop, frozen_config.precision = config.data.crop, config.precision
    method = methods.load(frozen_config)
    method.validate_config()
    state = AbstractMethod(method, abstract_example(method), {}).trained(2)
    network = state.networks[block.network]
    model_card = {"config": json.loads(frozen_config.to_json_best_effort())}
    return model_card, NetworkState(network.params, network.batch_stats)


def _key() -> jax.Array:
    return jax.eval_shape(lambda: jax.random.key(0))
