"""Train steps compiled for a topology: shapes without data, memory, the report, the command."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from lipsync_jax import methods
from lipsync_jax.cli import (  # the last defines flags
    _config_files,
    compile_step,
    main,
    train,  # noqa: F401
)
from lipsync_jax.nn.batch_norm import batch_normalize
from lipsync_jax.nn.cpu import local_size, programs_for, use_cpu_kernels
from lipsync_jax.nn.gru import GRU
from lipsync_jax.training import checkpoints, sharding
from lipsync_jax.training.ahead_of_time import compile as ahead_of_time
from lipsync_jax.training.ahead_of_time import hlo, hlo_costs, report, shapes, topologies
from lipsync_jax.training.compiled_steps import compile_steps
from tests.conftest import toy_clip
from tests.helpers import toy_paper
from tests.helpers.toy_paper import method as toy_method

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="pip install 'lipsync_jax[tpu]'"
)
CHIP = topologies.Chip(10**9, 1e10, {"float32": 1e11})


@pytest.fixture
def toy_config():
    before = dict(methods.MODULES)
    toy_paper.register()
    yield toy_paper.get_config("toy", "", 2)
    methods.MODULES.clear()
    methods.MODULES.update(before)


def read(name, *overrides):
    config = _config_files.read(name, overrides)
    return config, compile_step.frozen_configs(config, name)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("sync_expert:tiny", {"frames": (6, 8, 5, 96, 96, 3)}),
        ("vougioukas", {"frames": (6, 75, 128, 96, 3), "mask": (6, 75)}),  # the longest bucket
        ("flownet", {"flow": (6, 64, 64, 2)}),  # makes its own examples
        ("lip_reader", {"classes": (6, 75)}),  # needs words
    ],
)
def test_batches_have_the_shapes_of_real_ones_without_data(name, shape):
    config, frozen = read(name)
    batch = shapes.abstract_method(config, frozen).batch(6)
    assert shape.items() <= {key: value.shape for key, value in batch.items()}.items()


def test_a_batch_of_the_synthetic_clip_is_like_one_of_the_loader():
    config, frozen = read("sync_expert:tiny")
    method = methods.load(config)
    clips = [toy_clip("a", 1), toy_clip("b", 2)]
    real = method.collate([method.make_example(x, np.random.default_rng(0)) for x in clips])
    batch = shapes.abstract_method(config, frozen).batch(2)
    assert {k: (v.shape, v.dtype) for k, v in real.items()} == {
        k: (v.shape, v.dtype) for k, v in batch.items()
    }


@pytest.mark.parametrize(
    ("config", "variant"),
    [
        ("wav2lip:in_the_box", "in_the_box"),
        ("wav2lip:sampling=spaced,size=tiny", "tiny"),
        ("wav2lip:size=tiny", "tiny"),
        ("wav2lip", ""),
        ("glance:tiny_table2_d", "tiny"),
    ],
)
def test_frozen_networks_take_the_variant_that_fits(config, variant):
    [frozen] = read(config)[1].values()
    assert frozen == _config_files.read(f"{frozen.method}:{variant}")


def test_a_named_checkpoint_gives_the_shapes_of_a_frozen_network(tmp_path):
    config, frozen = read("wav2lip:tiny")
    expected = shapes.abstract_method(config, frozen).frozen["expert"]
    assert expected.opt_state == () and jax.tree.leaves(expected.batch_stats)
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), expected.variables)
    card = {"config": json.loads(frozen["expert"].to_json())}
    checkpoints.export_networks(tmp_path / "expert", {"expert": variables}, card)
    config.frozen.expert.checkpoint = str(tmp_path / "expert")
    config.frozen.expert.min_accuracy = 0.0
    found = shapes.abstract_method(config, {}).frozen["expert"]
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)
    config.frozen.expert.checkpoint = ""
    with pytest.raises(ValueError, match=r"--config\.frozen\.expert\.checkpoint=RUN"):
        shapes.abstract_method(config, {})


def test_a_step_is_compiled_and_reported(toy_config, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(topologies.CHIPS, "cpu", CHIP)
    out = tmp_path / "new" / "report.json"
    status = compile_step.run(
        toy_config, "toy", "cpu:2", "fast", True, str(tmp_path / "hlo"), str(out)
    )
    text, found = capsys.readouterr().out, json.loads(out.read_text())
    assert status == 0 and found["fits"] is True
    assert (found["num_devices"], found["batch_size_per_device"]) == (2, 2)
    # Two frames of 96 x 96 pixels and a window of audio an example, and the tiny state.
    images = 2 * 2 * 96 * 96 * 3
    assert images < found["memory_bytes"]["arguments"] < 2 * images
    assert found["tflop"] > 2 * 2 * 96 * 96 * 9 / 1e12
    assert found["roofline"]["limit"] == "memory" and found["roofline"]["memory_ms"] > 0
    assert [x["kind"] for x in found["collectives"]] == ["all-reduce"]
    assert 1 <= len(found["most_expensive"]) <= 5 and found["most_expensive"][0]["share"] <= 1
    assert found["estimated_from_batches"] == [2, 32]
    assert found["largest_batch_per_device_estimate"] > 100
    for word in ("fits ", "largest batch", "roofline", "all-reduce, outside loops", "toy on cpu:2"):
        assert word in text
    [program] = (tmp_path / "hlo").iterdir()
    assert program.name == "toy-cpu-2-fast.hlo.txt" and "ENTRY" in program.read_text()


def test_a_step_that_does_not_fit_ends_with_status_1(toy_config, monkeypatch, capsys):
    monkeypatch.setitem(topologies.CHIPS, "cpu", topologies.Chip(1000, 1e10, {"float32": 1e11}))
    assert compile_step.run(toy_config, "toy", "cpu:2", "full", False, None, None) == 1
    assert "does not fit" in capsys.readouterr().out


def test_without_published_figures_nothing_is_said_about_them(toy_config, capsys):
    assert compile_step.run(toy_config, "toy", "cpu:2", "fast", True, None, "-") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] is found["roofline"]["limit"] is None
    assert found["largest_batch_per_device_estimate"] is None
    toy_config.data.batch_size = 6
    with pytest.raises(ValueError, match=r"config\.data\.batch_size=6 .* 4 devices"):
        compile_step.run(toy_config, "toy", "cpu:4", "fast", True, None, None)


def test_a_second_batch_is_far_from_the_first():
    def others(size, total, limit=1600):
        memory = report.Memory(total, 0, 0, 0) if total else None
        return ahead_of_time.other_batches(size, memory, limit)

    assert others(4, 100) == [48, 8, 2]  # 12 times as much memory is still within the limit
    assert others(4, 10) == [64, 8, 2]
    assert others(1, 1500) == [2]
    assert others(64, 1601) == others(64, None) == [32, 16, 8, 2, 1]
    assert others(2, None) == [1] and others(1, None) == []


def test_the_largest_batch_lies_on_a_line():
    assert ahead_of_time.largest_batch({4: 140, 8: 240}, 1000) == 38  # 40 + 25 an example
    assert ahead_of_time.largest_batch({4: 140, 8: 240}, 30) == 0
    assert ahead_of_time.largest_batch({4: 140}, 1000) is None
    assert ahead_of_time.largest_batch({4: 140, 8: 140}, 1000) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("v5e", "expected KIND:SIZE with KIND one of v4, v5e"),
        ("v9:2x2", "expected KIND:SIZE"),
        ("v5e:2xx2", "expected KIND:SIZE"),
        ("cpu:0", "expected KIND:SIZE"),
        ("cpu:2x2", "cpu takes a number, e.g. cpu:2"),
        ("cpu:1000", "JAX has started with 8 CPU devices"),
        ("h100:12", "a multiple of 8, the GPUs of a host"),
    ],
)
def test_topologies_that_do_not_exist(name, problem):
    jax.devices()  # starts JAX
    with pytest.raises(ValueError, match=problem):
        topologies.find(name)


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("v5e:2x2", "libtpu", "tpu"), ("h100:8", "jax_plugins", "cuda")]
)
def test_a_compiler_that_is_not_installed(name, module, extra, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda x: None if x == module else find_spec(x)
    )
    with pytest.raises(ValueError, match=rf"pip install 'lipsync_jax\[{extra}\]'"):
        topologies.find(name)


def test_the_command_refuses_bad_options_before_it_compiles(toy_config, tmp_path):
    with pytest.raises(ValueError, match="--topology=KIND:SIZE"):
        compile_step.run(toy_config, "toy", None, "fast", True, None, None)
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        compile_step.run(toy_config, "toy", "cpu:2", "fast", True, None, str(tmp_path))
    assert "compile" in main.ABSL_COMMANDS and "compile" in flags.FLAGS["mode"].parser.enum_values


@needs_libtpu
@pytest.mark.parametrize(
    ("name", "devices", "gibibytes"),
    [("v5e:2x2", 4, 16), ("v5e:8x8", 64, 16), ("tpu7x:2x2x1", 8, 96)],  # two devices a chip
)
def test_devices_of_tpus_share_the_figures_of_their_chip(name, devices, gibibytes):
    found = topologies.find(name)
    assert (len(found.devices), found.chip.memory >> 30) == (devices, gibibytes)
    assert found.devices[0].platform == "tpu"
    with pytest.raises(ValueError, match="the compiler for tpu knows no such topology"):
        topologies.find("v5e:3x5")


def gradients_of_a_gru(topology_name):
    """Compiles the gradients of a GRU of 64 features over 12 steps, batch 8 a device."""
    mesh = sharding.make_mesh(topologies.find(topology_name).devices)
    module, split = GRU(64), sharding.batch_sharding(mesh)
    x = jax.ShapeDtypeStruct((8 * mesh.size, 12, 64), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)

    def loss(variables, x):
        return (module.apply(variables, x)[1] ** 2).mean()

    whole = sharding.replicated_sharding(mesh)
    step = jax.jit(jax.grad(loss), in_shardings=(whole, split), out_shardings=whole)
    return hlo.Program(ahead_of_time.compile_lowered(step.lower(variables, x)).as_text())


@needs_libtpu
def test_a_gru_reduces_its_gradients_after_the_loop():
    found = hlo_costs.collectives(gradients_of_a_gru("v5e:2x2"))
    assert sum(x.count for x in found if x.kind == "all-reduce") > 0
    assert [x for x in found if x.in_loop] == []


@needs_libtpu
def test_a_batch_norm_stores_nothing_but_its_gradient_on_tpus():
    """Both sums of a pass read the input once, and are one sum over devices."""
    mesh = sharding.make_mesh(topologies.find("v5e:2x2").devices)
    whole, split = sharding.replicated_sharding(mesh), sharding.batch_sharding(mesh)
    x = jax.ShapeDtypeStruct((8 * mesh.size, 32, 32, 128), jnp.float32)
    vector = jax.ShapeDtypeStruct(x.shape[-1:], jnp.float32)

    def loss(x, *vectors):
        return (batch_normalize(x, *vectors[:2], None, vectors[2], 1e-5)[0] ** 2).sum()

    step = jax.jit(jax.grad(loss), in_shardings=(split, *[whole] * 3), out_shardings=split)
    with programs_for("tpu", mesh.size):
        lowered = step.lower(x, *[vector] * 3)
    program = hlo.Program(ahead_of_time.compile_lowered(lowered, "fast").as_text())
    traffic = sum(operation.bytes for operation in hlo_costs.operations(program))
    own_bytes = x.size * 4 // mesh.size
    assert traffic < 4.5 * own_bytes  # read forward, twice backward; the gradient written
    assert sum(found.count for found in hlo_costs.collectives(program)) == 2


@needs_libtpu
@pytest.mark.slow
def test_a_step_that_a_tpu_refuses(toy_config):
    toy_config.data.batch_size = 400_000
    found = ahead_of_time.compile_step(toy_config, "v5e:1x1", {}, effort="fast")
    assert found.fits is False and found.memory is None
    assert "RESOURCE_EXHAUSTED" in found.refusal and 0 < found.largest_batch < 400_000
    assert "the compiler refuses the program" in report.to_text(found)


@needs_libtpu
@pytest.mark.slow
def test_the_expert_for_a_tpu_has_native_convolutions():
    config, _ = read("sync_expert:tiny", "--config.data.batch_size=16")
    found = ahead_of_time.compile_step(config, "v5e:2x2", {}, effort="fast", estimate_batch=False)
    assert found.fits and 0 < sum(found.convolutions.values()) < 100
    assert found.operations[0].cycles >= 0 and found.most_expensive()[0].startswith(
        "the compiler's"
    )
    large = [x for x in found.collectives if x.kind == "all-reduce" and not x.small]
    assert sum(x.count for x in large) == 1  # of all gradients together


@pytest.mark.parametrize(
    ("topology", "seen"),
    [("cpu:4", (True, 2)), pytest.param("v5e:2x2", (False, 2), marks=needs_libtpu)],
)
def test_the_devices_of_a_mesh_decide_over_the_program(topology, seen, toy_config):
    asked = {}

    class Asking(toy_method.Toy):
        def init(self, key, batch):
            asked["init"] = use_cpu_kernels(), local_size(8)
            return super().init(key, batch)

        def train_step(self, state, batch, key):
            asked["train_step"] = use_cpu_kernels(), local_size(8)
            return super().train_step(state, batch, key)

    method = Asking(toy_config, {})
    steps = compile_steps(method, sharding.make_mesh(topologies.find(topology).devices))
    abstract = shapes.AbstractMethod(method, shapes.abstract_example(method), {})
    batch = abstract.batch(8)
    steps.train_step.eval_shape(abstract.state(steps, batch), batch)
    assert asked == {"init": seen, "train_step": seen}


@pytest.mark.skipif(
    importlib.util.find_spec("jax_plugins") is None, reason="pip install 'lipsync_jax[cuda]'"
)
@pytest.mark.slow
def test_a_loss_that_is_off_gathers_nothing_on_gpus():
    """A branch within the step would gather the masks of the frozen expert on every GPU."""
    config, frozen = read("wav2lip:tiny", "--config.data.batch_size=32")
    found = ahead_of_time.compile_step(config, "h100:8", frozen, estimate_batch=False)
    assert found.fits and sum(found.convolutions.values()) > 0
    assert "all-gather" not in {x.kind for x in found.collectives}
