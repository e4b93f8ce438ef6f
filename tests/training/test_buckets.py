"""Runs whose data, workdir and checkpoints are in a bucket: emulators on loopback."""

import contextlib

import jax
import numpy as np
import pytest

from lipsync_jax import paths
from lipsync_jax.data import loader
from lipsync_jax.methods.base import NetworkState, init_train_state
from lipsync_jax.training import checkpoints, loop, metric_writer, sharding
from tests.helpers.runs import assert_same_run
from tests.training.test_loop import expert

pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module")
def alone(toy_data, tmp_path_factory):
    """An uninterrupted run on the disk."""
    workdir = tmp_path_factory.mktemp("alone")
    return workdir, loop.train(expert(toy_data), workdir)


def check_run(url, toy_data, tmp_path, alone):
    """Trains, resumes and evaluates in a bucket; compares with the run on the disk."""
    paths.upload(toy_data, paths.parse(f"{url}/data"))
    workdir = f"{url}/runs/expert"
    loop.train(expert(f"{url}/data", steps=2), workdir)
    scalars = loop.train(expert(f"{url}/data"), workdir)
    assert scalars == alone[1]
    found = paths.files(paths.parse(workdir))
    folders = {name.partition("/")[0] for name in found}
    assert {"best", "checkpoints", "tensorboard"} < folders
    assert {"config.json", "scalars.jsonl", "training.png"} < set(found)
    steps = {name.split("/")[1] for name in found if name.startswith("checkpoints/")}
    assert steps == {"2", "4"}
    lines = metric_writer.read_scalars(workdir, "train")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    copy = paths.download(paths.parse(workdir), tmp_path)
    assert_same_run(copy, alone[0])
    assert loop.train(expert(toy_data), copy, allow_changes=True) == {}  # so does a copy
    evaluated = loop.evaluate(expert(f"{url}/data"), workdir, "test")
    assert evaluated == loop.evaluate(expert(toy_data), alone[0], "test")
    return workdir


@pytest.mark.slow
def test_a_run_on_google_cloud_equals_one_on_the_disk(gs, toy_data, tmp_path, alone):
    workdir = check_run(gs, toy_data, tmp_path, alone)
    # A save that was killed: a folder without its last file.
    paths.upload(tmp_path / "expert" / "checkpoints" / "4", paths.parse(f"{workdir}/checkpoints/6"))
    paths.parse(f"{workdir}/checkpoints/6/commit_success.txt").unlink()
    # Bytes that changed: the checkpoint of the step before is resumed.
    arrays = next(
        n for n in paths.files(paths.parse(f"{workdir}/checkpoints/4/expert")) if "/" in n
    )
    paths.parse(f"{workdir}/checkpoints/4/expert/{arrays}").write_bytes(b"other")
    assert loop.train(expert(f"{gs}/data"), workdir) == alone[1]
    folders = {name.split("/")[1] for name in paths.files(paths.parse(workdir)) if "/" in name}
    assert "checkpoints-4" in folders and "6" not in folders
    assert "4" in folders


@pytest.mark.slow
def test_a_run_on_s3_equals_one_on_the_disk(s3, toy_data, tmp_path, alone, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    check_run(s3, toy_data, tmp_path, alone)
    monkeypatch.setattr(checkpoints.checkpoint_mirror.jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match=r"several hosts save .* to gs:// or"):
        checkpoints.CheckpointMirror(paths.parse(f"{s3}/runs/expert"))


def test_damaged_checkpoints_leave_a_run_on_s3_as_one_on_the_disk(s3):
    workdir = paths.parse(f"{s3}/runs/damaged")
    mesh = sharding.make_mesh(jax.devices()[:1])
    network = NetworkState({"kernel": np.ones(2, np.float32)}, {}, ())
    state = sharding.replicate(init_train_state(jax.random.key(0), {"expert": network}), mesh)

    def save(saved, step):
        at_step = state.replace(step=sharding.replicate(np.int32(step), mesh))
        saved.save(at_step, {"loader": {}, "best": 0.0})

    def folders(directory):
        return {name.partition("/")[0] for name in paths.files(workdir / directory)}

    saved = checkpoints.Checkpoints(workdir, ("expert",), max_step_gap=1)
    save(saved, 1)
    save(saved, 2)
    saved.quarantine(2)  # as where a run diverges, which then ends
    saved.close()
    assert (folders("checkpoints"), folders("damaged")) == ({"1"}, {"checkpoints-2"})
    saved = checkpoints.Checkpoints(workdir, ("expert",), max_step_gap=1)
    save(saved, 3)
    saved.close()
    assert (folders("checkpoints"), folders("damaged")) == ({"1", "3"}, {"checkpoints-2"})
    (workdir / "checkpoints" / "3" / "run" / "metadata").write_bytes(b"other")
    saved = checkpoints.Checkpoints(workdir, ("expert",), max_step_gap=2)
    assert saved.latest_step() == 1
    save(saved, 3)
    saved.close()
    assert folders("damaged") == {"checkpoints-2", "checkpoints-3"}
    with contextlib.closing(checkpoints.Checkpoints(workdir, ("expert",))) as saved:
        assert saved.latest_step() == 3


def test_several_data_sets_below_a_folder_are_told(gs, toy_data):
    paths.upload(toy_data, paths.parse(f"{gs}/two/a"))
    paths.upload(toy_data, paths.parse(f"{gs}/two/b"))
    with pytest.raises(ValueError, match="holds several face96 data sets"):
        loader.find_dataset(f"{gs}/two", "face96")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        loader.find_dataset(f"{gs}/none", "face96")


@pytest.mark.parametrize("option", ["data.dir", "data.dirs", "init_from.expert"])
def test_unknown_schemes_are_refused_before_anything_is_made(option, tmp_path):
    config = expert(tmp_path / "data")
    config.update_from_flattened_dict({option: "foo://bucket/x"})
    with pytest.raises(ValueError, match=f"--config.{option}=foo://bucket/x: .* unknown"):
        loop.train(config, tmp_path / "run")
    with pytest.raises(ValueError, match=r"--workdir=foo://x: .* unknown"):
        loop.train(config, "foo://x")
    assert not any(tmp_path.iterdir())
