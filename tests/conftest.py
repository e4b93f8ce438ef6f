"""One device setup for all tests, made before JAX starts: 8 simulated CPU devices, no TensorFlow."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache(tmp_path_factory):
    """Equal programs of different tests compile once a session."""
    folder = tmp_path_factory.getbasetemp().parent / "lipsync_jax_xla"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
