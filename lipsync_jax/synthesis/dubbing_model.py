"""A trained dubbing network, loaded and compiled for one batch shape."""

import functools
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax.data.audio_features import MEL, AudioFeatureSpec
from lipsync_jax.methods.inference import DubbingInference
from lipsync_jax.nn import folding
from lipsync_jax.provenance import metadata
from lipsync_jax.synthesis.batch_sizes import default_batch_size
from lipsync_jax.synthesis.compositing import first_read_row
from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.training.inference import load_inference, load_network, read_model_card
from lipsync_jax.training.inference_function import InferenceFunction
from lipsync_jax.types import Json, Variables

GenerateFn = Callable[[np.ndarray, np.ndarray], jax.Array]


class DubbingModel:
    """Generates the mouths of faces from audio. Each face is its own reference image.

    Attributes:
        generate: (audio windows float32 (n, columns, bins), faces uint8 (n, size, size, 3) BGR) ->
            the generated faces, of the faces' shape and dtype; a device array that may not be
            ready.
        size: rows and columns of the face crops, pixels.
        model_hash: identifies the weights, see `metadata.model_hash`.
        audio_features: the audio features that the windows hold.
    """

    def __init__(
        self,
        generate: GenerateFn,
        size: int,
        model_hash: str,
        audio_features: AudioFeatureSpec = MEL,
    ) -> None:
        self.generate, self.size, self.model_hash, self.audio_features = (
            generate,
            size,
            model_hash,
            audio_features,
        )

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "DubbingModel":
        """Loads a trained generator; see `load_generator`."""
        first_row = functools.partial(first_read_row, DubbingOptions())
        inference, program, model_hash = load_generator(directory, first_row)
        return cls(program, inference.image_size, model_hash, inference.audio_features)

    def __call__(
        self, audio: np.ndarray, faces: np.ndarray, batch_size: int, first_row: int = 0
    ) -> jax.Array:
        """Starts one batch; a short batch is padded, so that only one program is compiled.

        Args:
            audio: float32 (n, columns, bins), n <= batch_size.
            faces: uint8 (n, size, size, 3), BGR.
            batch_size: faces of the compiled program.
            first_row: rows of the faces above it are not needed, see `GeneratorProgram`.

        Returns:
            uint8 (batch_size, size, size, 3), BGR; faces from n on are padding. `np.asarray`
            waits for the device.
        """
        missing = [(0, batch_size - len(faces))]
        audio = np.pad(audio, [*missing, (0, 0), (0, 0)])
        faces = np.pad(faces, [*missing, (0, 0), (0, 0), (0, 0)])
        if isinstance(self.generate, GeneratorProgram):
            return self.generate(audio, faces, first_row=first_row)
        return self.generate(audio, faces)

    def compile(self, batch_size: int, first_row: int = 0) -> None:
        """Compiles the program of a batch size, without running it."""
        if isinstance(self.generate, GeneratorProgram):
            self.generate.compile_batch(batch_size, first_row)


def load_generator(
    directory: str | os.PathLike, first_row: Callable[[int], int] = lambda size: 0
) -> tuple[DubbingInference, "GeneratorProgram", str]:
    """Loads the generator of a dubbing checkpoint.

    Args:
        directory: a training run's workdir, or what `lipsync convert` wrote.
        first_row: size of a face -> the first row that will most likely be asked for.

    Returns:
        The inference, its program, and the hash of the variables, see `metadata.model_hash`.

    Raises:
        FileNotFoundError: there is no checkpoint, or it has no generator.
        ValueError: its method does not dub, or the weights have other shapes than the network.
    """
    inference = load_inference(
        directory,
        DubbingInference,
        "which does not dub faces; give a generator's folder, e.g. a run of configs/wav2lip.py",
    )
    program = GeneratorProgram(inference, read_model_card(directory)["config"])
    prepare = functools.partial(program.prepare, first_row=first_row(inference.image_size))
    variables, _ = load_network(directory, inference.network, prepare)
    program.set_variables(variables)
    return inference, program, metadata.model_hash(variables)


