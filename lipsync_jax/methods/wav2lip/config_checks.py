"""Checks of a config of Wav2Lip before training."""

import ml_collections

from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.methods.common import window_sampling
from lipsync_jax.types import ModelCard

SYNC_OBJECTIVES = ("cosine_bce", "info_nce")


def require_expert(
    config: ml_collections.ConfigDict, model_card: ModelCard, image_size: int
) -> None:
    """Refuses an expert whose image size differs or whose accuracy is too low.

    Args:
        config: of Wav2Lip.
        model_card: of the expert.
        image_size: rows and columns of the faces that the expert takes.

    Raises:
        ValueError: says which field to change.
    """
    source, own_size = config.frozen.expert, CROP_SPECS[config.data.crop].height
    if image_size != own_size:
        raise ValueError(
            f"the expert in {source.checkpoint} takes faces of {image_size} pixels, but "
            f"config.data.crop={config.data.crop} has {own_size}: give "
            "--config.frozen.expert.checkpoint an expert of this crop"
        )
    if not source.min_accuracy:
        return
    accuracy = model_card.get("validation", {}).get("balanced_accuracy")
    if accuracy is None:
        raise ValueError(
            f"the checkpoint of the expert in {source.checkpoint} has no validation accuracy; "
            "set --config.frozen.expert.min_accuracy=0 to train with this expert anyway"
        )
    if not accuracy >= source.min_accuracy:
        raise ValueError(
            f"the expert in {source.checkpoint} has a balanced accuracy of {accuracy:.3f} on "
            f"its validation clips, below config.frozen.expert.min_accuracy="
            f"{source.min_accuracy}: its sync loss would not guide a generator. Train the "
            "expert for longer, or set --config.frozen.expert.min_accuracy=0 to use it anyway"
        )


def require_fields(config: ml_collections.ConfigDict, window_frames: int) -> None:
    """Refuses fields that contradict each other.

    Args:
        config: of Wav2Lip.
        window_frames: frames of the expert's windows.

    Raises:
        ValueError: says which fields to change.
    """
    kept = config.frames_per_window
    if not 0 <= kept <= window_frames or (0 < kept < window_frames and config.loss.sync):
        raise ValueError(
            f"config.frames_per_window={kept}: choose 0 for all {window_frames} frames of the "
            f"expert's windows, or with config.loss.sync=0, which needs all, 1 to {window_frames}"
        )
    if config.sync_objective not in SYNC_OBJECTIVES:
        raise ValueError(
            f"config.sync_objective={config.sync_objective!r}: choose {', '.join(SYNC_OBJECTIVES)}"
        )
    if bool(config.loss.motion) != bool(config.motion_features):
        raise ValueError(
            f"config.loss.motion={config.loss.motion} and config.motion_features="
            f"{config.motion_features}: set both, with config.network=warp, or both to 0"
        )
    of_warp = {"motion_features": config.motion_features, "loss.painted": config.loss.painted}
    for name, value in of_warp.items():
        if value and config.network != "warp":
            raise ValueError(
                f"config.{name}={value} needs config.network=warp; set --config.{name}=0"
            )
    window_sampling.check_edge_windows(config.edge_windows)
