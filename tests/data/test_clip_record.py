import dataclasses
import json
import logging
import pickle
import shutil
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from lipsync_jax import progress
from lipsync_jax.data import clip_index, feature_cache, loader, windows
from lipsync_jax.data.audio_features import MEL, MFCC
from lipsync_jax.data.clip import Word, decode_frames
from lipsync_jax.data.shard_file import ShardFile
from lipsync_jax.data_prep import bucket_file, builder
from tests.conftest import toy_clip


def _clips():
    said = (Word("so", 0.25, 0.5), Word("weiß", 0.5, 1.0))
    return [
        dataclasses.replace(
            toy_clip("a/1", 0, frames=60),
            words=said,
            transcript="so weiß",
            phones=(Word("s", 0.125, 0.25),),
            sync_offset=0.125,
            landmarks=np.random.default_rng(0).normal(size=(60, 5, 2)).astype(np.float32),
            frame_rate=Fraction(30000, 1001),
        ),
        toy_clip("b/1", 1, frames=8),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return builder.write_clips({"train": _clips()}, tmp_path_factory.mktemp("few"), "few", shards=1)


def _without_index(folder, tmp_path):
    copy = tmp_path / "without"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("index"))
    return copy


def _by_id(folder):
    source = loader.ClipDataSource(folder, "train")
    return {clip.clip_id: clip for clip in (source[i] for i in range(len(source)))}


@pytest.mark.parametrize("indexed", [True, False])
def test_every_field_comes_back(folder, tmp_path, indexed):
    stored = _by_id(folder if indexed else _without_index(folder, tmp_path))
    for clip in _clips():
        again = stored[clip.clip_id]
        for field in dataclasses.fields(clip):
            np.testing.assert_array_equal(
                getattr(again, field.name), getattr(clip, field.name), field.name
            )
        assert again.frames == clip.frames and again.frames[-1] == clip.frames[-1]
        assert again.frames[2:5] == clip.frames[2:5]


@pytest.mark.parametrize("indexed", [True, False])
def test_stored_audio_features_are_those_computed_from_the_audio(folder, tmp_path, indexed):
    stored = _by_id(folder if indexed else _without_index(folder, tmp_path))
    cache, fresh = feature_cache.FeatureCache(), feature_cache.FeatureCache()
    for clip in _clips():
        again = stored[clip.clip_id]
        for name in ("mel", "mfcc", "speech_activity"):
            assert again.stored_features(name) is not None
        for spec in (MEL, MFCC):
            expected = fresh.features(clip, spec)
            np.testing.assert_array_equal(cache.features(again, spec), expected)
            assert cache.num_columns(again, spec) == fresh.num_columns(clip, spec) == len(expected)
            for starts in ([-3], [0, 5], [200], [0, 2000], [[1, 2], [-9, 150]]):
                starts = np.array(starts)
                np.testing.assert_array_equal(
                    cache.windows(again, spec, starts), spec.gather(expected, starts)
                )
        np.testing.assert_array_equal(cache.speech_activity(again), fresh.speech_activity(clip))
    assert not cache._entries


def test_changed_audio_has_no_stored_features(folder):
    stored = _by_id(folder)["a/1"]
    silent = dataclasses.replace(stored, audio=np.zeros_like(stored.audio))
    assert silent.stored_features("mel") is None
    mel = feature_cache.FeatureCache().mel(silent)
    assert (mel == MEL.silence).all()


def test_clips_of_one_id_in_two_data_sets_have_features_of_their_own():
    one, other = _clips()[:2]
    other = dataclasses.replace(other, clip_id=one.clip_id)
    cache = feature_cache.FeatureCache()
    for clip in (one, other, one):
        fresh = feature_cache.FeatureCache()
        np.testing.assert_array_equal(cache.mel(clip), fresh.mel(clip))
        np.testing.assert_array_equal(cache.speech_activity(clip), fresh.speech_activity(clip))
    assert len(cache._entries) == 4


