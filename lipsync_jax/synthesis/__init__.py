"""Dubs videos and animates images by driving audio."""

from typing import Any

_LAZY = {"generate": "dubbing", "animate": "animation"}


def __getattr__(name: str) -> Any:  # a function of any type
    """Imports `generate` and `animate` on first use, so that the command line starts at once."""
    import importlib

    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
