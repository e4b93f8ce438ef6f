"""The loop, on the sync expert and on Wav2Lip with narrow networks."""

import json
import os
import shutil
import signal
import sys
import time

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from lipsync_jax import progress
from lipsync_jax.configs import sync_expert as expert_config
from lipsync_jax.configs import wav2lip as wav2lip_config
from lipsync_jax.configs import wav2lip_gan as gan_config
from lipsync_jax.methods.wav2lip import sync_expert as sync_expert_method
from lipsync_jax.training import arrays, checkpoints, loop, metric_writer, sharding
from lipsync_jax.training.data_pipeline import DataPipeline
from lipsync_jax.training.train_state import create_train_state
from tests.helpers.runs import assert_same_run, saved_arrays
from tests.helpers.terminal import stderr_terminal
from tests.training.test_untrusted_checkpoints import claim

pytestmark = pytest.mark.usefixtures("quick_programs")
compile_steps, plot = loop.compile_steps, loop.plot_scalars


@pytest.fixture(scope="module", autouse=True)
def _shared_steps():
    """Compiles steps of equal configs once, and plots one run only."""
    made = {}

    def shared(method, mesh):
        config = method.config.to_dict()
        # What follows the batches, the workdir or the weights is in no program.
        for name in ("train", "init_from", "negatives"):
            config.pop(name, None)
        key = json.dumps(config, sort_keys=True, default=str), mesh
        if key not in made:
            made[key] = compile_steps(method, mesh)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "compile_steps", shared)
        patch.setattr(loop, "plot_scalars", lambda workdir, path: None)
        yield


def narrow(config, toy_data, steps=4):
    """A config small enough for tests."""
    config.data.dir = str(toy_data)
    config.data.batch_size = 8
    config.data.validation_batch_size = 8
    config.model.width_mult = 0.03
    config.train.steps = steps
    config.train.log_every = 1
    config.train.validate_every = 2
    config.train.checkpoint_every = 2
    return config


def expert(toy_data, steps=4, **changes):
    config = narrow(expert_config.get_config("small_data"), toy_data, steps)
    config.data.validation_frames = 40
    config.windows_per_clip = 2
    config.model.depth_mult = 0.0
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def expert_run(toy_data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("expert")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "plot_scalars", plot)
        scalars = loop.train(expert(toy_data), workdir)
    return workdir, scalars


def generator(toy_data, expert_workdir, steps=4, gan=False):
    config = (gan_config if gan else wav2lip_config).get_config("small_data")
    config = narrow(config, toy_data, steps)
    config.model.depth_mult = 0.0
    config.windows_per_clip = 1
    config.frozen.expert.checkpoint = str(expert_workdir)
    config.frozen.expert.min_accuracy = 0.0
    if gan:
        config.discriminators.quality.model.width_mult = 0.03
    return config


def test_a_run_writes_checkpoints_metrics_and_a_plot(expert_run):
    workdir, scalars = expert_run
    assert {
        "balanced_accuracy",
        "offset_accuracy",
        "cosine_cross_entropy",
        "threshold",
    } <= scalars.keys()
    assert len(metric_writer.read_scalars(workdir, "train")) == 4
    assert [v["step"] for v in metric_writer.read_scalars(workdir, "validation")] == [2, 4]
    assert (workdir / "training.png").stat().st_size > 1000
    card = checkpoints.read_model_card(workdir)
    assert card["config"]["method"] == "sync_expert"
    assert card["validation"]["balanced_accuracy"] >= 0
    assert any((workdir / "tensorboard").iterdir())


def test_a_resumed_expert_equals_an_uninterrupted_one(toy_data, expert_run, tmp_path, monkeypatch):
    loop.train(expert(toy_data, steps=2), tmp_path)
    show = metric_writer.ProgressLogger.show

    def slow(self, step, note=""):
        show(self, step, note)
        time.sleep(0.3)  # the bar is refreshed five times a second

    monkeypatch.setattr(metric_writer.ProgressLogger, "show", slow)
    terminal = stderr_terminal(monkeypatch)
    loop.train(expert(toy_data, steps=4), tmp_path)
    assert_same_run(tmp_path, expert_run[0])
    shown = terminal.text()
    assert sys.stderr is terminal and "2/4 (50%)" in shown and "3/4 (75%)" in shown
    assert "loss " in shown and "validation" in shown


@pytest.mark.parametrize("has_bar", [True, False])
def test_only_one_host_shows_a_bar(has_bar, monkeypatch):
    terminal = stderr_terminal(monkeypatch)
    progress = metric_writer.ProgressLogger(0, 4, has_bar=has_bar)
    progress.close()
    assert ("train" in terminal.text()) == has_bar


