import numpy as np
import pytest

from lipsync_jax import processes
from lipsync_jax.data import collate, loader, pipeline
from lipsync_jax.data.clip import decode_frames
from tests.conftest import toy_clip


def _example(clip, rng):
    return {"draw": rng.integers(1 << 30), "frames": np.int32(len(clip.frames))}


@pytest.fixture
def clips(toy_data):
    return loader.ClipDataSource(loader.find_dataset(str(toy_data), "face96"), "train")


def _ids(batches, count):
    return [tuple(next(batches)["clip_id"]) for _ in range(count)]


def test_a_record_comes_back_as_it_was_written(clips):
    clip = clips[0]
    assert clip.clip_id.startswith("train/")
    assert len(clip.frames) == 40
    assert clip.audio.dtype == np.int16
    assert clip.audio.shape == (40 * 640,)
    assert clip.landmarks.shape == (40, 5, 2)


def test_position_is_restored_exactly(clips):
    batches = pipeline.training_batches(clips, _example, 3, seed=1)
    for _ in range(5):
        next(batches)
    position = batches.get_state()
    expected = [next(batches) for _ in range(4)]
    again = pipeline.training_batches(clips, _example, 3, seed=1)
    again.set_state(position)
    for batch in expected:
        for name, values in next(again).items():
            np.testing.assert_array_equal(values, batch[name])


def test_every_epoch_shows_every_clip_in_a_new_order_with_new_draws(clips):
    batches = pipeline.training_batches(clips, _example, 4, seed=1)
    epochs = [[next(batches) for _ in range(3)] for _ in range(2)]
    ids = [np.concatenate([b["clip_id"] for b in epoch]) for epoch in epochs]
    draws = [set(np.concatenate([b["draw"] for b in epoch])) for epoch in epochs]
    assert set(ids[0]) == set(ids[1]) and len(set(ids[0])) == 12
    assert list(ids[0]) != list(ids[1])
    assert not draws[0] & draws[1]


def test_hosts_share_the_clips_between_them(clips):
    seen = [
        set(
            np.concatenate(
                _ids(
                    pipeline.training_batches(
                        clips, _example, 2, seed=1, process_index=p, process_count=3
                    ),
                    2,
                )
            )
        )
        for p in range(3)
    ]
    assert len(set.union(*seen)) == 12


def test_validation_is_padded_and_the_same_every_time(toy_data):
    clips = loader.ClipDataSource(loader.find_dataset(str(toy_data), "face96"), "validation")
    first = list(pipeline.validation_batches(clips, _example, 4))
    second = list(pipeline.validation_batches(clips, _example, 4))
    assert [list(b["example_mask"]) for b in first] == [[1, 1, 1, 1], [1, 0, 0, 0]]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a["draw"], b["draw"])


def test_hosts_validate_the_same_clips_as_one_host(toy_data):
    clips = loader.ClipDataSource(loader.find_dataset(str(toy_data), "face96"), "validation")

    def seen(process, processes):
        batches = pipeline.validation_batches(
            clips, _example, 2, process_index=process, process_count=processes
        )
        return [
            i for b in batches for i, ok in zip(b["clip_id"], b["example_mask"], strict=True) if ok
        ]

    assert sorted(seen(0, 2) + seen(1, 2)) == sorted(seen(0, 1))


def test_errors_say_what_to_do(toy_data, tmp_path, clips):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        loader.find_dataset(str(tmp_path / "nowhere"), "face96")
    with pytest.raises(FileNotFoundError, match="lipsync prepare"):
        loader.find_dataset(str(toy_data), "face128")
    with pytest.raises(ValueError, match="no clips in its split 'dev'"):
        loader.ClipDataSource(loader.find_dataset(str(toy_data), "face96"), "dev")
    with pytest.raises(ValueError, match="means 128x128"):
        loader.check_crop(clips, "face128")


