"""Checkpoints that a crash, a disk or a copy has damaged, and runs that diverge."""

import json
import logging as stdlib_logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lipsync_jax
from lipsync_jax.methods.base import NetworkState, init_train_state
from lipsync_jax.training import checkpoints, damage, metric_writer, model_cards


def state_at(step, value=None):
    """A state of one small network that learns."""
    rng = np.random.default_rng(step)
    params = {"dense": {"kernel": jnp.asarray(rng.normal(size=(64, 64)), jnp.float32)}}
    if value is not None:
        params["dense"]["bias"] = jnp.full(3, value)
    player = NetworkState(params, {}, optax.adam(1e-3).init(params))
    return init_train_state(jax.random.key(0), {"expert": player}).replace(step=jnp.int32(step))


def run_values(step):
    return {"loader": {"next": step}, "best": -float("inf"), "validations_without_gain": 0}


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory):
    """Checkpoints of steps 14 and 15."""
    workdir = tmp_path_factory.mktemp("saved")
    saved = checkpoints.Checkpoints(workdir, ("expert",))
    for step in (14, 15):
        saved.save(state_at(step), run_values(step))
    saved.close()
    return workdir


@pytest.fixture
def workdir(saved_run, tmp_path):
    shutil.copytree(saved_run, tmp_path / "run")
    return tmp_path / "run"


