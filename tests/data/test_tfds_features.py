import numpy as np
import tensorflow_datasets as tfds

from lipsync_jax.data import loader, tfds_features
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.data.clip_record import AUDIO_FEATURES
from lipsync_jax.data_prep import builder
from tests.conftest import toy_clip


class OldToy(builder.TalkingFace, skip_registration=True):
    """A data set as version 1.0.0 wrote it: frames as texts, no transcript, no phones."""

    BUILDER_CONFIGS = (builder.TalkingFaceConfig(name="face96"),)

    def _info(self):
        features = dict(tfds_features.clip_features(CROP_SPECS["face96"]).items())
        for name in ("transcript", "phones", *AUDIO_FEATURES):
            del features[name]
        features["frames"] = tfds.features.Sequence(tfds.features.Text())
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def clips(self):
        return {"train": iter([toy_clip("a/1", 0)])}

    def _split_generators(self, dl_manager):
        records = super()._split_generators(dl_manager)["train"]
        new = ("transcript", "phones", *AUDIO_FEATURES)
        return {
            "train": ((key, {k: v for k, v in record.items() if k not in new})
                      for key, record in records)
        }  # fmt: skip


def test_data_sets_of_the_first_version_are_read(tmp_path):
    builder.write_shards(OldToy(config="face96", data_dir=tmp_path))
    (clip,) = (c[0] for c in [loader.ClipDataSource(loader.find_dataset(str(tmp_path), "face96"),
                                                    "train")])  # fmt: skip
    assert clip.frames == toy_clip("a/1", 0).frames
    assert (clip.transcript, clip.phones) == ("", ())


def test_outsiders_get_images_and_the_loader_bytes(toy_data):
    folder = loader.find_dataset(str(toy_data), "face96")
    images = tfds.builder_from_directory(folder).as_data_source("train")[0]["frames"]
    clip = loader.ClipDataSource(folder, "train")[0]
    assert np.shape(images) == (len(clip.frames), 96, 96, 3)
    assert all(frame.startswith(b"\xff\xd8\xff") for frame in clip.frames)
