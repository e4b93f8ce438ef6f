"""Configs of the published networks, which converted checkpoints contain.

Widths, sizes and settings are those of the official checkpoints, independent of configs/.
Fields of `methods.fields.ADDED` are left out: a reader adds them with their defaults.
"""

from lipsync_jax.types import Argument, Json

_ADAM = {"learning_rate": 1e-4, "b1": 0.9}


def wav2lip(**overrides: Argument) -> dict[str, Json]:
    """Returns the config of Wav2Lip's generator (Prajwal et al. 2020)."""
    return {
        "method": "wav2lip",
        "precision": "float32",
        "data": {"crop": "face96"},
        "model": {"width_mult": 1.0, "depth_mult": 1.0},
        "discriminators": {},
        "optimizer": dict(_ADAM),
        **overrides,
    }


def wav2lip_gan() -> dict[str, Json]:
    """Returns the config of Wav2Lip with its visual quality discriminator."""
    adam = {**_ADAM, "b1": 0.5}
    quality = {"weight": 0.07, "model": {"width_mult": 1.0}, "optimizer": dict(adam)}
    return wav2lip(optimizer=adam, discriminators={"quality": quality})


def sync_expert() -> dict[str, Json]:
    """Returns the config of Wav2Lip's sync expert."""
    return {
        "method": "sync_expert",
        "precision": "float32",
        "data": {"crop": "face96"},
        "model": {"width_mult": 1.0, "dropout": 0.0, "relu_embedding": True},
        "optimizer": dict(_ADAM),
    }


def syncnet_v2() -> dict[str, Json]:
    """Returns the config of SyncNet v2 (Chung and Zisserman 2016)."""
    return {"method": "syncnet_v2"}
