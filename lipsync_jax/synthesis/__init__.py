"""Video or picture and speech in, video out."""

from typing import Any

_FUNCTIONS = {"generate": "dubbing", "animate": "animation"}


def __getattr__(name: str) -> Any:  # a function of any type
    """`generate` and `animate`, imported when they are wanted: the command line starts at once."""
    import importlib

    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
