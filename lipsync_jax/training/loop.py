"""The training loop, the same for every method."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import ml_collections
import numpy as np
from absl import logging

from lipsync_jax import methods, paths
from lipsync_jax.methods.base import Method, NetworkState, State
from lipsync_jax.progress import ProgressBar
from lipsync_jax.training import (
    checkpoints,
    inputs,
    pretrained,
    profiling,
    resume,
    run_lock,
    sharding,
    stopping,
)
from lipsync_jax.training.compiled_steps import CompiledSteps, compile_steps
from lipsync_jax.training.data_pipeline import DataPipeline
from lipsync_jax.training.goodput import Goodput
from lipsync_jax.training.metric_buffer import CompilationTimer, MetricBuffer, format_scalars
from lipsync_jax.training.metric_writer import MetricWriter, ProgressLogger, plot_scalars
from lipsync_jax.training.model_selection import ModelSelection
from lipsync_jax.training.train_state import create_train_state
from lipsync_jax.training.train_step import step_options
from lipsync_jax.types import ModelCard, Tree


def load_method(config: ml_collections.ConfigDict) -> Method:
    """Builds the config's method, with the model cards of the frozen networks it names.

    Raises:
        ValueError: the config is incomplete, or a frozen network does not fit; says what to do.
    """
    inputs.require_inputs(config, with_data=False)
    model_cards = {}
    for name, frozen in config.frozen.items():
        model_card = model_cards[name] = checkpoints.read_model_card(frozen.checkpoint)
        inputs.require_method(config, name, model_card)
        with checkpoints.raise_on_shape_mismatch(frozen.checkpoint):
            methods.validate(model_card)
    method = methods.load(config, model_cards)
    method.validate_config()
    return method


def train(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    allow_changes: bool = False,
    profile_steps: range = range(0),
) -> dict[str, float]:
    """Trains a method, or resumes the run in `workdir`.

    Args:
        config: a complete experiment, see configs/.
        workdir: the run's folder; created if missing.
        allow_changes: resume with another seed, batch, data or model than the run was begun with.
        profile_steps: steps that are traced, see `profiling`.

    Returns:
        The scalars of the last validation.

    Raises:
        ValueError: config, data or checkpoints don't fit, or another process trains in `workdir`;
            raised before any step.
        FloatingPointError: a loss or weight is not finite; says how to resume.
        KeyboardInterrupt: SIGTERM, SIGHUP or Ctrl-C was received; everything is saved.
    """
    workdir = paths.absolute(workdir, "--workdir")
    inputs.require_inputs(config)
    paths.require_access(workdir, "--workdir")
    method = load_method(config)
    mesh = sharding.make_mesh()
    step_options(config, mesh)  # checks the config, before any slow work
    data = DataPipeline(config, method, mesh)
    workdir.mkdir(parents=True, exist_ok=True)
    is_primary = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        if is_primary:
            stack.enter_context(run_lock.acquire(workdir))
        stop = stack.enter_context(stopping.catch_signals())
        max_step_gap = max(config.train.validate_every, config.train.checkpoint_every)
        saved_checkpoints = checkpoints.Checkpoints(
            workdir,
            method.trainable,
            config.train.keep_checkpoints,
            max_step_gap,
            config.train.keep_period,
        )
        stack.callback(saved_checkpoints.close)
        if saved_checkpoints.latest_step() is not None:
            resume.check_config_unchanged(config, workdir, allow_changes)
        writer = MetricWriter(workdir, active=is_primary)
        stack.callback(writer.close)
        profiler = profiling.Profiler(profile_steps if is_primary else range(0), writer.logdir)
        stack.callback(profiler.close)
        run = _Run(config, workdir, method, mesh, data, saved_checkpoints, writer)
        return run.train(stop, profiler)


def evaluate(
    config: ml_collections.ConfigDict, workdir: str | Path, split: str
) -> dict[str, float]:
    """Computes the validation metrics of a run's best checkpoint on every clip of a split.

    Args:
        config: the run's config.
        workdir: the run's folder.
        split: `validation` or `test`.

    Returns:
        The scalars of `Method.aggregate_metrics`.
    """
    inputs.require_inputs(config)
    method = load_method(config)
    mesh = sharding.make_mesh()
    data = DataPipeline(config, method, mesh)
    steps = compile_steps(method, mesh)
    state = create_train_state(config, method, mesh, data, steps)
    networks = dict(state.networks)
    for name in method.trainable:
        item = checkpoints.find_network(workdir, name)
        checkpoints.check_compatible(item, state.networks[name].variables)
        variables = checkpoints.read_item(item)
        networks[name] = NetworkState(**sharding.replicate(variables, mesh))
    state = state.replace(networks=networks)
    batches = data.validation_batches(split, limit=0)
    if jax.process_index() > 0:
        return _validate(method, mesh, steps, state, batches)
    with ProgressBar("evaluate", data.count_batches(split)) as bar:
        return _validate(method, mesh, steps, state, batches, bar)


class _Run:
    """A run in progress: what steps, validations and checkpoints share."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        workdir: Path,
        method: Method,
        mesh: jax.sharding.Mesh,
        data: DataPipeline,
        saved_checkpoints: checkpoints.Checkpoints,
        writer: MetricWriter,
    ) -> None:
        """Makes the state before the first step, or restores the newest checkpoint."""
        self._config, self._workdir, self._method = config, workdir, method
        self._mesh, self._data, self._writer = mesh, data, writer
        self._checkpoints, self._last = saved_checkpoints, config.train.steps
        self._goodput, self._steps = Goodput(), compile_steps(method, mesh)
        self._batches = data.training_batches()
        resume_step = saved_checkpoints.latest_step()
        starts = resume_step is None or resume_step < self._last
        self._compiling = CompilationTimer(config, starts)
        self._selection = ModelSelection(method.best_metric, config.train.early_stopping_patience)
        self._state = self._initial_state() if resume_step is None else self._restored_state()
        self._step = int(self._state.step)
        if writer.active:
            for folder in {workdir, writer.folder}:
                resume.write_config(config, folder)  # only now: what can't be resumed keeps its own
            writer.config(self._step, config)
        self._batch: dict | None = None  # the newest
        self._scalars: dict[str, float] = {}  # of the newest validation
        self._buffer = MetricBuffer(config, workdir, method.trainable)
        self._checkpoint_timer = stopping.CheckpointTimer(
            config.train.checkpoint_minutes, config.train.log_every
        )
        self._progress = ProgressLogger(self._step, self._last, has_bar=writer.active)

    def train(self, stop: stopping.StopTest, profiler: profiling.Profiler) -> dict[str, float]:
        """Trains to the last step, or until the run is stopped; see the function `train`."""
        train = self._config.train
        try:
            self._progress.show(self._step, "compiling")
            while self._step < self._last and not self._selection.ends_run():
                if stop(self._checkpoints.preempted, self._step):
                    break
                self._train_step(profiler)
                self._log_step()
                step = self._step
                if step % train.validate_every == 0 or step == self._last:
                    self._validate()
                elif step % train.checkpoint_every == 0 or self._checkpoint_timer.due(step):
                    self._save()
            if 0 < self._step < self._last:
                self._save()
        except FloatingPointError as error:
            raise self._buffer.divergence_error(error, self._last_finite_checkpoint()) from error
        finally:
            self._progress.close()
        self._finish()
        return self._scalars

    def _initial_state(self) -> State:
        config, method, mesh = self._config, self._method, self._mesh
        items = pretrained.resolve_pretrained(config, method)  # before anything is compiled
        state = create_train_state(config, method, mesh, self._data, self._steps)
        return method.init_from_frozen(pretrained.init_from_pretrained(state, items, config, mesh))

    def _restored_state(self) -> State:
        target = create_train_state(self._config, self._method, self._mesh, self._data, self._steps)
        state, run = self._checkpoints.restore(target)
        self._batches.set_state(run["loader"])
        self._selection.set_state(run)
        logging.info("resumed from step %d of %s", int(state.step), self._workdir)
        return state

    def _train_step(self, profiler: profiling.Profiler) -> None:
        with self._goodput.measure("loader_wait"):
            self._batch = batch = next(self._batches)
        clip_ids = batch.pop("clip_id")
        with profiler.step(self._step + 1):
            self._state, metrics = self._steps.train_step(
                self._state, sharding.shard_batch(batch, self._mesh)
            )
        self._step += 1
        profiler.after(self._step, metrics)
        self._goodput.step()
        self._compiling.done()
        self._buffer.add(self._step, metrics, clip_ids)

    def _log_step(self) -> None:
        if self._step % self._config.train.log_every and self._step < self._last:
            self._progress.show(self._step)
            return
        means = self._buffer.flush()
        self._progress.log(self._step, means)
        self._writer.scalars(self._step, means, "train")
        self._writer.scalars(self._step, self._goodput.flush(), "time")

    def _validate(self) -> None:
        """Validates and saves; the networks too if they are the best so far."""
        self._buffer.check_finite()
        self._progress.show(self._step, "validation")
        method, mesh, step = self._method, self._mesh, self._step
        with self._goodput.measure("validation"):
            batches = self._data.validation_batches()
            scalars = _validate(method, mesh, self._steps, self._state, batches)
            logging.info("validation at step %d: %s", step, format_scalars(scalars))
            self._writer.scalars(step, scalars, "validation")
            images = _sample_images(mesh, self._steps, self._state, self._data)
            self._writer.images(step, images, method.sample_titles)
        is_due = step % self._config.train.validate_every == 0
        if is_due:  # else the last step, and train.steps may be raised later
            self._state = _update_host_scalars(method, mesh, self._state, scalars)
        improved = self._selection.add(scalars, counts=is_due)
        self._scalars = scalars
        self._save(_model_card(self._config, step, scalars) if improved else None)

    def _save(self, model_card: ModelCard | None = None) -> None:
        """Saves a checkpoint; with a model card the networks for inference before."""
        self._buffer.check_finite()
        with self._goodput.measure("checkpoint"):
            if model_card is not None:
                self._checkpoints.save_best(self._state, model_card)
            run = {"loader": self._batches.get_state(), **self._selection.get_state()}
            if self._checkpoints.save(self._state, run):
                self._goodput.save()
        self._checkpoint_timer.reset()

    def _finish(self) -> None:
        """Logs and plots the run; raises KeyboardInterrupt if the run was stopped."""
        self._goodput.log()
        if self._writer.active:
            if self._scalars:
                self._writer.hparams(self._step, self._config, self._scalars)
            plot_scalars(self._writer.folder, self._workdir / "training.png")
        if self._selection.ends_run():
            self._selection.log_end(self._step)
        elif self._step < self._last:
            message = f"stopped at step {self._step}; the same command resumes there"
            raise KeyboardInterrupt(
                message if self._step else "stopped before step 1; there was nothing to save"
            )

    def _last_finite_checkpoint(self) -> int | None:
        """Returns the newest checkpoint whose weights give finite metrics; quarantines newer ones.

        Finite weights can give metrics that are not finite.
        """
        if self._batch is None:
            return None
        target = self._state
        for step in reversed(self._checkpoints.steps()):
            state, _ = self._checkpoints.restore(target, step)
            batch = sharding.shard_batch(self._batch, self._mesh)
            target, metrics = self._steps.train_step(state, batch)  # donates `state`
            if all(np.isfinite(value).all() for value in jax.device_get(metrics).values()):
                return step
            self._checkpoints.quarantine(step)
        return None


