"""Configs that rebuild the published networks; converted checkpoints carry them.

The widths, sizes and settings are those of the official checkpoints, whatever configs/ may say.
"""

from lipsync_jax.types import Argument, Json

_ADAM = {"learning_rate": 1e-4, "b1": 0.9}


def wav2lip(**more: Argument) -> dict[str, Json]:
    """Wav2Lip's generator (Prajwal et al. 2020), as fields of its config."""
    return {
        "method": "wav2lip",
        "precision": "float32",
        "data": {"geometry": "face96"},
        "model": {"width": 1.0, "depth": 1.0},
        "adversarial": False,
        "optimiser": dict(_ADAM),
        **more,
    }


def wav2lip_gan() -> dict[str, Json]:
    """Wav2Lip with its visual quality discriminator."""
    adam = {**_ADAM, "b1": 0.5}
    return wav2lip(
        adversarial=True,
        optimiser=adam,
        discriminator={"width": 1.0},
        discriminator_optimiser=dict(adam),
    )


def sync_expert() -> dict[str, Json]:
    """Wav2Lip's sync expert."""
    return {
        "method": "sync_expert",
        "precision": "float32",
        "data": {"geometry": "face96"},
        "model": {"width": 1.0, "dropout": 0.0, "activation_last": True},
        "optimiser": dict(_ADAM),
    }


def syncnet_v2() -> dict[str, Json]:
    """SyncNet v2 (Chung and Zisserman 2016)."""
    return {"method": "syncnet_v2"}
