"""Messages for users: missing inputs, wrong options, and ends of commands."""

import errno
import json
import logging
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from lipsync_jax import weights
from lipsync_jax.configs import flownet, glance, lipgan, sync_expert, wav2lip, wav2lip_gan
from lipsync_jax.data_prep import builder
from lipsync_jax.media import mux
from lipsync_jax.training import (
    checkpoints,
    distributed,
    inputs,
    loop,
    metric_buffer,
    pretrained,
    sharding,
)
from tests.conftest import toy_clip


def test_missing_inputs_are_listed_with_the_commands_that_make_them():
    with pytest.raises(ValueError) as caught:
        inputs.require_inputs(wav2lip.get_config())
    assert str(caught.value).splitlines() == [
        "wav2lip can't start yet; add",
        "  --config.data.dir=DATA, a folder of clips that this command writes:",
        "    lipsync prepare --input VIDEOS --out DATA --crop face96",
        "  --config.frozen.expert.checkpoint=runs/sync_expert, a run that this command trains:",
        "    lipsync train --config=sync_expert --workdir=runs/sync_expert --config.data.dir=DATA",
    ]
    config = glance.get_config()
    config.data.dir = "clips"
    with pytest.raises(ValueError, match=r"train --config=glance_autoencoder .*data.dir=clips$"):
        loop.load_method(config)
    config = glance.get_config("table2_c,flow=flownet")
    with pytest.raises(
        ValueError, match=r"train --config=flownet_lips --workdir=runs/flownet_lips "
    ):
        inputs.require_inputs(config)


@pytest.mark.parametrize(
    "field, value, least",
    [
        ("train.validate_every", 0, 1),
        ("train.checkpoint_every", 0, 1),
        ("train.log_every", 0, 1),
        ("train.keep_checkpoints", 0, 1),
        ("train.steps", -1, 0),
        ("data.batch_size", 0, 1),
        ("data.validation_batch_size", 0, 1),
        ("data.validation_clips", -1, 0),
    ],
)
def test_a_number_that_is_too_small_is_refused_before_anything_slow(tmp_path, field, value, least):
    config = sync_expert.get_config()
    config.data.dir = str(tmp_path / "gone")
    config.update_from_flattened_dict({field: value})
    expected = f"expected a number that is {'more than 0' if least else '0 or more'}"
    with pytest.raises(ValueError, match=rf"^--config\.{field}={value}: {expected}$"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_built_in_model_that_fits_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    for name, method in (("other", "syncnet"), ("small", "sync_expert")):
        card = {"config": {"method": method}, "sha256": {"expert.npz": "0"}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "model_card.json").write_text(json.dumps(card))
    with pytest.raises(ValueError) as caught:
        inputs.require_inputs(wav2lip.get_config())
    expected = f"    or {tmp_path / 'small'}, the built-in model small"
    assert str(caught.value).splitlines()[-1] == expected


def test_an_expert_of_another_method_is_refused(tmp_path):
    card = {"config": lipgan.get_config("tiny").to_dict()}
    checkpoints.export_networks(
        tmp_path / "run", {"generator": {"params": {"a": np.ones(1)}}}, card
    )
    config = wav2lip.get_config("tiny")
    config.data.dir = "clips"
    config.frozen.expert.checkpoint = str(tmp_path / "run")
    with pytest.raises(ValueError, match=r"run holds a lipgan; it must be a sync_expert, a run of"):
        loop.load_method(config)


@pytest.mark.parametrize("name", ["wav2lip_gan.pth", "lipsync_expert.pt", "grid.dat"])
def test_a_pytorch_file_is_refused_with_the_command_to_convert(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(
        ValueError, match=rf"{name} is a PyTorch file: run `lipsync convert .*{name}"
    ):
        checkpoints.resolve_checkpoint(tmp_path / name)


def test_an_empty_name_is_not_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "model_card").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="folder is empty: name a run's workdir"):
        checkpoints.resolve_checkpoint("")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/run/x"), "device: /run/x; make room"),
        (OSError(errno.EROFS, "Read-only file system", "/run"), "/run; name another --workdir"),
        (FileExistsError(errno.EEXIST, "File exists", "run"), "run is a file, not a folder; name"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"), "is under a file"),
        (FileNotFoundError("name a run"), "^name a run$"),
        (ValueError("config.x is wrong"), "^config.x is wrong$"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "lower --config.data.batch_size"),
        (
            ValueError('RESOURCE_EXHAUSTED: Error writing "/run/15": No space left on device'),
            "^No space left on device: /run/15; make room, and the same command resumes",
        ),
        (RuntimeError("INTERNAL: a bug"), None),
        (KeyError("a bug"), None),
    ],
)
def test_an_expected_error_is_one_sentence(error, told):
    sentence = distributed.user_message(error)
    if told is None:
        assert sentence is None
    else:
        assert re.search(told, sentence)
        assert "\n" not in sentence


