"""Blocks and variants that the configs of all methods are built from.

    VARIANTS = common.Variants(
        "mymethod", {"size": ("published", "tiny"), "system": ("full", "l1")}
    )

    def get_config(variant: str = "") -> ml_collections.ConfigDict:
        chosen = VARIANTS.parse(variant)
        config = common.experiment("mymethod", trained_networks=("generator", "discriminator"))
        config.data = common.data("face96", batch_size=16)
        config.loss = common.loss(l1=100.0)
        config.discriminators = ml_collections.ConfigDict()
        config.discriminators.frame = common.discriminator(
            weight=1.0, optimizer=common.optimizer(1e-4), model={"width_mult": 1.0}
        )
        config.optimizer = common.optimizer(1e-4)
        config.train = common.train(300_000, every=3000)
        if chosen.size == "tiny":
            ...

The meaning and the default of each field are in `lipsync_jax.methods.fields`.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ml_collections

from lipsync_jax.methods import fields


@dataclasses.dataclass(frozen=True)
class Variants:
    """Named arguments of a config file: `configs/vougioukas.py:size=tiny,system=l1`.

    A value may stand without its argument's name where one argument alone allows the value
    (`:tiny` is `:size=tiny`), and values may be joined by underscores (`:tiny_l1`).

    Attributes:
        config: name of the config file, without folder and suffix; for messages.
        arguments: name -> allowed values; the first value is the default.
        aliases: other spelling -> `NAME=VALUE[,NAME=VALUE ...]`.
    """

    config: str
    arguments: Mapping[str, Sequence[str]]
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def parse(self, variant: str) -> ml_collections.FrozenConfigDict:
        """Returns the value of every argument.

        Args:
            variant: the text after the colon; "" selects the defaults.

        Raises:
            ValueError: `variant` has an unknown argument or value, or sets an argument twice.
        """
        chosen: dict[str, str] = {}
        for part in filter(None, variant.split(",")):
            pairs = self._named(part) if "=" in part else self._unnamed(part)
            if pairs is None:
                raise ValueError(f"{self._file} has no variant {part!r}; {self._usage()}")
            for name, value in pairs:
                if chosen.setdefault(name, value) != value:
                    raise ValueError(
                        f"{self._file}:{variant} sets {name} to both {chosen[name]!r} and "
                        f"{value!r}; {self._usage()}"
                    )
        defaults = {name: values[0] for name, values in self.arguments.items()}
        return ml_collections.FrozenConfigDict({**defaults, **chosen})

    def all(self) -> list[str]:
        """Returns every combination of values, spelled in full, the default first."""
        named = [[f"{name}={value}" for value in values] for name, values in self.arguments.items()]
        return [",".join(combination) for combination in itertools.product(*named)]

    @property
    def _file(self) -> str:
        return f"configs/{self.config}.py"

    def _named(self, part: str) -> list[tuple[str, str]] | None:
        """NAME=VALUE, where the value may be an alias."""
        name, _, value = part.partition("=")
        if value in self.arguments.get(name, ()):
            return [(name, value)]
        pairs = self._unnamed(value) if name in self.arguments and value in self.aliases else None
        return pairs if pairs and all(argument == name for argument, _ in pairs) else None

    def _unnamed(self, part: str) -> list[tuple[str, str]] | None:
        """An alias, a value of one argument alone, or such values joined by underscores."""
        if part in self.aliases:
            split = (pair.partition("=") for pair in self.aliases[part].split(","))
            return [(name, value) for name, _, value in split]
        owners = [name for name, values in self.arguments.items() if part in values]
        if len(owners) == 1:
            return [(owners[0], part)]
        for name, values in self.arguments.items():
            for value in values:
                if part.startswith(f"{value}_"):
                    rest = self._unnamed(part.removeprefix(f"{value}_"))
                    if rest and all(argument != name for argument, _ in rest):
                        return [(name, value), *rest]
        return None

    def _usage(self) -> str:
        arguments = "; ".join(
            f"{name}={'|'.join(values)} (default {values[0]})"
            for name, values in self.arguments.items()
        )
        example = ",".join(f"{name}={values[-1]}" for name, values in self.arguments.items())
        return f"arguments: {arguments}; e.g. {self._file}:{example}"


def experiment(method: str, trained_networks: Iterable[str]) -> ml_collections.ConfigDict:
    """Returns a config without its blocks `data`, `model`, `optimizer` and `train`.

    Args:
        method: a key of `lipsync_jax.methods.MODULES`.
        trained_networks: the networks that have an optimizer; `config.init_from` names a checkpoint
            for any of them.
    """
    config = ml_collections.ConfigDict({"method": method, "seed": 0, **fields.EXPERIMENT})
    config.frozen = ml_collections.ConfigDict()
    config.init_from = init_from(*trained_networks)
    return config


def init_from(*networks: str) -> ml_collections.ConfigDict:
    """Returns an empty checkpoint for each network; `--config.init_from.generator=RUN` sets one."""
    return ml_collections.ConfigDict(dict.fromkeys(networks, ""))


def frozen(method: str, network: str, **settings: Any) -> ml_collections.ConfigDict:
    """Returns the block of a pretrained network that is not trained further.

    Args:
        method: the method of the run that trained the network.
        network: the network's name in that run.
        **settings: further fields, which one method alone reads; `config`, the name of the
            config that trains the network where that is not its method's.

    Returns:
        A block whose `checkpoint` the user sets: that run's workdir, or a converted checkpoint.
    """
    return ml_collections.ConfigDict(
        {"checkpoint": "", "method": method, "network": network, **settings}
    )


def data(
    crop: str,
    batch_size: int,
    validation_clips: int = 256,
    validation_batch_size: int = 8,
    **settings: Any,
) -> ml_collections.ConfigDict:
    """Returns the block of the data set.

    Args:
        crop: name of the face crop, as in `lipsync prepare --crop`.
        batch_size: clips per step, over all devices.
        validation_clips: clips in each validation; 0: all.
        validation_batch_size: clips per batch of a validation.
        **settings: `num_threads`, `num_workers`, and further fields that one method alone reads.
    """
    return ml_collections.ConfigDict(
        {
            "dir": "",  # the folder that `lipsync prepare` wrote
            "dirs": "",  # DIR=WEIGHT,...: training clips of several, see data/mixture.py
            "crop": crop,
            "batch_size": batch_size,
            "num_threads": 2,  # threads that read and decode clips, without workers
            "num_workers": 0,  # processes that make batches; 0: threads of this one; -1: by cores
            "validation_clips": validation_clips,
            "validation_batch_size": validation_batch_size,
            **settings,
        }
    )


def loss(**weights: float) -> ml_collections.ConfigDict:
    """Returns the weights of a method's losses.

    Args:
        **weights: of the terms that the method has; names as in `lipsync_jax.methods.fields.LOSS`.

    Raises:
        TypeError: no such field.
    """
    return ml_collections.ConfigDict(_known(fields.LOSS, weights))


def discriminator(
    weight: float,
    optimizer: ml_collections.ConfigDict,
    model: Mapping[str, Any] | None = None,
    **settings: Any,
) -> ml_collections.ConfigDict:
    """Returns the block `config.discriminators.<name>`.

    Args:
        weight: of the generator's adversarial loss against this discriminator.
        optimizer: the discriminator's own, see `optimizer`.
        model: keyword arguments of the network.
        **settings: of `lipsync_jax.methods.fields.DISCRIMINATOR`, as the method reads them.

    Raises:
        TypeError: no such field.
    """
    return ml_collections.ConfigDict(
        {
            "weight": weight,
            **_known(fields.DISCRIMINATOR, settings),
            "model": ml_collections.ConfigDict(dict(model or {})),
            "optimizer": optimizer,
        }
    )


def optimizer(learning_rate: float, **changes: Any) -> ml_collections.ConfigDict:
    """Returns the block that `lipsync_jax.methods.base.make_optimizer` reads.

    Args:
        learning_rate: the highest, where a schedule changes the rate.
        **changes: of the defaults in `lipsync_jax.methods.fields.OPTIMIZER`.

    Raises:
        TypeError: no such field.
    """
    return _changed({"learning_rate": learning_rate, **fields.OPTIMIZER}, changes)


def train(
    steps: int, every: int, log_every: int = 100, **changes: Any
) -> ml_collections.ConfigDict:
    """Returns the block of a run's length, validations and checkpoints.

    Args:
        steps: optimizer steps of the whole run.
        every: steps between two validations, and between two checkpoints.
        log_every: steps between two rows of training metrics.
        **changes: of the defaults in `lipsync_jax.methods.fields.TRAIN`.

    Raises:
        TypeError: no such field.
    """
    block = {"steps": steps, "log_every": log_every, "validate_every": every}
    return _changed({**block, "checkpoint_every": every, **fields.TRAIN}, changes)


def set_short_run(
    config: ml_collections.ConfigDict,
    steps: int,
    every: int,
    checkpoint_every: int = 0,
    log_every: int = 20,
    lr_decay: bool = True,
) -> None:
    """Changes a config to a short run without early stopping.

    Args:
        config: with its blocks `data`, `optimizer` and `train`.
        steps: optimizer steps of the whole run.
        every: steps between two validations.
        checkpoint_every: steps between two checkpoints; 0: `every`.
        log_every: steps between two rows of training metrics.
        lr_decay: whether the learning rate falls to 0 by the last step.
    """
    if lr_decay:
        config.optimizer.lr_decay_steps = steps
    config.train.update(
        steps=steps,
        log_every=log_every,
        validate_every=every,
        checkpoint_every=checkpoint_every or every,
        early_stopping_patience=0,
    )


def set_pod(config: ml_collections.ConfigDict, batch_size: int, linear: bool = True) -> None:
    """Changes a published config to a batch for 32 devices and more, over equally many clips.

    Steps, validations and schedules are divided by the factor of the batch. The rate is multiplied
    by that factor and reached by a linear warm-up: the linear scaling rule of Goyal et al. 2017
    (arXiv 1706.02677, sections 2.1 and 2.2), which is for SGD. `linear=False` multiplies it by the
    square root of the factor, the rule of Malladi et al. 2022 (arXiv 2205.10330) for Adam, which
    keeps discriminators at rates that GANs are trained with. The warm-up of 5 % of the steps
    replaces Goyal's five epochs, whose length the config does not know.

    Args:
        config: with all its blocks.
        batch_size: clips a step, a multiple of the devices.
        linear: see above.
    """
    factor = batch_size / config.data.batch_size
    train_steps = math.ceil(config.train.steps / factor)
    config.data.batch_size = batch_size
    config.data.num_workers = -1
    config.data.validation_batch_size = batch_size
    config.data.validation_clips = max(config.data.validation_clips, batch_size)
    for name in ("validate_every", "checkpoint_every", "log_every"):
        config.train[name] = max(10, math.ceil(config.train[name] / factor))
    config.train.steps = train_steps
    others = [each.optimizer for each in config.get("discriminators", {}).values()]
    for each in (config.optimizer, *others):
        each.learning_rate *= factor if linear else math.sqrt(factor)
        each.warmup_steps = math.ceil(0.05 * train_steps)
        for name in ("lr_decay_steps", "lr_decay_from", "lr_decay_every"):
            each[name] = math.ceil(each[name] / factor)


def sync_expert(
    method: str, crop: str, batch_size: int, learning_rate: float
) -> ml_collections.ConfigDict:
    """Returns what the experiments of sync experts share; without the block `model`.

    Args:
        method: see `experiment`.
        crop: see `data`.
        batch_size: see `data`.
        learning_rate: see `optimizer`.
    """
    config = experiment(method, trained_networks=("expert",))
    config.data = data(
        crop,
        batch_size,
        validation_clips=128,
        validation_frames=75,
        num_threads=1,  # more contend for the interpreter lock, as examples are small
    )
    config.objective = "cosine_bce"  # or info_nce, info_nce_in_clip
    config.negatives = "same_clip"  # or other_clips, mixed; of cosine_bce
    config.temperature = 0.07  # of info_nce and info_nce_in_clip
    config.min_negative_distance = 1  # frames, of same_clip; 0: the length of a window
    config.edge_windows = "reject"  # or pad, see methods/common/window_sampling.py
    config.windows_per_clip = 1
    config.silence_sampling_weight = 1.0  # of windows without speech, relative to speech
    config.augment_magnitude = 0.0
    config.degrade_magnitude = 0.0  # of light, camera and microphone, see data/degrade.py
    config.optimizer = optimizer(learning_rate)
    config.train = train(300_000, every=10_000)
    return config


# Values of the argument `sampling` of the configs of Wav2Lip and of sync experts.
SAMPLING = ("by_size", "reference", "spaced")


def set_window_sampling(config: ml_collections.ConfigDict, sampling: str, size: str) -> None:
    """Sets which windows of a clip are training examples.

    Args:
        config: with `edge_windows`, and for sync experts `min_negative_distance`.
        sampling: "reference": as the published code, negatives are any other window of the clip,
            and windows whose audio is not all inside of the clip are rejected. "spaced": negatives
            do not overlap their window, and such audio is padded with silence. "by_size":
            "spaced" for small sizes, "reference" for the published size and its forms for GPUs,
            TPUs and pods.
        size: of the network.
    """
    if sampling == "by_size":  # deviation W17
        published = ("published", "accelerator", "large_batch", "pod")
        sampling = "reference" if size in published else "spaced"
    config.edge_windows = "reject" if sampling == "reference" else "pad"
    if "min_negative_distance" in config:
        config.min_negative_distance = 1 if sampling == "reference" else 0


def recurrent_gan(
    method: str, trained_networks: Iterable[str], min_frames: int, horizontal_flip: bool
) -> ml_collections.ConfigDict:
    """Returns what the experiments of the temporal GANs share: clips of up to 75 frames.

    Args:
        method: see `experiment`.
        trained_networks: see `experiment`.
        min_frames: frames of a training example, unless its clip has fewer.
        horizontal_flip: whether half of the training examples are mirrored.
    """
    config = experiment(method, trained_networks)
    config.frame_rate = 25
    config.data = data("aligned128x96", batch_size=4, validation_batch_size=4, validation_frames=75)
    config.length_buckets = (25, 50, 75)  # frames; a batch is padded to the next of these lengths
    config.min_frames = min_frames
    config.max_frames = 75
    config.reference_frame = "segment"  # reference image: first frame of the "segment" or "clip"
    config.horizontal_flip = horizontal_flip
    # Validation's `motion_corr` at which discriminators become active; 0: from the start, as in the
    # papers.
    config.adversarial_start_corr = 0.0
    config.discriminators = ml_collections.ConfigDict()
    config.train = train(400_000, every=4000, early_stopping_patience=10)  # deviation T7
    return config


def set_accelerator(config: ml_collections.ConfigDict, batch_size: int) -> None:
    """Sets bfloat16, and a batch that GPUs and TPUs are less bound by memory with.

    Args:
        config: of the published size.
        batch_size: examples of all devices together.
    """
    config.precision = "bfloat16"
    config.data.batch_size = batch_size
    config.data.num_workers = -1


def set_short_recurrent_gan(
    config: ml_collections.ConfigDict, tiny: bool, min_frames: int, max_frames: int
) -> None:
    """Shortens the segments and the run, and raises the generator's rate.

    Args:
        config: of `recurrent_gan`.
        tiny: for minutes on a CPU, else for hundreds of clips.
        min_frames: of a segment.
        max_frames: of a segment.
    """
    config.data.batch_size = 8 if tiny else 12
    config.data.validation_clips = 16 if tiny else 0
    config.min_frames, config.max_frames = min_frames, max_frames
    config.length_buckets = (max_frames, 75)
    config.horizontal_flip = False
    config.loss.upper_half = 0.25  # with discriminators alone the upper half converges slowly
    config.optimizer = optimizer(4e-3, b1=0.5, warmup_steps=20)
    set_short_run(config, steps=300 if tiny else 1000, every=100 if tiny else 200)
    if not tiny:
        # The mouth in the clip's first frame differs from the segment's: only audio predicts it.
        config.reference_frame = "clip"
        config.optimizer.learning_rate = 2e-3
        config.adversarial_start_corr = 0.15
        config.loss.mouth = 2.0


def _changed(defaults: Mapping[str, Any], changes: dict[str, Any]) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict({**defaults, **_known(defaults, changes)})


def _known(fields_of_block: Mapping[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    if unknown := sorted(given.keys() - fields_of_block.keys()):
        raise TypeError(f"no field {unknown[0]!r}; there are {', '.join(fields_of_block)}")
    return given
