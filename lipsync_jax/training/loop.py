"""The training loop, the same for every method."""

import contextlib
import json
import math
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
        return _run(config, workdir, method, mesh, data, saved_checkpoints, writer, stop, profiler)


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


def _run(
    config: ml_collections.ConfigDict,
    workdir: Path,
    method: Method,
    mesh: jax.sharding.Mesh,
    data: DataPipeline,
    saved_checkpoints: checkpoints.Checkpoints,
    writer: MetricWriter,
    stop: stopping.StopTest,
    profiler: profiling.Profiler,
) -> dict[str, float]:
    goodput = Goodput()
    steps = compile_steps(method, mesh)
    batches = data.training_batches()
    last, resume_step = config.train.steps, saved_checkpoints.latest_step()
    compiling = CompilationTimer(config, starts=resume_step is None or resume_step < last)
    pretrained_items = (
        {} if resume_step is not None else pretrained.resolve_pretrained(config, method)
    )
    state = create_train_state(config, method, mesh, data, steps)
    state = pretrained.init_from_pretrained(state, pretrained_items, config, mesh)
    if resume_step is None:
        state = method.init_from_frozen(state)
    best, validations_without_gain = -math.inf, 0
    if resume_step is not None:
        state, run = saved_checkpoints.restore(state)
        batches.set_state(run["loader"])
        best, validations_without_gain = run["best"], run["validations_without_gain"]
        logging.info("resumed from step %d of %s", int(state.step), workdir)
    if writer.active:
        for folder in {workdir, writer.folder}:
            resume.write_config(config, folder)  # only now: what can't be resumed keeps its own
        writer.config(int(state.step), config)
    batch, scalars, step = None, {}, int(state.step)
    buffer = MetricBuffer(config, workdir, method.trainable)
    checkpoint_timer = stopping.CheckpointTimer(
        config.train.checkpoint_minutes, config.train.log_every
    )
    name, mode = method.best_metric
    sign = {"max": 1, "min": -1}[mode]

    def save(model_card: ModelCard | None = None) -> None:
        buffer.check_finite()
        run = {
            "loader": batches.get_state(),
            "best": best,
            "validations_without_gain": validations_without_gain,
        }
        with goodput.measure("checkpoint"):
            if model_card is not None:
                saved_checkpoints.save_best(state, model_card)
            if saved_checkpoints.save(state, run):
                goodput.save()
        checkpoint_timer.reset()

    def early_stop() -> bool:
        return 0 < config.train.early_stopping_patience <= validations_without_gain

    progress = ProgressLogger(step, last, has_bar=writer.active)
    try:
        progress.show(step, "compiling")
        while step < last and not early_stop() and not stop(saved_checkpoints.preempted, step):
            with goodput.measure("loader_wait"):
                batch = next(batches)
            clip_ids = batch.pop("clip_id")
            with profiler.step(step + 1):
                state, metrics = steps.train_step(state, sharding.shard_batch(batch, mesh))
            step += 1
            profiler.after(step, metrics)
            goodput.step()
            compiling.done()
            buffer.add(step, metrics, clip_ids)
            if step % config.train.log_every == 0 or step == last:
                means = buffer.flush()
                progress.log(step, means)
                writer.scalars(step, means, "train")
                writer.scalars(step, goodput.flush(), "time")
            else:
                progress.show(step)
            if step % config.train.validate_every == 0 or step == last:
                buffer.check_finite()
                progress.show(step, "validation")
                with goodput.measure("validation"):
                    scalars = _validate(method, mesh, steps, state, data.validation_batches())
                    logging.info("validation at step %d: %s", step, format_scalars(scalars))
                    writer.scalars(step, scalars, "validation")
                    images = _sample_images(mesh, steps, state, data)
                    writer.images(step, images, method.sample_titles)
                improved = scalars[name] * sign > best
                if step % config.train.validate_every == 0:  # train.steps may be raised later
                    state = _update_host_scalars(method, mesh, state, scalars)
                    validations_without_gain = 0 if improved else validations_without_gain + 1
                if improved:
                    best = scalars[name] * sign
                save(_model_card(config, step, scalars) if improved else None)
            elif step % config.train.checkpoint_every == 0 or checkpoint_timer.due(step):
                save()
        if 0 < step < last:
            save()
    except FloatingPointError as error:
        last_good_step = (
            None
            if batch is None
            else _last_finite_checkpoint(saved_checkpoints, state, steps, mesh, batch)
        )
        raise buffer.divergence_error(error, last_good_step) from error
    finally:
        progress.close()
    goodput.log()
    if writer.active:
        if scalars:
            writer.hparams(step, config, scalars)
        plot_scalars(writer.folder, workdir / "training.png")
    if early_stop():
        logging.info(
            "%s has not improved in %d validations; the run ends at step %d",
            name,
            validations_without_gain,
            step,
        )
    elif step < last:
        message = f"stopped at step {step}; the same command resumes there"
        raise KeyboardInterrupt(
            message if step else "stopped before step 1; there was nothing to save"
        )
    return scalars


def _last_finite_checkpoint(
    saved_checkpoints: checkpoints.Checkpoints,
    target: State,
    steps: CompiledSteps,
    mesh: jax.sharding.Mesh,
    batch: dict,
) -> int | None:
    """Returns the newest checkpoint whose weights give finite metrics; quarantines newer ones.

    Finite weights can give metrics that are not finite.
    """
    for step in reversed(saved_checkpoints.steps()):
        state, _ = saved_checkpoints.restore(target, step)
        # Donates `state`.
        target, metrics = steps.train_step(state, sharding.shard_batch(batch, mesh))
        if all(np.isfinite(value).all() for value in jax.device_get(metrics).values()):
            return step
        saved_checkpoints.quarantine(step)
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
