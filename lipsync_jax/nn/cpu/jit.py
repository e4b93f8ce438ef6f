"""Compilation with the options that a backend needs."""

from collections.abc import Callable

import jax
import jaxlib

from lipsync_jax.nn.cpu import use_cpu_kernels
from lipsync_jax.types import Argument


def cpu_compiler_options() -> dict[str, Argument]:
    """Returns XLA options for CPUs; {} unless `use_cpu_kernels` and this CPU's XLA needs some.

    jaxlib 0.10 and 0.11 give convolutions on CPU to YNNPACK, which computes large images on one
    thread; an empty list of fused operations leaves them to Eigen. Processes that train together
    deadlock where XLA's scheduler starts independent sums over devices in any order, so these
    sums keep the order of the program. Starts the backend.
    """
    if not use_cpu_kernels():
        return {}
    options: dict[str, Argument] = {}
    if (0, 10) <= _jaxlib_version() < (0, 12):
        options["xla_cpu_experimental_ynn_fusion_type"] = ""
    if jax.process_count() > 1:
        options["xla_cpu_enable_concurrency_optimized_scheduler"] = False
    return options


def jit(
    function: Callable, *, optimize: bool = True, inference: bool = False, **options: Argument
) -> Callable:
    """Calls `jax.jit` with the compiler options of the backend.

    Starts the backend: to be called inside functions, not as a decorator at import.

    Args:
        function: to compile.
        optimize: False for a program that runs once, whose optimization on a CPU takes longer than
            the optimized program saves.
        inference: True for a forward pass alone, to which XLA's higher levels on a CPU and its
            newer emitters of fused loops add half of the compilation, and little speed.
        **options: of `jax.jit`.
    """
    compiler_options = cpu_compiler_options()
    if use_cpu_kernels() and (inference or not optimize):
        compiler_options["xla_backend_optimization_level"] = 1 if optimize else 0
        # Parts that LLVM compiles side by side; each of XLA's 32 repeats what they share.
        compiler_options["xla_cpu_parallel_codegen_split_count"] = 4
    if use_cpu_kernels() and inference and _jaxlib_version() < (0, 11):  # later ones lack a choice
        compiler_options["xla_cpu_use_fusion_emitters"] = False
    return jax.jit(function, compiler_options=compiler_options, **options)


def _jaxlib_version() -> tuple[int, ...]:
    return tuple(int(part) for part in jaxlib.__version__.split(".")[:2])
