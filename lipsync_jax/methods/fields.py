"""Fields that the blocks of every config have, each with the value that changes nothing.

A config lists them all (configs/common.py makes the blocks), so that whatever the code reads can
be seen and set. Configs of older checkpoints lack some; `complete` is the one place that adds them.
"""

from collections.abc import Mapping

from lipsync_jax.types import Json

EXPERIMENT = {
    "precision": "float32",
    "frozen": {},  # player -> checkpoint and name of a network that does not learn
    "start_from": {},  # player -> checkpoint whose weights it begins with, "" for none
}
OPTIMISER = {
    "b1": 0.9,
    "b2": 0.999,
    "weight_decay": 0.0,  # decoupled, on kernels only
    "l2": 0.0,  # times all weights, added to the gradient before Adam scales it
    "clip_norm": 0.0,  # of all gradients together; 0: off
    "warmup": 0,  # steps
    "decay_steps": 0,  # a cosine to zero that ends there; 0: constant
    "decay": 1.0,  # the rate's factor after every `decay_every` steps from `decay_from` on
    "decay_from": 0,
    "decay_every": 0,  # 0: never
}
TRAIN = {
    "checkpoint_minutes": 10.0,  # beside checkpoint_every; 0: by steps alone
    "patience": 0,  # validations without a gain, after which the run ends; 0: never
    "keep": 2,  # newest checkpoints
}


def complete(config: Mapping[str, Json]) -> dict[str, Json]:
    """A copy of a config, as JSON values, with the fields that it lacks."""
    done = {**EXPERIMENT, **_complete_optimisers(config)}
    if isinstance(done.get("train"), Mapping):
        done["train"] = {**TRAIN, **done["train"]}
    return done


def lacking(config: Mapping[str, Json]) -> list[str]:
    """Names of the fields that `complete` would add, e.g. `config.train.keep`."""
    return sorted(set(flat(complete(config))) - set(flat(config)))


def flat(tree: Mapping[str, Json], prefix: str = "config.") -> dict[str, Json]:
    """Values by their full names; an empty block is a value of its own."""
    found: dict[str, Json] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = {} if isinstance(value, Mapping) else value
    return found


def _complete_optimisers(block: Mapping[str, Json]) -> dict[str, Json]:
    """Every block that has a learning rate describes an optimiser."""
    own = dict(OPTIMISER) if "learning_rate" in block else {}
    inner = {
        name: _complete_optimisers(value) if isinstance(value, Mapping) else value
        for name, value in block.items()
    }
    return {**own, **inner}
