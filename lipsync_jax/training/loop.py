"""The training loop: it knows what a method is, and no paper."""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grain
import jax
import ml_collections
import numpy as np
from absl import logging

from lipsync_jax import methods
from lipsync_jax.data import loader
from lipsync_jax.methods.base import Method, PlayerState, State
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.training import (
    arrays,
    checkpoints,
    inputs,
    pretrained,
    resume,
    run_lock,
    sharding,
    stopping,
)
from lipsync_jax.training.metric_writer import Progress, Writer, plot
from lipsync_jax.training.watch import Compiling, Watch, told
from lipsync_jax.types import Argument, Card, Native, Tree


@dataclass(frozen=True)
class Steps:
    """A method's functions, compiled for a mesh; each is traced once per shape."""

    init: Callable[[jax.Array, dict], State]
    # (State, batch) -> (State, scalars), as `jax.jit` returns it: it has `eval_shape`, too.
    update: Native
    measure: Callable[[State, dict], dict]
    pictures: Callable[[State, dict], tuple]


def compile_steps(method: Method, mesh: jax.sharding.Mesh) -> Steps:
    """Jits a method over a mesh: the batch is split along `data`, the state is on every device."""
    same, split = sharding.replicated(mesh), sharding.along_batch(mesh)

    def update(state: State, batch: dict) -> tuple[State, dict]:
        return method.update(state, batch, jax.random.fold_in(state.key, state.step))

    def measure(state: State, batch: dict) -> dict:
        return {**method.measure(state, batch), "valid": batch["valid"]}

    shared: dict[str, Argument] = {"in_shardings": (same, split), "out_shardings": same}
    return Steps(
        init=jit(method.init, once=True, **shared),
        update=jit(update, donate_argnums=0, **shared),
        measure=jit(measure, **shared),
        pictures=jit(method.pictures, **shared),
    )


def load_method(config: ml_collections.ConfigDict) -> Method:
    """The config's method, with the cards of the frozen networks it names.

    Raises:
        ValueError: the config, or a network it names, lacks something; says what to do.
    """
    inputs.require(config, with_data=False)
    cards = {}
    for name, frozen in config.frozen.items():
        cards[name] = checkpoints.read_card(frozen.checkpoint)
        inputs.require_method(config, name, cards[name])
        with checkpoints.fitting(frozen.checkpoint):
            methods.load(ml_collections.ConfigDict(cards[name]["config"]))
    method = methods.load(config, cards)
    method.check()
    return method


def train(
    config: ml_collections.ConfigDict, workdir: str | Path, allow_changes: bool = False
) -> dict[str, float]:
    """Trains a method, resuming where `workdir` stands.

    Args:
        config: a whole experiment, see configs/.
        workdir: the run's folder; made when missing.
        allow_changes: resume with another seed, batch, data or model than the run was begun with.

    Returns:
        The last validation's scalars.

    Raises:
        ValueError: config, data or checkpoints don't fit, or another process trains in `workdir`;
            said before any step.
        FloatingPointError: a loss or weight stopped being finite; says how to go on.
        KeyboardInterrupt: SIGTERM, SIGHUP or Ctrl-C came; everything is saved.
    """
    inputs.require(config)
    workdir = Path(workdir).absolute()
    method = load_method(config)
    mesh = sharding.make_mesh()
    data = Data(config, method, mesh)
    workdir.mkdir(parents=True, exist_ok=True)
    learning = tuple(n for n, p in method.players.items() if p.optimiser)
    first = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        if first:
            stack.enter_context(run_lock.hold(workdir))
        stop = stack.enter_context(stopping.on_signals())
        gap = max(config.train.validate_every, config.train.checkpoint_every)
        saved = checkpoints.Checkpoints(workdir, learning, config.train.keep, gap)
        stack.callback(saved.close)
        if saved.latest_step() is not None:
            resume.check(config, workdir, allow_changes)
        writer = Writer(workdir, active=first)
        stack.callback(writer.close)
        return _run(config, workdir, method, mesh, data, saved, writer, stop)


def evaluate(
    config: ml_collections.ConfigDict, workdir: str | Path, split: str
) -> dict[str, float]:
    """Measures a run's best checkpoint on every clip of a split.

    Args:
        config: the run's config.
        workdir: the run's folder.
        split: `validation` or `test`.

    Returns:
        The method's scalars.
    """
    inputs.require(config)
    method = load_method(config)
    mesh = sharding.make_mesh()
    data = Data(config, method, mesh)
    steps = compile_steps(method, mesh)
    state = fresh_state(config, method, mesh, data, steps)
    players = dict(state.players)
    for name, player in method.players.items():
        if player.optimiser:
            item = checkpoints.find_player(workdir, name)
            checkpoints.require_same(item, state.players[name].variables)
            variables = checkpoints.read_item(item)
            players[name] = PlayerState(**sharding.replicate(variables, mesh))
    state = state.replace(players=players)
    return _validate(method, mesh, steps, state, data.validation(split, limit=0))


