"""Runs of At a Glance with FlowNet: begun, resumed, and refused."""

import json
from fractions import Fraction

import jax
import numpy as np
import pytest

from lipsync_jax.configs import flownet as flownet_config
from lipsync_jax.configs import glance as glance_config
from lipsync_jax.configs import lipgan
from lipsync_jax.data.clip import Clip, encode_frame
from lipsync_jax.data_prep import builder
from lipsync_jax.methods.flownet import method as flownet_method
from lipsync_jax.training import checkpoints, loop
from tests.helpers.networks import random_variables
from tests.helpers.runs import assert_same_run, saved_arrays


def lip_clip(name, seed):
    rng = np.random.default_rng(seed)
    return Clip(
        clip_id=name,
        speaker="a",
        frames=tuple(encode_frame(x) for x in rng.integers(0, 255, (16, 64, 64, 3), np.uint8)),
        frame_rate=Fraction(25),
        audio=rng.integers(-9000, 9000, 16 * 640).astype(np.int16),
        audio_rate=16000,
        landmarks=np.zeros((16, 5, 2), np.float32),
    )


def flownet_run(folder):
    config = flownet_config.get_config("tiny")
    config.model.width_mult = 1 / 64
    variables = random_variables(flownet_method.network(config), (64, 64, 6))
    variables["batch_stats"] = {}  # as a run saves them
    card = {"config": json.loads(config.to_json_best_effort())}
    checkpoints.export_networks(folder, {"flownet": variables}, card)
    return variables


def experiment(data, flownet, steps, trainable=True):
    config = glance_config.get_config("tiny,c,flow=flownet")
    config.data.dir, config.frozen.flownet.checkpoint = str(data), str(flownet)
    config.flow_trainable = trainable
    config.model.update(width_mult=1 / 32, residual_blocks=1)
    config.discriminators.clip.model.width_mult = 1 / 32
    config.data.update(batch_size=2, validation_batch_size=2, validation_clips=2)
    config.train.update(steps=steps, validate_every=2, checkpoint_every=1, log_every=1)
    config.optimizer.update(warmup_steps=0, lr_decay_steps=0)
    return config


@pytest.mark.slow
@pytest.mark.usefixtures("quick_programs")
def test_a_resumed_run_goes_on_with_its_trained_flow(tmp_path):
    data, flownet = tmp_path / "data", tmp_path / "flownet"
    clips = {
        split: [lip_clip(f"{split}/{i}", i) for i in range(2)]
        for split in ("train", "validation", "test")
    }
    builder.write_clips(clips, data, "lips", "lips64", shards=2)
    start = flownet_run(flownet)
    for folder, stops in (("whole", (2,)), ("parts", (1, 2))):
        for steps in stops:
            loop.train(experiment(data, flownet, steps), tmp_path / folder)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    saved = saved_arrays(tmp_path / "whole")
    tuned = {name: x for name, x in saved.items() if name.startswith("flownet_tuned['params']")}
    first = jax.tree.leaves(start["params"])
    assert len(tuned) == len(first) and not any(name.startswith("flownet[") for name in saved)
    largest = max(np.abs(x).max() for x in first)
    # Two steps from the checkpoint, not from random weights.
    moved = [np.abs(a - b).max() for a, b in zip(tuned.values(), first, strict=True)]
    assert 0 < max(moved) < 1e-3 < largest
    with pytest.raises(ValueError, match=r"flow_trainable True -> False.*Give the old"):
        loop.train(experiment(data, flownet, 2, trainable=False), tmp_path / "whole")


def test_a_checkpoint_of_another_method_is_refused_in_one_sentence(tmp_path):
    card = {"config": lipgan.get_config("tiny").to_dict()}
    checkpoints.export_networks(
        tmp_path / "run", {"generator": {"params": {"a": np.ones(1)}}}, card
    )
    with pytest.raises(ValueError, match=r"holds a lipgan; it must be a flownet, a run of"):
        loop.load_method(experiment("data", tmp_path / "run", 1))
