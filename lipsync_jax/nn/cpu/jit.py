"""How programs are compiled: the one place that knows a backend's traps."""

from collections.abc import Callable

import jax
import jaxlib

from lipsync_jax.types import Argument


def cpu_compiler_options() -> dict[str, Argument]:
    """XLA options for the default backend; {} unless it is a CPU that needs them.

    jaxlib 0.10 and 0.11 hand convolutions on CPU to YNNPACK, which runs large pictures on one
    thread; emptying the list of fused operations gives them back to Eigen. Processes that train
    together wait for each other for ever where XLA's scheduler lets independent sums over devices
    start in any order, so they keep to the program's. Starts the backend.
    """
    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, Argument] = {}
    version = tuple(int(part) for part in jaxlib.__version__.split(".")[:2])
    if (0, 10) <= version < (0, 12):
        options["xla_cpu_experimental_ynn_fusion_type"] = ""
    if jax.process_count() > 1:
        options["xla_cpu_enable_concurrency_optimized_scheduler"] = False
    return options


def jit(function: Callable, *, once: bool = False, **options: Argument) -> Callable:
    """`jax.jit` with this backend's compiler options.

    Starts the backend, so call it inside functions, not as a decorator at import.

    Args:
        function: what to compile.
        once: it runs a single time, so that optimising it costs more than it saves.
        **options: of `jax.jit`.
    """
    compiler_options = cpu_compiler_options()
    if once and jax.default_backend() == "cpu":
        compiler_options["xla_backend_optimization_level"] = 0
    return jax.jit(function, compiler_options=compiler_options, **options)