def test_a_window_reads_only_its_frames_and_columns(folder, monkeypatch):
    sizes = []
    read = ShardFile.read

    def counted(self, position, size):
        sizes.append(size)
        return read(self, position, size)

    monkeypatch.setattr(ShardFile, "read", counted)
    clip = _by_id(folder)["a/1"]
    frames = decode_frames(clip, [7, 8, 9, 30])
    cache = feature_cache.FeatureCache()
    cache.windows(clip, MEL, np.array([20]))
    assert cache.num_columns(clip, MEL) > 20
    cache.speech_activity(clip)
    expected = _clips()[0]
    np.testing.assert_array_equal(frames, decode_frames(expected, [7, 8, 9, 30]))
    # Between successive frames of a record are a few bytes of lengths.
    three = sum(len(expected.frames[i]) for i in (7, 8, 9))
    assert len(sizes) == 3 and three <= sizes[0] < three + 20
    assert sizes[1:] == [len(expected.frames[30]), windows.MEL_WINDOW * 80 * 4]


def test_damage_is_found_in_the_frame_that_has_it(folder, tmp_path):
    copy = tmp_path / "damaged"
    shutil.copytree(folder, copy)
    (shard,) = copy.glob("*train*")
    data = bytearray(shard.read_bytes())
    frame = _clips()[0].frames[20]
    data[data.index(frame) + 600] ^= 4
    shard.write_bytes(data)
    clip = _by_id(copy)["a/1"]
    decode_frames(clip, [19, 21])
    with pytest.raises(ValueError, match=r"train.*frame 20 .*a/1.*Prepare the data set again"):
        decode_frames(clip, range(18, 23))
    shard.write_bytes(data[: data.index(clip.frames[19])])
    # A shard of another size has no index; ArrayRecord reports what is wrong.
    with pytest.raises(Exception, match="train"):
        _by_id(copy)


def test_a_frame_outside_of_the_clip_is_refused(folder):
    clip = _by_id(folder)["b/1"]
    for chosen in ([8], [6, 7, 8]):
        with pytest.raises(IndexError):
            decode_frames(clip, chosen)
    with pytest.raises(IndexError):
        clip.frames[8]


def test_sources_and_clips_may_be_pickled(folder, tmp_path):
    for path in (folder, _without_index(folder, tmp_path)):
        source = loader.ClipDataSource(path, "train")
        first = source[0].clip_id
        again = pickle.loads(pickle.dumps(source))
        assert again[0].clip_id == first
        assert list(again[0].frames) == list(source[0].frames)


def test_preparing_again_writes_a_missing_index(folder, tmp_path):
    copy = tmp_path / "few" / "face96" / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("index"))
    shards = sorted(copy.glob("*train*"))
    assert not clip_index.is_current(copy, "train", shards)
    clip_index.write(copy, "train", shards)
    assert clip_index.is_current(copy, "train", shards)
    assert clip_index.is_current(Path(folder), "train", sorted(folder.glob("*train*")))


def test_splits_above_the_memory_of_tfds_are_written_alike(tmp_path, monkeypatch):
    """From a gigabyte on TFDS sorts a split by files, for which it needs TensorFlow."""

    clip = toy_clip("a", 0, frames=4)
    clips = [dataclasses.replace(clip, clip_id=f"{n}") for n in range(40)]

    def written(name):
        dataset = builder.write_clips({"train": clips}, tmp_path / name, "some", shards=3)
        assert not list(dataset.glob("*.tmp"))
        return {path.name: path.read_bytes() for path in dataset.glob("*.array_record*")}

    in_memory = written("memory")
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 100_000)  # after a few clips
    monkeypatch.setattr(bucket_file, "_BUFFER", 10_000)  # some buckets are appended to
    assert written("files") == in_memory


