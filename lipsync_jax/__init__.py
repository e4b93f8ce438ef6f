"""Speech-driven faces in JAX/Flax.

    from lipsync_jax import generate
    generate("workdir", "face.mp4", "speech.wav", "out.mp4")

Submodules are imported on first use, so `import lipsync_jax` stays quick.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_PUBLIC = {
    "generate": "lipsync_jax.synthesis.dubbing",
    "animate": "lipsync_jax.synthesis.animation",
    "train": "lipsync_jax.training.loop",
    "evaluate": "lipsync_jax.training.loop",
    "convert": "lipsync_jax.interop.convert",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:  # a function or class of any type
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lipsync_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