def largest(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_loader(folder):
    path = folder / "run" / "metadata"
    path.write_text(json.dumps({"best": 1.0, "validations_without_gain": 0}))


DAMAGE = {
    "a bit of the weights": lambda f: flip_a_bit(largest(f / "expert")),
    "a bit of the optimizer": lambda f: flip_a_bit(largest(f / "train")),
    "cut weights": lambda f: cut(largest(f / "expert")),
    "empty weights": lambda f: largest(f / "expert").write_bytes(b""),
    "no weights": lambda f: largest(f / "expert").unlink(),
    "no manifest": lambda f: (f / "expert" / "manifest.ocdbt").unlink(),
    "no metadata": lambda f: (f / "expert" / "_METADATA").unlink(),
    "garbage for metadata": lambda f: (f / "expert" / "_METADATA").write_text("{"),
    "no optimizer": lambda f: shutil.rmtree(f / "train"),
    "no run": lambda f: shutil.rmtree(f / "run"),
    "run without loader": without_loader,
    "cut run": lambda f: cut(f / "run" / "metadata"),
    "no digests": lambda f: (f / damage.DIGESTS_FILE).unlink(),
    "garbage for digests": lambda f: (f / damage.DIGESTS_FILE).write_text("[]"),
    "nothing left": lambda f: [shutil.rmtree(f), f.mkdir()],
    "another's file": lambda f: (f / "expert" / "more").write_text("x"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_checkpoint_is_quarantined(workdir, kind, caplog):
    DAMAGE[kind](workdir / "checkpoints" / "15")
    with caplog.at_level(stdlib_logging.WARNING):
        saved = checkpoints.Checkpoints(workdir, ("expert",))
    assert "checkpoint 15 is damaged (" in caplog.text
    assert "), resuming from step 14" in caplog.text
    state, run = saved.restore(state_at(0))
    assert int(state.step) == 14 and run["loader"] == {"next": 14}
    wanted = state_at(14).networks["expert"].params["dense"]["kernel"]
    np.testing.assert_array_equal(state.networks["expert"].params["dense"]["kernel"], wanted)
    saved.save(state_at(15), run_values(15))  # its name is free again
    saved.close()
    assert (workdir / "damaged" / "checkpoints-15").is_dir()
    assert damage.find_damage(workdir / "checkpoints" / "15", ("expert", "train", "run")) is None


def test_an_empty_folder_of_a_later_step_is_no_checkpoint(workdir, caplog):
    (workdir / "checkpoints" / "99").mkdir()
    saved = checkpoints.Checkpoints(workdir, ("expert",))
    assert saved.latest_step() == 15
    assert "checkpoint 99 is damaged (it is empty), resuming from step 15" in caplog.text
    saved.close()


@pytest.mark.parametrize("text", [None, "", "{"])
def test_what_orbax_notes_beside_the_items_is_not_needed(workdir, text):
    path = workdir / "checkpoints" / "15" / "_CHECKPOINT_METADATA"
    path.unlink() if text is None else path.write_text(text)
    saved = checkpoints.Checkpoints(workdir, ("expert",))
    assert int(saved.restore(state_at(0))[0].step) == 15
    saved.close()


def test_when_all_are_damaged_one_sentence_says_so(workdir):
    for step in ("14", "15"):
        flip_a_bit(largest(workdir / "checkpoints" / step / "expert"))
    with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged \(15: .*; 14: .*\): "):
        checkpoints.Checkpoints(workdir, ("expert",))
    assert (workdir / "checkpoints" / "15").is_dir()


def test_a_run_of_an_older_version_has_no_digests(workdir):
    for step in ("14", "15"):
        (workdir / "checkpoints" / step / damage.DIGESTS_FILE).unlink()
    saved = checkpoints.Checkpoints(workdir, ("expert",))
    assert int(saved.restore(state_at(0))[0].step) == 15
    saved.save(state_at(16), run_values(16))
    saved.close()
    for step in ("15", "16"):
        assert (workdir / "checkpoints" / step / damage.DIGESTS_FILE).is_file()


def test_leftovers_of_a_killed_save_are_removed(workdir):
    left = workdir / "checkpoints" / "16.orbax-checkpoint-tmp-12"
    left.mkdir()
    checkpoints.Checkpoints(workdir, ("expert",)).close()
    assert not left.exists()


def test_only_another_shape_does_not_fit(workdir):
    saved = checkpoints.Checkpoints(workdir, ("expert",))
    with pytest.raises(ValueError, match=r"does not fit this config.*expert/params/dense/bias"):
        saved.restore(state_at(0, value=1.0))
    state = state_at(0)
    player = state.networks["expert"]
    other = optax.sgd(1e-3, momentum=0.9).init(player.params)
    state = state.replace(networks={"expert": player.replace(opt_state=other)})
    with pytest.raises(ValueError, match=r"does not fit .* its optimizers are not those of"):
        saved.restore(state)
    saved.close()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_saved(workdir, value):
    saved = checkpoints.Checkpoints(workdir, ("expert",))
    for save in (saved.save, saved.save_best):
        with pytest.raises(FloatingPointError, match="weights of expert are not finite"):
            save(state_at(16, value), run_values(16))
    saved.close()
    assert [p.name for p in damage.steps_of(workdir / "checkpoints")] == ["14", "15"]


def test_a_best_checkpoint_ahead_of_the_run_is_written_again(workdir, caplog):
    saved = checkpoints.Checkpoints(workdir, ("expert",))
    saved.save_best(state_at(17), {"config": {}})
    saved.close()
    with pytest.raises(
        ValueError, match=r"best/17 is newer than the run, whose last checkpoint is of step 15"
    ):
        checkpoints.Checkpoints(workdir, ("expert",), max_step_gap=1)
    saved = checkpoints.Checkpoints(
        workdir, ("expert",), max_step_gap=2
    )  # it was killed in between
    saved.save_best(state_at(16), {"config": {}})
    saved.close()
    assert (workdir / "damaged" / "best-17").is_dir() and (workdir / "best" / "16").is_dir()


def test_an_incomplete_last_line_of_metrics_is_skipped(tmp_path, caplog):
    path = tmp_path / "scalars.jsonl"
    path.write_text('{"step": 1, "group": "train", "l1": 2.0}\n{"step": 2, "gro')
    assert metric_writer.read_scalars(tmp_path, "train") == [{"step": 1, "l1": 2.0}]
    writer = metric_writer.MetricWriter(tmp_path)
    writer.scalars(3, {"l1": 1.0}, "train")
    writer.close()
    assert [v["step"] for v in metric_writer.read_scalars(tmp_path, "train")] == [1, 3]
    path.write_text('garbage\n{"step": 2, "group": "train"}\n')
    assert metric_writer.plot_scalars(tmp_path, tmp_path / "plot.png") is None
    assert "line 1" in caplog.text and "remove the line" in caplog.text
    path.write_text("")
    assert metric_writer.plot_scalars(tmp_path, tmp_path / "plot.png") is None


def test_a_run_of_another_format_is_refused_with_its_version(workdir):
    path = workdir / "checkpoints" / "15" / "run" / "metadata"
    run = json.loads(path.read_text())
    assert run["format"] == model_cards.FORMAT and run["lipsync_jax"] == lipsync_jax.__version__
    path.write_text(json.dumps({**run, "format": 3, "lipsync_jax": "9.1"}))
    with pytest.raises(
        ValueError, match=r"^checkpoint .*15 was written by version 9\.1 of lipsync"
    ):
        checkpoints.Checkpoints(workdir, ("expert",))
    path.write_text(json.dumps(run_values(15)))  # as versions without a format did
    with pytest.raises(ValueError, match=r"15 was written by a version before 0\.2 of .* again"):
        checkpoints.Checkpoints(workdir, ("other",))
    assert not (workdir / "damaged").exists()
