"""The functions of a trained network that are exported, as functions of flat lists of arrays."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from lipsync_jax.methods.inference import AnimationInference, DubbingInference
from lipsync_jax.nn import folding
from lipsync_jax.synthesis.dubbing_model import float_generator, uint8_generator
from lipsync_jax.types import Json, Tree, Variables

BATCH = "b"  # the name of a batch dimension of any size
Weights = Mapping[str, Any]  # name of an array, such as `params/head/kernel` -> array or shape
Outputs = tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """An input or output of an exported function.

    Attributes:
        name: in the file, and in example.npz.
        shape: sizes; BATCH stands for any size.
        dtype: NumPy's name.
        meaning: axes, range and units, for the card.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    meaning: str

    def as_json(self) -> dict[str, Json]:
        """Returns the attributes as JSON values."""
        return {**dataclasses.asdict(self), "shape": list(self.shape)}

    def concrete(self, batch: int) -> tuple[int, ...]:
        """Returns the shape with a number in place of BATCH."""
        return tuple(batch if isinstance(size, str) else size for size in self.shape)


@dataclasses.dataclass(frozen=True)
class Function:
    """A function to export.

    Attributes:
        name: of its files, without suffix.
        call: (weights, *inputs) -> outputs; traced.
        weights: NumPy arrays.
        inputs: positional arguments after the weights.
        outputs: of `call`.
        start: name of an input -> its value before the first call, of states.
    """

    name: str
    call: Callable[..., Outputs]
    weights: Weights
    inputs: tuple[ArraySpec, ...]
    outputs: tuple[ArraySpec, ...]
    start: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def of_dubbing(
    inference: DubbingInference,
    variables: Variables,
    layers: folding.Layers,
    batch: int | str,
    floats: bool,
) -> list[Function]:
    """Returns the one function of a dubbing network: audio and faces -> generated faces.

    Scaling, masking, clipping and rounding are inside. Each face is its own reference image.
    BatchNorm is folded into the convolutions.

    Args:
        inference: the network.
        variables: of the network, not folded.
        layers: to fold, see `GeneratorProgram.layers`.
        batch: faces of a call, or BATCH.
        floats: whether faces are float32 in [0, 1], not uint8.
    """
    generate = (float_generator if floats else uint8_generator)(inference, {})
    features, size = inference.audio_features, inference.image_size
    dtype, values = ("float32", "[0, 1]") if floats else ("uint8", "0 to 255")
    faces = (batch, size, size, 3)
    inputs = (
        ArraySpec(
            "audio",
            (batch, features.window, features.bins),
            "float32",
            f"audio features: faces, {features.name} columns, bins; see `audio`",
        ),
        ArraySpec("faces", faces, dtype, f"faces, rows, columns, BGR {values}; see `image`"),
    )
    output = ArraySpec("generated", faces, dtype, "as `faces`, with the mouth generated")
    weights = _flat(folding.fold_batch_norm(variables, layers))

    def call(weights: Weights, audio: jax.Array, faces: jax.Array) -> Outputs:
        return (generate(_nested(weights), audio, faces),)

    return [Function("model", call, weights, inputs, (output,))]


def of_animation(
    inference: AnimationInference, variables: Mapping[str, Variables], encoded: Tree, frames: int
) -> list[Function]:
    """Returns two functions: `encode` of the reference image, and `step` of the next frames.

    Args:
        inference: the networks.
        variables: of `inference.networks`.
        encoded: shapes of the encoded image, see `animation_model.check_shapes`.
        frames: of one step, a multiple of `frame_multiple`.
    """
    size, features = inference.image_size, inference.audio_frontend.shape
    image = ArraySpec("image", (*size, 3), "uint8", "reference image: rows, columns, RGB")
    encoded_leaves, encoded_tree = jax.tree.flatten(encoded)
    state_leaves, state_tree = jax.tree.flatten(inference.initial_state())
    state_leaves = [np.asarray(leaf) for leaf in state_leaves]
    weights = _flat(variables)

    def encode(weights: Weights, image: jax.Array) -> Outputs:
        return tuple(jax.tree.leaves(inference.encode_image(_nested(weights), image)))

    def step(weights: Weights, features: jax.Array, *others: jax.Array) -> Outputs:
        rest = list(others)
        noise = rest.pop(0) if inference.noise_size else jnp.zeros((frames, 0), jnp.float32)
        encoded: Tree = jax.tree.unflatten(encoded_tree, rest[: len(encoded_leaves)])
        state: Tree = jax.tree.unflatten(state_tree, rest[len(encoded_leaves) :])
        after, generated = inference.step(_nested(weights), encoded, features, noise, state)
        return generated, *jax.tree.leaves(after)

    codes = _leaves("encoded", encoded_leaves, "part of the encoded reference image")
    states = _leaves("state", state_leaves, "part of the state before these frames")
    after = _leaves("next_state", state_leaves, "the state after these frames")
    step_inputs = [
        ArraySpec("features", (frames, *features), "float32", "audio features, one entry a frame")
    ]
    if inference.noise_size:
        meaning = f"normal noise of deviation {inference.noise_std:g}, a row for each frame"
        noise_shape = (frames, inference.noise_size)
        step_inputs.append(ArraySpec("noise", noise_shape, "float32", meaning))
    generated = ArraySpec("frames", (frames, *size, 3), "uint8", "frames, rows, columns, RGB")
    start = {spec.name: leaf for spec, leaf in zip(states, state_leaves, strict=True)}
    return [
        Function("encode", encode, weights, (image,), tuple(codes)),
        Function(
            "step", step, weights, (*step_inputs, *codes, *states), (generated, *after), start
        ),
    ]


def _leaves(name: str, leaves: Sequence[Any], meaning: str) -> list[ArraySpec]:
    return [
        ArraySpec(f"{name}_{i}", tuple(leaf.shape), str(np.dtype(leaf.dtype)), meaning)
        for i, leaf in enumerate(leaves)
    ]


def _flat(variables: Variables) -> dict[str, np.ndarray]:
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    return {name: np.asarray(value) for name, value in flat.items()}


def _nested(weights: Weights) -> dict[str, Tree]:
    return traverse_util.unflatten_dict(dict(weights), sep="/")