def test_a_damaged_shard_is_named(toy_data, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(loader.find_dataset(str(toy_data), "face96"), folder)
    for shard in folder.glob("*train*"):
        data = bytearray(shard.read_bytes())
        data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
        shard.write_bytes(data)
    clips = loader.ClipDataSource(folder, "train")
    with pytest.raises(ValueError, match=r"copy.*train.*Prepare the data set again"):
        [decode_frames(clips[i], range(40)) for i in range(len(clips))]


def test_an_example_that_fails_names_its_clip(clips):
    def broken(clip, rng):
        raise ValueError("no windows")

    with pytest.raises(ValueError, match=r"clip train/\d+: no windows"):
        next(pipeline.training_batches(clips, broken, 2, seed=0))


def test_a_batch_may_be_of_one():
    clips = [toy_clip(f"train/{n}", n, frames=4) for n in range(3)]
    batches = pipeline.training_batches(clips, lambda clip, rng: {}, 1, seed=0)
    assert len({next(batches)["clip_id"][0] for _ in range(3)}) == 3


def test_the_newest_version_of_a_data_set_is_read(tmp_path):
    for version in ("1.1.0", "1.10.0", "1.2.0"):
        folder = tmp_path / "grid" / "face96" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").touch()
    assert loader.find_dataset(str(tmp_path), "face96").name == "1.10.0"


def test_a_data_set_that_is_being_written_is_passed_over(tmp_path):
    """A folder above the data may have any name."""
    root = tmp_path / "incomplete.recordings"
    for parts in ("1.2.0", "incomplete.prepare/folder/face96/1.3.0"):
        folder = root / "folder" / "face96" / parts
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").touch()
    assert loader.find_dataset(str(root), "face96") == root / "folder" / "face96" / "1.2.0"
    assert loader.only_dataset(root) == root / "folder" / "face96" / "1.2.0"


def test_an_order_is_of_its_seed_and_each_epoch_is_complete():
    clips = [toy_clip(f"train/{n}", n, frames=4) for n in range(5)]
    orders = {}
    for seed in (0, 0, 1):
        share = pipeline.shuffled(clips, seed, 3)
        ids = [share[i].clip_id for i in range(15)]
        assert orders.setdefault(seed, ids) == ids
        assert all(len(set(ids[e * 5 :][:5])) == 5 for e in range(3))
        assert share[3].clip_id == ids[3]  # an earlier epoch, read again
    assert orders[0] != orders[1]


def _batches(clips, make_example=_example, **options):
    return pipeline.training_batches(clips, make_example, 3, seed=1, **options)


def _assert_equal(batch, expected):
    assert batch.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(batch[name], values)


def test_threads_do_not_change_batches_or_position(clips):
    one, many = _batches(clips, num_threads=1), _batches(clips, num_threads=4)
    for _ in range(6):
        _assert_equal(next(one), next(many))
    assert one.get_state() == many.get_state() == {"next_index": 6}
    none = _batches(clips, num_threads=0)
    none.set_state(one.get_state())
    _assert_equal(next(none), next(one))
    many.close()
    _assert_equal(next(many), next(_from(clips, 6)))  # goes on after it was closed


def _from(clips, position, **options):
    batches = _batches(clips, **options)
    batches.set_state({"next_index": position})
    return batches


def _large_example(clip, rng):
    return {**_example(clip, rng), "noise": rng.random((100, 100))}  # for shared memory


@pytest.mark.slow
def test_worker_processes_do_not_change_batches_or_position(clips):
    expected = _from(clips, 1, make_example=_large_example)
    batches = _from(clips, 1, make_example=_large_example, num_workers=2)
    for _ in range(5):
        _assert_equal(next(batches), next(expected))
    assert batches.get_state() == expected.get_state()
    again = _from(clips, 0, make_example=_large_example, num_workers=1)
    again.set_state(batches.get_state())
    _assert_equal(next(again), next(expected))
    for each in (batches, again):
        each.close()


@pytest.mark.slow
def test_an_error_in_a_worker_names_its_clip(clips):
    batches = pipeline.training_batches(clips, _broken, 2, seed=0, num_workers=1)
    with pytest.raises(ValueError, match=r"clip train/\d+: no windows"):
        next(batches)
    batches.close()


def _broken(clip, rng):
    raise ValueError("no windows")


def test_a_negative_number_of_workers_is_refused(clips):
    with pytest.raises(ValueError, match=r"config\.data\.num_workers=-2"):
        _batches(clips, num_workers=-2)


@pytest.mark.parametrize(
    ("cores", "memory", "workers"), [(8, 8 << 30, 7), (1, 8 << 30, 1), (64, None, 16), (8, 64e6, 0)]
)
def test_the_number_of_workers_is_chosen_by_the_machine(
    clips, monkeypatch, caplog, cores, memory, workers
):
    monkeypatch.setattr(processes, "usable_cores", lambda: cores)
    monkeypatch.setattr(collate, "shared_memory", lambda: memory and (memory, memory))
    with caplog.at_level("INFO"):
        _batches(clips, num_workers=-1)
    assert (f"by {workers} worker process" if workers else "only 64 MB") in caplog.text
