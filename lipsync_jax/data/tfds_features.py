"""The TFDS features of a clip: images for everyone, encoded bytes for this project's loader."""

from typing import TYPE_CHECKING

import numpy as np

from lipsync_jax.data.clip import CropSpec

if TYPE_CHECKING:  # half a second; inference never needs it
    import tensorflow_datasets as tfds


def clip_features(crop_spec: CropSpec) -> "tfds.features.FeaturesDict":
    """Returns the features that `features.json` declares.

    Frames are declared as JPEG images, so that any TFDS reader decodes them, to uint8 RGB
    (height, width, 3). They are written as the JPEG bytes they are.
    """
    from tensorflow_datasets import features

    aligned = {"text": features.Text(), "start": np.float32, "end": np.float32}
    shape = crop_spec.height, crop_spec.width, 3
    return features.FeaturesDict(
        {
            "clip_id": features.Text(),
            "speaker": features.Text(),
            "frames": features.Sequence(features.Image(shape=shape, encoding_format="jpeg")),
            "frame_rate": features.Tensor(shape=(2,), dtype=np.int64),
            "audio": features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
            "audio_rate": features.Scalar(np.int32),
            "landmarks": features.Tensor(shape=(None, 5, 2), dtype=np.float32),
            "sync_offset": features.Scalar(np.float32),
            "sync_confidence": features.Scalar(np.float32),
            "words": features.Sequence(aligned),
            "transcript": features.Text(),
            "phones": features.Sequence(aligned),
        }
    )


def with_encoded_frames(declared: "tfds.features.FeaturesDict") -> "tfds.features.FeaturesDict":
    """Returns a data set's features with its frames as undecoded bytes.

    An image and a text are stored alike. To decode all of a clip's frames takes twenty times as
    long as to read them, and training decodes a few.
    """
    from tensorflow_datasets import features

    frames = features.Sequence(features.Text())
    return features.FeaturesDict({**dict(declared.items()), "frames": frames})
