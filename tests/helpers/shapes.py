"""The run-time check of the shapes in annotations, for jaxtyping's import hook."""

import types
import typing
from typing import Any, Union

import jaxtyping
from beartype import beartype


def check_shapes(function):
    """Checks arguments and result against their shapes once the call has returned.

    jaxtyping passes two stubs: one that is called before the function (annotated to return Any),
    and one that is called afterwards with the same arguments and the result. Only the latter checks
    here, so that an error that the function itself raises comes first. Other types than those of
    shapes are a type checker's business; arrays may be of NumPy or of JAX.
    """
    hints = {name: _only_shapes(hint) for name, hint in function.__annotations__.items()}
    if function.__annotations__.get("return", Any) is Any or set(hints.values()) <= {object}:
        return function
    function.__annotations__ = hints
    return beartype(function)


def _only_shapes(hint):
    """Returns a hint with `object` for everything that has no shape."""
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return hint.dtype[Any, hint.dim_str]
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        new = [part if part is type(None) else _scalar_or_shape(part) for part in parts]
        return object if object in new else Union[tuple(new)]  # noqa: UP007  # of a tuple
    if origin is tuple:
        new = tuple(part if part is ... else _only_shapes(part) for part in parts)
        return object if set(new) <= {object, ...} else tuple[new]
    return object


def _scalar_or_shape(hint):
    return float | int if hint in (float, int) else _only_shapes(hint)
