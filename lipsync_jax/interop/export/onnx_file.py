"""Writes functions as ONNX by jax2onnx."""

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from lipsync_jax.interop.export.functions import Function, Outputs
from lipsync_jax.interop.export.stablehlo import shapes
from lipsync_jax.nn.cpu import plain_programs

OPSET = 21
SUFFIX = ".onnx"
_UNUSED_RULES = ("dm_pix", "equinox", "examples")


def write(function: Function, folder: Path, metadata: Mapping[str, str]) -> None:
    """Writes a function with its weights, once ONNX's checker and shape inference pass.

    Args:
        function: what to write.
        folder: exists.
        metadata: of the file.

    Raises:
        ValueError: a package is missing, or the function can't be converted.
    """
    onnx: Any = importlib.import_module("onnx")
    model = _convert(function)
    model.graph.name = function.name
    model.doc_string = metadata["notice"]
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / f"{function.name}{SUFFIX}")


def _convert(function: Function) -> Any:
    def with_constants(*inputs: jax.Array) -> Outputs:
        return function.call(function.weights, *inputs)

    try:
        with plain_programs(), _quiet():
            return _converter().to_onnx(
                with_constants,
                inputs=shapes(function.inputs),
                model_name=function.name,
                opset=OPSET,
                input_names=[spec.name for spec in function.inputs],
                output_names=[spec.name for spec in function.outputs],
            )
    except Exception as error:  # the converter raises errors of many kinds
        raise ValueError(
            f"{function.name} can't be converted to ONNX ({type(error).__name__}: {error}); "
            "export it with --format stablehlo"
        ) from error


def _converter() -> Any:
    """Returns jax2onnx, with its rules for functions of JAX and Flax alone.

    With those for other libraries come examples, whose networks are initialized when they are
    imported, which takes minutes.
    """
    converter = importlib.import_module("jax2onnx")
    plugins = importlib.import_module("jax2onnx.plugins.plugin_system")
    absent = [f"jax2onnx.plugins.{name}" for name in _UNUSED_RULES]
    modules: dict[str, Any] = sys.modules  # None stands for a module that is not there
    modules.update(dict.fromkeys(name for name in absent if name not in modules))
    try:
        plugins.import_all_plugins()
    finally:
        for name in absent:
            if modules.get(name, name) is None:
                del modules[name]
    return converter


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the converter: plugins not found, shapes that are left to shape inference."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