class Data:
    """The config's data set as this host's batches.

    Args:
        config: the experiment.
        method: makes examples of clips.
        mesh: the devices a batch is split over.

    Raises:
        FileNotFoundError, ValueError: no such data, or its crops or batch sizes don't fit.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, method: Method, mesh: jax.sharding.Mesh
    ) -> None:
        self._config, self._method = config.data, method
        self._seed = config.seed
        self._host = {"process": jax.process_index(), "processes": jax.process_count()}
        self._batch = sharding.local_batch_size(config.data.batch_size, mesh)
        self._validation_batch = sharding.local_batch_size(
            config.data.validation_batch_size, mesh, "config.data.validation_batch_size"
        )
        self._clips: dict[str, loader.Source] = {}
        made = method.source("train")
        if made is None:
            self._folder = loader.find_dataset(config.data.dir, config.data.geometry)
            clips = loader.Clips(self._folder, "train")
            loader.check_geometry(clips, config.data.geometry)
            self._clips["train"] = clips
            logging.info("%d training clips in %s", len(clips), self._folder)
        else:
            self._clips["train"] = made

    def training(self) -> grain.DatasetIterator:
        """Endless batches; the same from the start at every call."""
        return loader.training_batches(
            self._clips["train"],
            self._method.example,
            self._batch,
            seed=self._seed,
            collate=self._method.collate,
            threads=self._config.threads,
            **self._host,
        )

    def validation(self, split: str = "validation", limit: int | None = None) -> Iterator[dict]:
        """One pass over a split."""
        if split not in self._clips:
            made = self._method.source(split)
            self._clips[split] = loader.Clips(self._folder, split) if made is None else made
        clips = self._clips[split]
        return loader.validation_batches(
            clips,
            self._method.validation_example,
            self._validation_batch,
            limit=self._config.validation_clips if limit is None else limit,
            collate=self._method.collate,
            **self._host,
        )


def _run(
    config: ml_collections.ConfigDict,
    workdir: Path,
    method: Method,
    mesh: jax.sharding.Mesh,
    data: Data,
    saved: checkpoints.Checkpoints,
    writer: Writer,
    stop: stopping.Stop,
) -> dict[str, float]:
    steps = compile_steps(method, mesh)
    batches = data.training()
    last, resumed = config.train.steps, saved.latest_step()
    compiling = Compiling(config, begun=resumed is None or resumed < last)
    weights = {} if resumed is not None else pretrained.find(config, method)
    state = fresh_state(config, method, mesh, data, steps)
    state = pretrained.begin(state, weights, config, mesh)
    best, waited = -math.inf, 0
    if resumed is not None:
        state, run = saved.restore(state)
        batches.set_state(run["loader"])
        best, waited = run["best"], run.get("waited", 0)
        logging.info("resumed from step %d of %s", int(state.step), workdir)
    if writer.active:
        resume.record(config, workdir)  # only now: a run that can't go on keeps its own
    batch, scalars, step = None, {}, int(state.step)
    learning = tuple(name for name, player in method.players.items() if player.optimiser)
    progress, watch = Progress(step, last), Watch(config, workdir, learning)
    clock = stopping.Clock(config.train.checkpoint_minutes, config.train.log_every)
    name, sign = method.best

    def save(card: Card | None = None) -> None:
        watch.check()
        if card is not None:
            saved.save_best(state, card)
        saved.save(state, {"loader": batches.get_state(), "best": best, "waited": waited})
        clock.reset()

    def done() -> bool:
        return 0 < config.train.patience <= waited

    try:
        while step < last and not done() and not stop(saved.preempted, step):
            batch = next(batches)
            clip_ids = batch.pop("clip_id")
            state, figures = steps.update(state, sharding.to_devices(batch, mesh))
            step += 1
            compiling.done()
            watch.see(step, figures, clip_ids)
            if step % config.train.log_every == 0 or step == last:
                means = watch.means()
                progress.line(step, means)
                writer.scalars(step, means, "train")
            if step % config.train.validate_every == 0 or step == last:
                watch.check()
                scalars = _validate(method, mesh, steps, state, data.validation())
                logging.info("validation at step %d: %s", step, told(scalars))
                writer.scalars(step, scalars, "validation")
                writer.sheet(step, _pictures(mesh, steps, state, data))
                gained = scalars[name] * sign > best
                if step % config.train.validate_every == 0:  # not at an end that may move
                    state = _steered(method, mesh, state, scalars)
                    waited = 0 if gained else waited + 1
                if gained:
                    best = scalars[name] * sign
                save(_card(config, step, scalars) if gained else None)
            elif step % config.train.checkpoint_every == 0 or clock.due(step):
                save()
        if 0 < step < last:
            save()
    except FloatingPointError as error:
        good = None if batch is None else _last_good(saved, state, steps, mesh, batch)
        raise watch.diverged(error, good) from error
    if writer.active:
        plot(workdir, workdir / "training.png")
    if done():
        logging.info("%s has not gained in %d validations; the run ends at %d", name, waited, step)
    elif step < last:
        where = f"stopped at step {step}; the same command resumes there"
        raise KeyboardInterrupt(where if step else "stopped before step 1; nothing was to be saved")
    return scalars


def _last_good(
    saved: checkpoints.Checkpoints, like: State, steps: Steps, mesh: jax.sharding.Mesh, batch: dict
) -> int | None:
    """The newest checkpoint whose weights give finite figures; newer ones are set aside.

    Weights are finite long before what they compute is.
    """
    for step in reversed(saved.steps()):
        state, _ = saved.restore(like, step)
        like, figures = steps.update(state, sharding.to_devices(batch, mesh))  # donates `state`
        if all(np.isfinite(value).all() for value in jax.device_get(figures).values()):
            return step
        saved.set_aside(step)
    return None


def fresh_state(
    config: ml_collections.ConfigDict,
    method: Method,
    mesh: jax.sharding.Mesh,
    data: Data,
    steps: Steps,
) -> State:
    """The state before the first step, frozen players read from their checkpoints."""
    batch = next(iter(data.training()))
    batch.pop("clip_id")
    batch = sharding.to_devices(batch, mesh)
    state = steps.init(sharding.replicate(jax.random.key(config.seed), mesh), batch)
    frozen = {}
    for name, variables in _read_frozen(config, state, batch, steps).items():
        frozen[name] = PlayerState(**sharding.replicate(variables, mesh))
    return state.replace(players={**state.players, **frozen})


def _read_frozen(
    config: ml_collections.ConfigDict, state: State, batch: dict, steps: Steps
) -> dict[str, Tree]:
    """The variables of the frozen players; a step is traced with their shapes before any is read.

    Its compilation takes that trace, so that it costs nothing.
    """
    sources = config.frozen
    items = {
        name: checkpoints.find_player(source.checkpoint, source.player)
        for name, source in sources.items()
    }
    if not items:
        return {}
    shown = {name: PlayerState(**arrays.shapes(item)) for name, item in items.items()}
    folders = ", ".join(str(item.parent) for item in items.values())
    with checkpoints.fitting(folders, checkpoints.OTHER_SHAPES):
        steps.update.eval_shape(state.replace(players={**state.players, **shown}), batch)
    return {name: checkpoints.read_item(item) for name, item in items.items()}


def _validate(
    method: Method, mesh: jax.sharding.Mesh, steps: Steps, state: State, batches: Iterator[dict]
) -> dict[str, float]:
    rows: list[dict[str, np.ndarray]] = []
    for batch in batches:
        batch.pop("clip_id")
        rows.append(jax.device_get(steps.measure(state, sharding.to_devices(batch, mesh))))
    measured = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    valid = measured.pop("valid") > 0
    return method.summarise({name: values[valid] for name, values in measured.items()})


def _pictures(mesh: jax.sharding.Mesh, steps: Steps, state: State, data: Data) -> tuple:
    batch = next(data.validation())
    batch.pop("clip_id")
    return jax.device_get(steps.pictures(state, sharding.to_devices(batch, mesh)))


def _steered(
    method: Method, mesh: jax.sharding.Mesh, state: State, scalars: Mapping[str, float]
) -> State:
    before = {name: float(value) for name, value in state.schedule.items()}
    after = method.steer(before, scalars)
    if after == before:
        return state
    logging.info("schedule: %s -> %s", told(before), told(after))
    schedule = {name: np.float32(value) for name, value in after.items()}
    return state.replace(schedule=sharding.replicate(schedule, mesh))


def _card(
    config: ml_collections.ConfigDict, step: int, scalars: Mapping[str, float]
) -> dict[str, Tree]:
    return {
        "config": json.loads(config.to_json_best_effort()),
        "step": step,
        "validation": dict(scalars),
    }