def test_a_run_without_gains_ends_and_stays_ended(toy_data, tmp_path, monkeypatch):
    values = iter([0.5, 0.6, 0.6, 0.3])
    monkeypatch.setattr(
        sync_expert_method.SyncExpertMethod,
        "aggregate_metrics",
        lambda self, metrics: {"balanced_accuracy": next(values)},
    )
    config = expert(toy_data, steps=40)
    config.train.early_stopping_patience = 2
    loop.train(config, tmp_path)
    seen = [v["step"] for v in metric_writer.read_scalars(tmp_path, "validation")]
    assert seen == [2, 4, 6, 8]
    assert checkpoints.read_model_card(tmp_path)["step"] == 4
    assert loop.train(config, tmp_path) == {}


@pytest.mark.slow
def test_a_resumed_gan_equals_an_uninterrupted_one(toy_data, expert_run, tmp_path):
    for folder, stops in (("whole", (4,)), ("parts", (1, 3, 4))):
        for steps in stops:
            config = generator(toy_data, expert_run[0], steps, gan=True)
            config.loss.sync_start_below = 1e9  # on from the first validation
            config.train.validate_every = 3
            loop.train(config, tmp_path / folder)
    whole = saved_arrays(tmp_path / "whole")
    assert whole["train['host_scalars']['sync_weight']"] == np.float32(config.loss.sync) > 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert list((tmp_path / "whole" / "samples").glob("*.png"))


@pytest.mark.slow
def test_a_run_resumes_between_accumulated_steps(toy_data, tmp_path):
    for folder, stops in (("whole", (4,)), ("parts", (1, 4))):
        for steps in stops:
            config = expert(toy_data, steps)
            config.optimizer.accumulate_steps = 3
            loop.train(config, tmp_path / folder)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    state = saved_arrays(tmp_path / "whole")
    assert [x for name, x in state.items() if "mini_step" in name] == [1]
    assert any("acc_grads" in name and x.any() for name, x in state.items())


@pytest.mark.slow
def test_one_device_and_eight_give_the_same_losses(toy_data, expert_run):
    config = generator(toy_data, expert_run[0])
    config.loss.sync_initial = config.loss.sync
    figures = {}
    for count in (1, 8):
        mesh = sharding.make_mesh(jax.devices()[:count])
        method = loop.load_method(config)
        data = DataPipeline(config, method, mesh)
        steps = loop.compile_steps(method, mesh)
        state = create_train_state(config, method, mesh, data, steps)
        batches = data.training_batches()
        seen = []
        for _ in range(2):
            batch = next(batches)
            batch.pop("clip_id")
            state, scalars = steps.train_step(state, sharding.shard_batch(batch, mesh))
            seen.append([float(scalars["l1"]), float(scalars["sync_loss"])])
        figures[count] = seen
    np.testing.assert_allclose(figures[1], figures[8], rtol=2e-4)


def test_the_step_is_compiled_once(toy_data, expert_run):
    config = generator(toy_data, expert_run[0])
    mesh = sharding.make_mesh()
    method = loop.load_method(config)
    data = DataPipeline(config, method, mesh)
    steps = loop.compile_steps(method, mesh)
    state = create_train_state(config, method, mesh, data, steps)
    batches = data.training_batches()
    for _ in range(3):
        batch = next(batches)
        batch.pop("clip_id")
        before = state
        state, _ = steps.train_step(state, sharding.shard_batch(batch, mesh))
    assert steps.train_step.num_compiled() == 1
    assert all(x.is_deleted() for x in jax.tree.leaves(before.networks["generator"].params))


def test_a_loss_that_is_not_finite_names_its_clips_and_keeps_the_checkpoint(toy_data, tmp_path):
    loop.train(expert(toy_data, steps=1), tmp_path)
    good = saved_arrays(tmp_path)
    config = expert(toy_data, steps=6)
    config.train.checkpoint_every = 1
    config.optimizer.learning_rate = 1e38
    config.optimizer.warmup_steps = 0
    with pytest.raises(FloatingPointError, match=r"clips were .*train/\d"):
        loop.train(config, tmp_path)
    kept = saved_arrays(tmp_path)
    assert all(np.isfinite(x).all() for x in kept.values())
    assert good.keys() == kept.keys()


