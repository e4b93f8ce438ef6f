"""Where a run's time goes, traces of steps, and what TensorBoard gets."""

import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from lipsync_jax.training import goodput, metric_writer, profiling


def test_times_are_split_and_add_up(monkeypatch, caplog):
    now = [100.0]
    monkeypatch.setattr(goodput.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(goodput, "_compile_seconds", 0.0)

    def spend(seconds):
        now[0] += seconds

    measured = goodput.Goodput()
    with measured.measure("loader_wait"):
        spend(1.0)
    with measured.measure("validation"):
        spend(3.0)
        goodput._listen("/jax/core/compile/backend_compile_duration", 2.0)  # in those 3 s
    spend(4.0)
    measured.step()
    measured.step()
    values = measured.flush()
    expected = {
        "step_time": 4,
        "loader_wait": 0.5,
        "checkpoint": 0,
        "validation": 0.5,
        "compile": 1,
    }
    assert values == {**expected, "goodput": 0.5}
    with measured.measure("checkpoint"):
        spend(2.0)
    measured.save()
    measured.step()
    assert measured.flush() == {
        **dict.fromkeys(expected, 0.0),
        "step_time": 2,
        "checkpoint": 2,
        "goodput": pytest.approx(0.4),
    }
    with caplog.at_level("INFO"):
        measured.log()
    assert "goodput 40.0 % of 10.0 s" in caplog.text and "1 checkpoint saved" in caplog.text


def test_a_slow_loader_is_reported_once(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(goodput.time, "monotonic", lambda: now[0])
    measured = goodput.Goodput()
    warnings = []
    for wait in (5.0, 0.5, 2.0, 4.0):  # of 10 s; the first has the loader's start
        with measured.measure("loader_wait"):
            now[0] += wait
        now[0] += 10.0 - wait
        measured.step()
        measured.flush()
        warnings.append(caplog.text.count("wait for their batches in 20 % of the time"))
    assert warnings == [0, 0, 1, 1] and "--config.data.num_workers" in caplog.text


def test_compilation_is_what_jax_reports():
    measured = goodput.Goodput()
    jax.jit(lambda x: jnp.cos(x) + time.time())(1.0)  # another program at each run
    assert measured.flush()["compile"] > 0


@pytest.mark.parametrize("text", ["5", "5:5", "0:2", "a:b", "3:1", "1:2:3"])
def test_steps_to_profile_are_checked(text):
    with pytest.raises(ValueError, match=rf"--profile_steps={text}: expected FIRST:END"):
        profiling.parse(text)


def test_steps_to_profile_are_traced(tmp_path):
    assert [*profiling.parse("")] == [] and [*profiling.parse("2:4")] == [2, 3]
    profiler = profiling.Profiler(profiling.parse("2:3"), tmp_path)
    for step in (1, 2, 3):
        with profiler.step(step):
            result = jnp.ones(4) * step
        profiler.after(step, result)
        assert bool([*tmp_path.rglob("*.xplane.pb")]) == (step >= 2)
    profiler.close()


def test_tensorboard_gets_images_config_and_hparams(tmp_path):
    config = ml_collections.ConfigDict({"seed": 7, "model": {"width": [1, 2]}})
    writer = metric_writer.MetricWriter(tmp_path)
    writer.config(0, config)
    writer.images(3, [np.zeros((2, 8, 8, 3), np.float32), np.ones((2, 8, 8, 3), np.float32)])
    writer.hparams(3, config, {"loss": 0.5})
    writer.close()
    events = b"".join(p.read_bytes() for p in (tmp_path / "tensorboard").glob("events*"))
    assert b"samples" in events and b"PNG" in events
    assert b'"seed": 7' in events and b"config/text_summary" in events
    hparams = b"".join(p.read_bytes() for p in (tmp_path / "tensorboard" / "hparams").iterdir())
    assert b"model.width" in hparams and b"hparams/loss" in hparams
    assert (tmp_path / "samples" / "step_00000003.png").stat().st_size > 50
