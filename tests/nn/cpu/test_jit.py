import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

from lipsync_jax.nn.cpu import jit as compilation

OPTION = "xla_cpu_experimental_ynn_fusion_type"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.9.2", {}),
        ("0.10.2", {OPTION: ""}),
        ("0.11.2", {OPTION: ""}),
        ("0.12.0.1", {}),
        ("0.13.0.dev20270101", {}),
    ],
)
def test_one_thread_convolutions_are_avoided_where_jaxlib_has_them(monkeypatch, version, expected):
    monkeypatch.setattr(jaxlib, "__version__", version)
    assert compilation.cpu_compiler_options() == expected


def test_processes_sum_in_one_order(monkeypatch):
    monkeypatch.setattr(jaxlib, "__version__", "0.12.0")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    options = compilation.cpu_compiler_options()
    assert options == {"xla_cpu_enable_concurrency_optimized_scheduler": False}


def test_other_backends_get_no_options(monkeypatch):
    monkeypatch.setattr(jaxlib, "__version__", "0.10.2")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compilation.cpu_compiler_options() == {}


@pytest.mark.parametrize(
    ("fields", "level"),
    [({}, None), ({"inference": True}, 1), ({"optimize": False, "inference": True}, 0)],
)
def test_levels_of_optimization(monkeypatch, fields, level):
    monkeypatch.setattr(jax, "jit", lambda function, compiler_options: compiler_options)
    name = "xla_backend_optimization_level"
    assert compilation.jit(None, **fields).get(name) == level
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert name not in compilation.jit(None, **fields)


@pytest.mark.parametrize("processes", [1, 2])
def test_installed_jaxlib_takes_the_options(monkeypatch, processes):
    monkeypatch.setattr(jax, "process_count", lambda: processes)

    def convolve(x, kernel, scale):
        return scale * jax.lax.conv(x, kernel, (1, 1), "VALID")

    x, kernel = jnp.ones((1, 2, 5, 5)), jnp.ones((3, 2, 3, 3))
    out = compilation.jit(convolve, inference=True, static_argnames="scale")(x, kernel, scale=2)
    np.testing.assert_array_equal(out, jnp.full((1, 3, 3, 3), 36.0))
