"""Programs of inference are found again by other processes, before anything is traced."""

import logging

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import user_cache
from lipsync_jax.nn import folding
from lipsync_jax.nn.conv import ConvBlock
from lipsync_jax.training import inference_function
from lipsync_jax.training.inference_function import InferenceFunction


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return ConvBlock(4, name="block")(x, train)


FACES = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def programs(tmp_path, monkeypatch):
    """Keeps programs, in a folder of the test."""
    monkeypatch.setattr(inference_function, "keeps_programs", lambda: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return user_cache.folder("programs")


def network(traced, identity="network", factor=1.0):
    """Returns a function of a folded convolution, and its variables before and after folding."""
    shapes = jax.eval_shape(Network().init, jax.random.key(0), FACES)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda v: rng.uniform(0.5, 1, v.shape).astype(np.float32), shapes)
    layers: folding.Layers = {}

    def apply(variables, faces):
        traced.append(len(faces))
        with folding.skip_batch_norm() as found:
            result = factor * Network().apply(variables, faces)
        layers.update(found)
        return result

    function = InferenceFunction(apply, layers, identity)
    function.prepare(variables, jax.ShapeDtypeStruct(FACES.shape, FACES.dtype))
    folded = jax.device_put(folding.fold_batch_norm(variables, layers))
    return function, folded, factor * Network().apply(variables, FACES)


def test_a_kept_program_is_neither_traced_nor_compiled_again(programs):
    traced = []
    function, variables, expected = network(traced)
    first = function(variables, FACES)
    np.testing.assert_allclose(first, expected, atol=1e-5)
    assert traced == [2] and len([*programs.iterdir()]) == 1

    function, variables, _ = network(traced)
    np.testing.assert_array_equal(function(variables, FACES), first)
    assert function.layers and traced == [2]


def test_another_shape_network_or_precision_has_another_program(programs):
    traced = []
    function, variables, expected = network(traced)
    function(variables, FACES)
    np.testing.assert_allclose(function(variables, FACES[:1]), expected[:1], atol=1e-5)
    assert traced == [2, 1] and len([*programs.iterdir()]) == 2

    function, variables, expected = network(traced, "another network", factor=2.0)
    np.testing.assert_allclose(function(variables, FACES), expected, atol=1e-5)
    assert traced == [2, 1, 2] and len([*programs.iterdir()]) == 3

    with jax.default_matmul_precision("bfloat16"):
        network(traced)
    assert traced == [2, 1, 2, 2]


def test_a_program_depends_on_the_source_of_the_package(programs, monkeypatch):
    traced = []
    function, variables, _ = network(traced)
    function(variables, FACES)
    monkeypatch.setattr(inference_function, "_environment", lambda: ["another version"])
    network(traced)
    assert traced == [2, 2] and len([*programs.iterdir()]) == 1


@pytest.mark.parametrize("damage", [b"", b"[]", b"[]\nno program", b"not JSON\n"])
def test_a_damaged_entry_is_compiled_and_kept_again(programs, damage, caplog):
    traced = []
    function, variables, expected = network(traced)
    function(variables, FACES)
    (entry,) = programs.iterdir()
    entry.write_bytes(damage)
    with caplog.at_level(logging.DEBUG):
        function, variables, _ = network(traced)
        np.testing.assert_allclose(function(variables, FACES), expected, atol=1e-5)
    assert f"the program {entry} is compiled again" in caplog.text
    network(traced)
    assert traced == [2, 2]


def test_a_program_that_jax_has_kept_too_is_whole(programs):
    """XLA writes a program that it has read without its functions, and fails when it runs."""
    threshold = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    try:
        for _ in range(2):
            function, variables, expected = network([])
            np.testing.assert_allclose(function(variables, FACES), expected, atol=1e-5)
            (entry,) = programs.iterdir()
            entry.unlink()
            jax.clear_caches()
        function, variables, _ = network([])
        function(variables, FACES)
        function, variables, _ = network([])
        np.testing.assert_allclose(function(variables, FACES), expected, atol=1e-5)
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", threshold)


def test_without_an_identity_or_a_cache_folder_nothing_is_kept(programs, monkeypatch, tmp_path):
    function, variables, expected = network([], identity=None)
    np.testing.assert_allclose(function(variables, FACES), expected, atol=1e-5)
    assert not programs.exists()
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    function, variables, expected = network([])
    np.testing.assert_allclose(function(variables, FACES), expected, atol=1e-5)


def test_where_only_jax_keeps_programs_it_finds_them_by_their_name(programs, monkeypatch):
    monkeypatch.setattr(inference_function, "keeps_programs", lambda: False)
    names = set()
    for _ in range(2):
        function, variables, expected = network([])
        names.add(
            function._jitted.lower(variables, FACES).as_text().split("module @")[1].split()[0]
        )
        np.testing.assert_allclose(function(variables, FACES), expected, atol=1e-5)
    assert names == {"jit_apply"} and not programs.exists()


def test_variables_of_another_network_are_refused():
    function, variables, _ = network([])
    del variables["batch_stats"]
    with pytest.raises(LookupError):
        function.prepare(variables, jnp.zeros((3, 8, 8, 3)))