def float_generator(
    inference: DubbingInference, layers: folding.Layers, first_row: int = 0
) -> Callable[..., jax.Array]:
    """Returns (folded variables, audio, faces, references) -> faces, all float32 in [0, 1].

    Without references, each face is its own.

    Args:
        inference: the network.
        layers: filled with the layers to fold, once the function is traced.
        first_row: rows above it are left out of the generated faces.
    """

    def generate(
        variables: Variables,
        audio: jax.Array,
        faces: jax.Array,
        references: jax.Array | None = None,
    ) -> jax.Array:
        references = faces if references is None else references
        with folding.skip_batch_norm() as found:
            generated = inference.generate(
                variables, audio, faces, jnp.broadcast_to(references, faces.shape), first_row
            )
        layers.update(found)
        return jnp.clip(generated, 0, 1)

    return generate


def uint8_generator(
    inference: DubbingInference, layers: folding.Layers, first_row: int = 0
) -> Callable[..., jax.Array]:
    """Returns what `float_generator` returns, with faces and references of uint8."""
    generate_floats = float_generator(inference, layers, first_row)

    def generate(variables: Variables, audio: jax.Array, *images: jax.Array | None) -> jax.Array:
        scaled = (x if x is None else x.astype(jnp.float32) / 255 for x in images)
        # Deviation W13: published Wav2Lip truncates.
        generated = generate_floats(variables, audio, *scaled)
        return jnp.rint(generated * 255).astype(jnp.uint8)

    return generate


class GeneratorProgram:
    """Generates faces: (audio windows, faces, references) -> generated faces; all faces uint8.

    Without references, each face is its own. BatchNorm is folded into the convolutions. A program
    is compiled for each shape of the inputs and each `first_row`: rows above it are not needed, and
    those of the faces given.

    Attributes:
        layers: the layers of the network that are folded; filled by `prepare`.
    """

    def __init__(self, inference: DubbingInference, identity: Json = None) -> None:
        """Takes the inference; `prepare` and `set_variables` are to be called first.

        Args:
            inference: the network.
            identity: the network's config, see `InferenceFunction`.
        """
        self._inference, self._identity = inference, identity
        self._variables: Variables = {}
        self.layers: folding.Layers = {}
        self._function = functools.cache(self._make_function)

    def prepare(self, variables: Variables, first_row: int = 0) -> None:
        """Checks the variables' shapes, and finds or traces the program of the default batch.

        Args:
            variables: arrays or their shapes.
            first_row: see the class.

        Raises:
            Errors of many kinds: the variables are not those of the network.
        """
        self._function(first_row).prepare(variables, *self._shapes(default_batch_size()))

    def set_variables(self, variables: Variables) -> None:
        """Folds variables, and puts them on the device."""
        self._variables = jax.device_put(folding.fold_batch_norm(variables, self.layers))

    def compile_batch(self, batch_size: int, first_row: int = 0) -> None:
        """Compiles the program of a batch size, without running it."""
        self._function(first_row).compiled(self._variables, *self._shapes(batch_size))

    def __call__(self, *inputs: np.ndarray, first_row: int = 0) -> jax.Array:
        """Starts the generation; see the class."""
        return self._function(first_row)(self._variables, *inputs)

    def _make_function(self, first_row: int) -> InferenceFunction:
        generate = uint8_generator(self._inference, self.layers, first_row)

        def with_given_rows(
            variables: Variables, audio: jax.Array, faces: jax.Array, *references: jax.Array
        ) -> jax.Array:
            generated = generate(variables, audio, faces, *references)
            return jnp.concatenate([faces[:, :first_row], generated], axis=1)

        identity = self._identity and ["uint8_generator", first_row, self._identity]
        function = with_given_rows if first_row else generate
        return InferenceFunction(function, self.layers, identity)

    def _shapes(self, batch_size: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        features, size = self._inference.audio_features, self._inference.image_size
        audio = (batch_size, features.window, features.bins)
        return (
            jax.ShapeDtypeStruct(audio, jnp.float32),
            jax.ShapeDtypeStruct((batch_size, size, size, 3), jnp.uint8),
        )
