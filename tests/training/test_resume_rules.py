"""Resuming a run: with the config it was begun with, by one process."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from lipsync_jax.configs import glance, sync_expert, vougioukas, wav2lip
from lipsync_jax.training import checkpoints, damage, loop, resume, run_lock, stopping
from tests.helpers.runs import saved_arrays


@pytest.fixture
def begun(tmp_path):
    config = wav2lip.get_config("tiny")
    config.data.dir = str(tmp_path / "data")
    resume.write_config(config, tmp_path)
    return config, tmp_path


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("seed", 1, "config.seed 0 -> 1"),
        ("data.batch_size", 8, "config.data.batch_size 4 -> 8"),
        ("data.dir", "elsewhere", r"config.data.dir .*data -> elsewhere"),
        ("model.width_mult", 0.5, "config.model.width_mult 0.125 -> 0.5"),
        ("windows_per_clip", 2, "config.windows_per_clip 1 -> 2"),
        ("frozen.expert.network", "other", "config.frozen.expert.network expert -> other"),
    ],
)
def test_fixed_fields_are_refused_unless_changes_are_allowed(begun, name, value, told, caplog):
    config, workdir = begun
    config.update_from_flattened_dict({name: value})
    with pytest.raises(ValueError, match=f"{told}.*--allow_changes to resume"):
        resume.check_config_unchanged(config, workdir)
    with caplog.at_level(logging.INFO, logger="absl"):
        resume.check_config_unchanged(config, workdir, allow_changes=True)
    assert "changed since the run was begun: " in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train.steps", 5),
        ("train.keep_checkpoints", 5),
        ("train.log_every", 1),
        ("data.num_threads", 7),
        ("optimizer.learning_rate", 1e-5),
        ("loss.lower_half", 1.0),
        ("init_from.generator", "gone"),
    ],
)
def test_other_fields_may_change_and_are_logged(begun, name, value, caplog):
    config, workdir = begun
    config.update_from_flattened_dict({name: value})
    with caplog.at_level(logging.INFO, logger="absl"):
        resume.check_config_unchanged(config, workdir)
    assert f"changed since the run was begun: config.{name} " in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "fixed"),
    [
        ("flow", "horn_schunck", True),
        ("flow_trainable", True, True),
        ("flow_optimizer.accumulate_steps", 2, True),
        ("flow_optimizer.learning_rate", 1e-5, False),
    ],
)
def test_the_optimizer_of_flow_may_change_as_that_of_others(tmp_path, name, value, fixed):
    config = glance.get_config("tiny")
    resume.write_config(config, tmp_path)
    config.update_from_flattened_dict({name: value})
    refused = pytest.raises(ValueError, match=rf"config.{name} .*--allow_changes to resume")
    with refused if fixed else contextlib.nullcontext():
        resume.check_config_unchanged(config, tmp_path)


def test_an_equal_config_logs_nothing(begun, caplog, monkeypatch):
    config, workdir = begun
    monkeypatch.chdir(workdir)
    config.data.dir = "data"  # the same folder, as named from here
    with caplog.at_level(logging.INFO, logger="absl"):
        resume.check_config_unchanged(config, workdir)
    assert not caplog.text
    before = json.loads((workdir / "config.json").read_text())
    del before["train"]["checkpoint_minutes"], before["frozen"]["expert"]["method"]
    (workdir / "config.json").write_text(json.dumps(before))  # an older version's
    resume.check_config_unchanged(config, workdir)


def test_a_discriminator_more_is_no_other_run_but_one_less_is(tmp_path):
    resume.write_config(vougioukas.get_config("tiny_frame"), tmp_path)
    with pytest.raises(
        ValueError, match=r"config.discriminators.frame.model.width_mult 0.125 -> absent"
    ):
        resume.check_config_unchanged(vougioukas.get_config("tiny_l1"), tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_an_unreadable_config_is_logged_and_ignored(begun, text, caplog):
    config, workdir = begun
    (workdir / "config.json").write_text(text)
    with caplog.at_level("INFO", logger="absl"):
        resume.check_config_unchanged(config, workdir)
    assert "so changes of the config are not checked" in caplog.text


def test_one_process_at_a_time_trains_in_a_folder(tmp_path):
    with run_lock.acquire(tmp_path):
        with pytest.raises(ValueError, match=rf"is in use: process {os.getpid()} on .*kill"):
            with run_lock.acquire(tmp_path):
                pass
    with run_lock.acquire(tmp_path):
        pass


def test_the_lock_ends_with_its_process(tmp_path):
    code = (
        "import pathlib, sys, time; from lipsync_jax.training import run_lock\n"
        "with run_lock.acquire(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {holder.pid} on "):
            with run_lock.acquire(tmp_path):
                pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with run_lock.acquire(tmp_path):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_run_and_the_second_one_at_once(number):
    if signal.getsignal(number) == signal.SIG_IGN:  # the tests run under nohup
        pytest.skip("ignored here, which is kept")
    before = signal.getsignal(number)
    with stopping.catch_signals() as stop:
        assert not stop(None, 0)
        os.kill(os.getpid(), number)
        assert stop(None, 0)
        with pytest.raises(KeyboardInterrupt, match="at once"):
            os.kill(os.getpid(), number)
            time.sleep(1)
    assert signal.getsignal(number) == before


def test_sighup_stays_ignored_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stopping.catch_signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_checkpoints_are_due_by_the_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock, never = (
        stopping.CheckpointTimer(10.0, check_every=100),
        stopping.CheckpointTimer(0.0, check_every=100),
    )
    now[0] = 599.0
    assert not clock.due(1)
    now[0] = 600.0
    assert clock.due(2) and not never.due(2)
    clock.reset()
    assert not clock.due(3)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_programs")
def test_the_advice_after_a_divergence_works(toy_data, tmp_path):
    def config(steps, rate):
        config = sync_expert.get_config("small_data")
        config.data.dir = str(toy_data)
        config.data.batch_size = config.data.validation_batch_size = 4
        config.data.validation_frames = 40
        config.windows_per_clip = 1
        config.model.width_mult = 0.03
        config.optimizer.warmup_steps = 0
        config.optimizer.learning_rate = rate
        config.train.steps, config.train.validate_every = steps, 2
        config.train.log_every = config.train.checkpoint_every = 1
        return config

    run = tmp_path / "run"
    loop.train(config(2, 1e-3), run)
    with pytest.raises(ValueError, match=r"config.seed 0 -> 1.*--allow_changes"):
        other = config(3, 1e-3)
        other.seed = 1
        loop.train(other, run)
    assert json.loads((run / "config.json").read_text())["seed"] == 0
    with pytest.raises(FloatingPointError) as caught:
        loop.train(config(8, 1e38), run)
    told = str(caught.value)
    assert "is good: the same command with a lower --config.optimizer.learning_rate" in told
    step = int(told.partition("The checkpoint of step ")[2].split()[0])
    assert [p.name for p in damage.steps_of(run / "checkpoints")] == [str(step)]
    assert damage.steps_of(run / "damaged") == []
    assert any((run / "damaged").iterdir())  # saved with finite weights that give no finite loss
    assert "cosine_cross_entropy" in loop.train(config(step + 2, 1e-3), run)  # the advice
    assert f"--config.init_from.expert={run}" in told
    anew = config(1, 1e-3)
    anew.init_from.expert = str(run)
    loop.train(anew, tmp_path / "anew")
    assert saved_arrays(tmp_path / "anew")
    assert checkpoints.read_model_card(tmp_path / "anew")["step"] == 1