def test_sigterm_saves_and_the_run_can_be_resumed(toy_data, expert_run, tmp_path, monkeypatch):
    log = metric_writer.ProgressLogger.log

    def interrupted(self, step, values):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return log(self, step, values)

    config = expert(toy_data)
    config.train.checkpoint_every = 100
    with monkeypatch.context() as patch:
        patch.setattr(metric_writer.ProgressLogger, "log", interrupted)
        with pytest.raises(KeyboardInterrupt, match="stopped at step 2"):
            loop.train(config, tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["2"]
    loop.train(config, tmp_path)
    assert_same_run(tmp_path, expert_run[0])


def test_the_gate_refuses_a_weak_expert(toy_data, expert_run):
    config = generator(toy_data, expert_run[0])
    config.frozen.expert.min_accuracy = 0.999
    with pytest.raises(ValueError, match=r"min_accuracy=0 to use it anyway"):
        loop.load_method(config)
    config.frozen.expert.checkpoint = "nowhere"
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; name"):
        loop.load_method(config)


def test_another_networks_checkpoint_is_refused(toy_data, expert_run):
    config = expert(toy_data, steps=6)
    config.model.width_mult = 0.06
    with pytest.raises(ValueError, match=r"does not fit this config.* is \(.*\) in the checkpoint"):
        loop.train(config, expert_run[0], allow_changes=True)


def test_a_frozen_network_of_other_shapes_is_refused_unread(toy_data, expert_run, tmp_path):
    workdir = shutil.copytree(expert_run[0], tmp_path / "expert")
    item = checkpoints.find_network(workdir, "expert")
    name = next(iter(flatten_dict(arrays.shapes(item)["params"], sep=".")))
    for shape, fault in (
        ((7, 3), "its weights are not those of the network it describes"),
        ((10**6, 10**6), "claims arrays of 4000"),
    ):
        claim(item.parent, "expert", f"params.{name}", shape)
        with pytest.raises(ValueError, match=f"checkpoint {item.parent}: .*{fault}"):
            loop.train(generator(toy_data, workdir), tmp_path / "run")


def test_a_run_starts_from_anothers_weights(toy_data, expert_run, tmp_path):
    config = expert(toy_data, steps=1)
    config.optimizer.learning_rate = 0.0
    config.init_from = {"expert": str(expert_run[0])}
    loop.train(config, tmp_path)
    begun, _ = checkpoints.load_network(expert_run[0], "expert")
    now, _ = checkpoints.load_network(tmp_path, "expert")
    jax.tree.map(np.testing.assert_array_equal, now["params"], begun["params"])
    config.init_from.expert = "gone"  # a resumed run needs it no more
    loop.train(config, tmp_path)
    with pytest.raises(FileNotFoundError, match="gone does not exist; name"):
        loop.train(config, tmp_path / "new")
    config.init_from = {"generator": str(expert_run[0])}
    with pytest.raises(ValueError, match=r"init_from.generator: no network .* choose from expert"):
        loop.train(config, tmp_path / "new")
    config.init_from = {"expert": str(expert_run[0])}
    config.model.width_mult = 0.06
    with pytest.raises(ValueError, match=r"or no config.init_from.expert\): expert/"):
        loop.train(config, tmp_path / "new")


def test_a_batch_that_does_not_split_is_refused(toy_data):
    config = expert(toy_data)
    config.data.batch_size = 6
    with pytest.raises(ValueError, match=r"batch_size=6 .* multiple of 8, e\.g\. 8$"):
        DataPipeline(config, loop.load_method(config), sharding.make_mesh(jax.devices()))
    config.data.batch_size = 20
    with pytest.raises(ValueError, match=r"batch_size=20 .* e\.g\. 16 or 24$"):
        DataPipeline(config, loop.load_method(config), sharding.make_mesh(jax.devices()))


def test_the_best_checkpoint_is_evaluated_on_any_split(toy_data, expert_run, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_mode", "json")
    workdir, scalars = expert_run
    config = expert(toy_data)
    validation = loop.evaluate(config, workdir, "validation")
    lines = capsys.readouterr().err.splitlines()
    shown = [json.loads(line) for line in lines if line.startswith("{")]
    assert [(line["label"], line["done"]) for line in shown] == [("evaluate", 0), ("evaluate", 1)]
    assert shown[-1]["total"] == 1
    recorded = checkpoints.read_model_card(workdir)["validation"]
    assert validation == pytest.approx(recorded, rel=1e-4)
    assert loop.evaluate(config, workdir, "test").keys() == scalars.keys()


def test_the_number_of_batches_of_a_split_is_known(toy_data):
    config = expert(toy_data)
    for size in (1, 3):
        config.data.validation_batch_size = size
        data = DataPipeline(config, loop.load_method(config), sharding.make_mesh(jax.devices()[:1]))
        batches = [*data.validation_batches("train", limit=0)]
        assert data.count_batches("train") == len(batches) > 1


@pytest.mark.parametrize("negatives", ["same_clip", "other_clips", "mixed"])
def test_the_published_loss_runs_with_every_kind_of_negatives(toy_data, tmp_path, negatives):
    config = expert(toy_data, steps=1, objective="cosine_bce", negatives=negatives)
    assert json.loads(json.dumps(loop.train(config, tmp_path)))
