"""A paper outside of the package: `register` makes its two methods known.

`toy` tints a face by its audio; `toy_sync` embeds windows of three frames.
"""

from lipsync_jax import methods
from lipsync_jax.configs import common


def register() -> None:
    for name, modules in (("toy", ("method", "inference")), ("toy_sync", ("sync", "sync"))):
        methods.register(name, *(f"{__name__}.{module}" for module in modules))


def get_config(name, data_dir, steps):
    """Returns the experiment of a method on clips of face96 crops."""
    config = common.experiment(name, [{"toy": "generator", "toy_sync": "expert"}[name]])
    config.data = common.data("face96", batch_size=4, validation_batch_size=4)
    config.data.dir = str(data_dir)
    config.optimizer = common.optimizer(1e-2)
    config.train = common.train(steps, every=2, log_every=1)
    if name == "toy_sync":
        config.data.validation_frames = 40
        config.update({"objective": "info_nce", "negatives": "same_clip", "temperature": 0.07})
        config.update({"min_negative_distance": 0, "edge_windows": "pad"})
        config.update({"windows_per_clip": 2, "silence_sampling_weight": 1.0})
        config.augment_magnitude = config.degrade_magnitude = 0.0
        config.model = {}
    return config