def test_what_follows_the_last_clip_shows_its_progress(tmp_path, capsys, caplog, monkeypatch):
    clips = [toy_clip(f"{n}", n, frames=4) for n in range(5)]
    monkeypatch.setattr(progress, "_mode", "json")
    monkeypatch.setattr(progress, "_JSON_INTERVAL", 0)
    caplog.set_level(logging.INFO, builder.__name__)
    builder.write_clips({"train": clips[:3], "test": clips[3:]}, tmp_path, "some")
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    last = {event["label"]: (event["done"], event["total"]) for event in events}
    assert last == {"clips sorted into shards": (5, 5), "clips indexed": (5, 5)}


def test_an_index_takes_few_bytes_a_frame_while_it_is_written(tmp_path):
    count, frames = 12, 1000

    clip = dataclasses.replace(
        toy_clip("a", 0, frames=8),
        frames=tuple(b"%06d" % number for number in range(frames)),
        landmarks=np.zeros((frames, 5, 2), np.float32),
    )
    clips = (dataclasses.replace(clip, clip_id=f"{n}") for n in range(count))
    dataset = builder.write_clips({"train": clips}, tmp_path, "long", shards=1)
    shards = list(dataset.glob("*.array_record*"))
    tracemalloc.start()
    try:
        clip_index.write(dataset, "train", shards)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * count * frames
    assert clip_index.ClipIndex(dataset, "train", shards).frames.shape == (count * frames, 3)


def test_a_damaged_index_is_left_aside(folder, tmp_path, caplog):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    frames = copy / "index" / "train" / "frames.npy"
    frames.write_bytes(frames.read_bytes()[:-40])
    assert _by_id(copy)["a/1"].frames == _clips()[0].frames
    assert "frames.npy" in caplog.text or "index/train is damaged" in caplog.text


def test_other_formats_get_no_index(tmp_path, monkeypatch):
    """TFDS writes them where TensorFlow is installed."""

    class Few(builder.TalkingFace, skip_registration=True):
        BUILDER_CONFIGS = (builder.TalkingFaceConfig(name="face96"),)

        def clips(self):
            return {"train": iter(_clips())}

    folder = Path(builder.write_shards(Few(config="face96", data_dir=tmp_path)))
    shutil.rmtree(folder / "index")
    few = Few(config="face96", data_dir=tmp_path)
    formats = tfds.core.file_adapters.FileFormat
    monkeypatch.setattr(tfds.core.DatasetInfo, "file_format", formats.TFRECORD)
    few.download_and_prepare()
    assert not (folder / "index").exists()


def test_compressed_shards_get_no_index_and_are_read(tmp_path, monkeypatch, caplog):
    import contextlib

    monkeypatch.setattr(builder, "_own_writers", contextlib.nullcontext)
    builder.write_clips({"train": _clips()}, tmp_path, "few", shards=1)
    assert "compressed" in caplog.text
    found = loader.find_dataset(str(tmp_path), "face96")
    assert not (found / "index" / "train").exists()
    assert _by_id(found)["a/1"].frames == _clips()[0].frames


def test_other_readers_of_the_set_get_the_features(folder):
    record = tfds.builder_from_directory(folder).as_data_source("train")[0]
    assert record["mel"].shape[1:] == (80,) and record["mel"].dtype == np.float32
    assert record["mfcc"].shape[1:] == (12,)
    assert record["speech_activity"].dtype == np.uint8


def test_a_record_across_blocks_is_addressed(tmp_path):
    from array_record.python import array_record_module

    path, random = tmp_path / "x.array_record", np.random.default_rng(0)
    records = [random.bytes(n) for n in (10, 65536, 0, 300_000, 1)]
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for record in records:
        writer.write(record)
    writer.close()
    shard = ShardFile(path)
    positions = list(shard.record_positions(len(records)))
    assert [size for _, size in positions] == [len(record) for record in records]
    for (position, size), record in zip(positions, records, strict=True):
        assert shard.read(position, size) == record
        assert shard.read(position + size // 3, size // 2) == record[size // 3 :][: size // 2]
