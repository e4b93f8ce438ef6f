"""The floors of the house: a module imports only from its own floor or those below."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "lipsync_jax.cli": 4,
    "lipsync_jax.demo": 4,
    "lipsync_jax.doctor": 4,
    "main": 4,
    "lipsync_jax.training": 3,
    "lipsync_jax.synthesis": 3,
    "lipsync_jax.evaluation": 3,
    "lipsync_jax.interop": 3,
    "lipsync_jax.data_prep": 4,
    "lipsync_jax.configs": 4,
    "lipsync_jax.methods": 2,
    "lipsync_jax.data": 2,
    "lipsync_jax.models": 1,
    "lipsync_jax.layers": 1,
    "lipsync_jax.losses": 1,
    "lipsync_jax.flow": 1,
    "lipsync_jax.audio": 0,
    "lipsync_jax.progress": 0,
    "lipsync_jax.containers": 0,
    "lipsync_jax.encoding": 0,
    "lipsync_jax.muxing": 0,
    "lipsync_jax.text": 0,
    "lipsync_jax.video": 0,
    "lipsync_jax.faces": 0,
}
FORBIDDEN = {"lipsync_jax.models": ("optax", "orbax"), "lipsync_jax.layers": ("optax", "orbax")}


def _floor(module: str) -> int | None:
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (found := FLOORS.get(".".join(parts[:length]))) is not None:
            return found
    return None


def _imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules():
    for folder in ("lipsync_jax", "data_prep", "configs"):
        for path in ROOT.glob(f"{folder}/**/*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            name = name if folder == "lipsync_jax" else f"lipsync_jax.{name}"
            yield name.removesuffix(".__init__"), path


@pytest.mark.parametrize(("module", "path"), _modules())
def test_imports_point_down(module, path):
    own = _floor(module)
    if own is None:
        assert module == "lipsync_jax", f"{module} stands on no floor; give it one"
        return
    for imported in _imports(path):
        other = _floor(imported)
        assert other is None or other <= own, f"{module} must not import {imported}"
        for root, packages in FORBIDDEN.items():
            if module.startswith(root):
                assert imported.partition(".")[0] not in packages, f"{module} imports {imported}"


def test_training_and_synthesis_never_import_tensorflow_or_torch():
    code = (
        "import sys, lipsync_jax.training.loop, lipsync_jax.synthesis.pipeline, "
        "lipsync_jax.data_prep.builder;"
        "bad = {'tensorflow', 'torch'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