def _validate(
    method: Method,
    mesh: jax.sharding.Mesh,
    steps: CompiledSteps,
    state: State,
    batches: Iterator[dict],
    on_batch: Callable[[int], None] = lambda done: None,
) -> dict[str, float]:
    rows: list[dict[str, np.ndarray]] = []
    for batch in batches:
        batch.pop("clip_id")
        rows.append(jax.device_get(steps.eval_step(state, sharding.shard_batch(batch, mesh))))
        on_batch(len(rows))
    metrics = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    is_example = metrics.pop("example_mask") > 0
    return method.aggregate_metrics({name: values[is_example] for name, values in metrics.items()})


def _sample_images(
    mesh: jax.sharding.Mesh, steps: CompiledSteps, state: State, data: DataPipeline
) -> tuple:
    batch = next(data.validation_batches())
    batch.pop("clip_id")
    return jax.device_get(steps.sample_images(state, sharding.shard_batch(batch, mesh)))


def _update_host_scalars(
    method: Method, mesh: jax.sharding.Mesh, state: State, scalars: Mapping[str, float]
) -> State:
    before = {name: float(value) for name, value in state.host_scalars.items()}
    after = method.on_validation_end(before, scalars)
    if after == before:
        return state
    logging.info("host scalars: %s -> %s", format_scalars(before), format_scalars(after))
    host_scalars = {name: np.float32(value) for name, value in after.items()}
    return state.replace(host_scalars=sharding.replicate(host_scalars, mesh))


def _model_card(
    config: ml_collections.ConfigDict, step: int, scalars: Mapping[str, float]
) -> dict[str, Tree]:
    return {
        "config": json.loads(config.to_json_best_effort()),
        "step": step,
        "validation": dict(scalars),
    }