def test_a_lost_process_is_reported_with_the_remedy(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    told = distributed.user_message(
        RuntimeError("UNKNOWN: Gloo AllGather failed: Connection closed by peer")
    )
    assert "another process of this run has died" in told
    assert "give the same command on every host again" in told


@pytest.mark.parametrize(
    ("blocked", "told"), [("run", "is a file"), ("run/deeper", "under a file")]
)
def test_a_workdir_that_is_a_file_is_one_sentence(toy_data, tmp_path, blocked, told):
    (tmp_path / "run").write_text("")
    config = sync_expert.get_config("tiny")
    config.data.dir = str(toy_data)
    with pytest.raises(OSError) as caught:
        loop.train(config, tmp_path / blocked)
    assert told in distributed.user_message(caught.value)


def test_libraries_in_a_folder_of_the_project_count_as_libraries():
    def record(path, level=logging.INFO):
        return logging.LogRecord("jax", level, path, 1, "Unable to initialize backend", (), None)

    own = os.path.dirname(distributed.__file__)
    root = os.path.dirname(os.path.dirname(own))
    assert distributed._is_relevant(record(os.path.join(own, "loop.py")))
    assert not distributed._is_relevant(record(f"{root}/.venv/lib/jax/xla_bridge.py"))
    assert distributed._is_relevant(record(f"{root}/.venv/lib/jax/xla_bridge.py", logging.WARNING))


def test_compilation_is_logged_once_with_its_time(caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        compiling = metric_buffer.CompilationTimer(sync_expert.get_config("tiny"), starts=True)
        compiling.done()
        compiling.done()
        metric_buffer.CompilationTimer(sync_expert.get_config("tiny"), starts=False).done()
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 2 and "metrics follow every 20 steps" in said[0]
    assert said[1].startswith("compiled in ")


@pytest.mark.parametrize("enabled", [True, False])
def test_the_folder_of_compiled_programs_is_logged(enabled, caplog):
    values = {"jax_enable_compilation_cache": enabled, "jax_compilation_cache_dir": "/elsewhere"}
    before = {name: getattr(jax.config, name) for name in values}
    try:
        for name, value in values.items():
            jax.config.update(name, value)
        with caplog.at_level(logging.INFO, logger="absl"):
            metric_buffer.CompilationTimer(sync_expert.get_config("tiny"), starts=True)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    assert ("in the cache, /elsewhere" in caplog.records[0].getMessage()) == enabled


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_a_run_is_initialized_from_a_converted_checkpoint(tmp_path, network):
    """A converted model card has no validation metrics, and its checkpoint one network."""
    config = wav2lip_gan.get_config("tiny")
    method = loop.methods.load(config, {})
    module = method.networks[network].module
    rng = jax.random.key(0)
    if network == "generator":
        shapes = (1, 80, 16, 1), (1, 96, 96, 6)
        new = lambda: module.init(rng, *(jax.numpy.zeros(s) for s in shapes), train=False)  # noqa: E731
    else:
        new = lambda: module.init(rng, jax.numpy.zeros((1, 96, 96, 3)))  # noqa: E731
    like = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(new))
    weights = jax.tree.map(lambda x: x + 1, like)
    card = {"config": config.to_dict(), "network": "wav2lip", "licence": ""}
    checkpoints.export_networks(tmp_path / "out", {network: {"batch_stats": {}, **weights}}, card)
    config.init_from[network] = str(tmp_path / "out")
    found = pretrained.resolve_pretrained(config, method)
    network_state = method.networks[network].init_state(like)
    state = loop.methods.base.init_train_state(rng, {network: network_state})
    begun = pretrained.init_from_pretrained(state, found, config, sharding.make_mesh())
    assert all(float(x.min()) == 1 for x in jax.tree.leaves(begun.networks[network].params))


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    out = tmp_path / "out.mp4"
    left = mux.partial_file(out)
    left.write_bytes(b"half")
    assert mux.partial_file(out) != left and left.exists()  # this process is alive
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    dead = left.rename(left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-")))
    another = dead.with_name(mux.partial_file(tmp_path / "b.mp4").name)
    another.write_bytes(b"of another output")
    mux.partial_file(out)
    assert not dead.exists() and another.exists()


def test_writing_data_does_not_mention_downloads(tmp_path, capfd):
    """TFDS logs downloads where nothing is downloaded, and creates a folder for them."""
    builder.write_clips({"train": [toy_clip("train/0", 0)]}, tmp_path, "toy", shards=1)
    assert capfd.readouterr().out == ""
    assert not (tmp_path / "downloads").exists()


def test_a_config_without_data_of_its_own_needs_none():
    inputs.require_inputs(flownet.get_config())


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.abort()", True),
        ("os.kill(os.getpid(), 9)", True),
        ("pass", False),
        ("sys.exit(3)", False),
        ("end(); os._exit(1)", False),
    ],
)
def test_an_abrupt_end_says_what_to_do(end, said):
    code = "import os, sys; from lipsync_jax.training import abrupt_end\n"
    code += f"end = abrupt_end.watch('give the command again')\n{end}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ("give the command again\n" in run.stderr) is said


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("data.batch_size", 0, "more than 0"),
        ("train.log_every", 0, "more than 0"),
        ("train.validate_every", -1, "more than 0"),
        ("train.keep_checkpoints", 0, "more than 0"),
        ("model.width_mult", 0.0, "more than 0"),
        ("seed", -1, "0 or more"),
        ("optimizer.learning_rate", -1.0, "0 or more"),
        ("optimizer.learning_rate", float("nan"), "a finite number"),
        ("loss.sync", float("inf"), "a finite number"),
        ("optimizer.b1", 2.0, "from 0 to below 1"),
        ("discriminators.quality.optimizer.b2", 1.0, "from 0 to below 1"),
        ("precision", "float99", "a type such as float32"),
        ("precision", "int8", "a type such as float32"),
        ("data.crop", "face9", "one of face96"),
    ],
)
def test_values_outside_of_their_limits_are_refused_before_anything_is_read(field, value, expected):
    config = wav2lip_gan.get_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=f"^--config.{field}={value}: expected .*{expected}"):
        inputs.require_inputs(config)


def test_what_jax_says_later_does_not_follow_the_message():
    code = (
        "import os, jax\n"
        "from lipsync_jax.training import distributed\n"
        "jax.process_count = lambda: 2\n"
        "distributed._end_watch.append(lambda: os.write(2, b'RPC: of a thread of JAX'))\n"
        "os.write(2, b'earlier words\\n')\n"
        "distributed.exit_with_message(distributed.LOST_PROCESS, 'the run resumes')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == distributed.LOST_PROCESS
    assert ended.stderr.endswith("earlier words\nthe run resumes\n")
