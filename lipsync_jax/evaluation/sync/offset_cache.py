"""A cache of the audio offsets of face videos in the user's cache folder."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lipsync_jax import user_cache
from lipsync_jax.evaluation.sync.motion_offset import MotionOffset
from lipsync_jax.evaluation.sync.offset import AVOffset
from lipsync_jax.evaluation.sync.video_sync import TrackSync
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.faces import cache
from lipsync_jax.faces.trajectory import VideoFaces


def cache_key(
    video: str | os.PathLike,
    sync_model: SyncModel,
    video_faces: VideoFaces | None,
    settings: Mapping[str, object],
) -> str:
    """Returns the name of an entry.

    Args:
        video: of which the content counts.
        sync_model: of which the weights count.
        video_faces: the faces, as they are measured; None where they are detected.
        settings: everything else that the offset depends on.
    """
    digest = None if video_faces is None else cache.digest(video_faces)
    return cache.cache_key(video, {**settings, "model": sync_model.model_hash, "faces": digest})


def load(name: str) -> TrackSync | None:
    """Loads the offset of a track; None without such an entry."""
    try:
        fields = json.loads(_path(name).read_text(encoding="utf-8"))
        if fields["av_offset"] is not None:
            found = AVOffset(*fields["av_offset"])
            fields["av_offset"] = found._replace(distances=np.array(found.distances))
        if fields["vote"] is not None:
            vote = MotionOffset(*fields["vote"])
            fields["vote"] = vote._replace(correlations=np.array(vote.correlations))
        track = TrackSync(**fields)
    except (OSError, ValueError, LookupError, TypeError):
        return None  # no entry, or an incomplete one: measure again
    user_cache.mark_used(_path(name))
    return track


def store(name: str, track: TrackSync) -> None:
    """Stores the offset of a track; does nothing if the folder can't be written to."""
    text = json.dumps(vars(track), default=lambda array: array.tolist())
    user_cache.write_entry(_path(name), text.encode())


def _path(name: str) -> Path:
    return user_cache.folder("sync") / f"{name}.json"
