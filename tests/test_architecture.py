"""The floors of the house: a module imports only from its own floor or those below."""

import ast
import os
from pathlib import Path

import pytest

from tests.helpers.imports import assert_not_imported

ROOT = Path(__file__).parents[1]
FLOORS = {
    "main": 6,
    "lipsync_jax.configs": 6,
    "lipsync_jax.data_prep": 6,
    "lipsync_jax.web": 6,
    "lipsync_jax.cli": 6,
    "lipsync_jax.personalization": 6,
    "lipsync_jax.live": 5,
    "lipsync_jax.evaluation": 5,
    "lipsync_jax.synthesis": 4,
    "lipsync_jax.diagnostics": 4,
    "lipsync_jax.interop": 4,
    "lipsync_jax.training": 3,
    "lipsync_jax.methods": 2,
    "lipsync_jax.data": 1,
    "lipsync_jax.faces": 1,
    "lipsync_jax.provenance": 1,
    "lipsync_jax.media": 0,
    "lipsync_jax.nn": 0,
    "lipsync_jax.ops": 0,
    "lipsync_jax.folder_lock": 0,
    "lipsync_jax.losses": 0,
    "lipsync_jax.paths": 0,
    "lipsync_jax.hub": 0,
    "lipsync_jax.processes": 0,
    "lipsync_jax.progress": 0,
    "lipsync_jax.text": 0,
    "lipsync_jax.types": 0,
    "lipsync_jax.user_cache": 0,
    "lipsync_jax.web_guard": 0,
    "lipsync_jax.weights": 0,
}
FORBIDDEN = {"lipsync_jax.nn": ("optax", "orbax"), "lipsync_jax.ops": ("optax", "orbax")}
# All that a model.py imports.
COMMON_NETWORKS = ("recurrent_generator", "sequence_discriminator")  # of methods.common
NETWORK = ("lipsync_jax.nn", "lipsync_jax.losses", "lipsync_jax.ops", "lipsync_jax.types")


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


@pytest.mark.skipif(os.name == "nt", reason="links are files where Git can't make them")
@pytest.mark.parametrize("name", ["configs", "data_prep"])
def test_mypy_finds_what_is_installed_inside_the_package(name):
    """Without the links mypy takes each import of them for a library without annotations."""
    assert (ROOT / "typings" / "lipsync_jax" / name).resolve() == ROOT / name


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
        "import lipsync_jax.training.loop, lipsync_jax.synthesis.dubbing, "
        "lipsync_jax.data_prep.builder"
    )
    assert_not_imported(code, {"tensorflow", "torch"})


def test_reading_a_data_set_imports_neither_jax_nor_grain():
    """They take two seconds, of `lipsync data stats` for one."""
    code = "import lipsync_jax.data.statistics, tensorflow_datasets"
    assert_not_imported(code, {"jax", "grain"})


@pytest.mark.parametrize("path", sorted((ROOT / "lipsync_jax" / "methods").rglob("model.py")))
def test_a_papers_network_knows_no_training(path):
    for imported in _imports(path):
        network = not {"model", *COMMON_NETWORKS}.isdisjoint(imported.split("."))
        package = (ROOT / imported.replace(".", "/")).is_dir()  # of `from a.package import model`
        if imported.startswith("lipsync_jax.") and not imported.startswith(NETWORK):
            assert network or package, f"{path} imports {imported}"


def test_programs_know_no_paper():
    """What a method can do is declared in its inference.py; `common` is shared by papers."""
    papers = {path.name for path in (ROOT / "lipsync_jax" / "methods").iterdir() if path.is_dir()}
    papers -= {"common", "__pycache__", "lip_reader"}  # evaluation measures with the lip reader
    programs = ("synthesis", "evaluation", "training", "cli", "diagnostics", "data", "faces")
    for module, path in _modules():
        if module.split(".")[1:2] and module.split(".")[1] in programs:
            found = {name for name in _imports(path) if name.startswith("lipsync_jax.methods.")}
            named = {name.split(".")[2] for name in found} & papers
            assert not named, f"{module} imports {sorted(named)}"


def test_only_media_imports_pyav():
    for module, path in _modules():
        if not module.startswith("lipsync_jax.media"):
            found = {name.partition(".")[0] for name in _imports(path)}
            assert "av" not in found or module == "lipsync_jax.diagnostics.environment", module


def test_addresses_of_checkpoints_are_resolved_in_one_place():
    """A command that reads a checkpoint can't forget that its name may be an address."""
    found = {
        module
        for module, path in _modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "hub.local"
    }
    assert found == {"lipsync_jax.training.checkpoint_folder"}


def test_packages_import_each_other_without_cycles():
    """No package imports another that imports it in turn, however far around."""
    graph = {}
    for module, path in _modules():
        own = _package(module)
        others = {_package(name) for name in _imports(path) if name.startswith("lipsync_jax.")}
        graph.setdefault(own, set()).update(others - {own})
    while graph:
        free = [package for package, needs in graph.items() if not needs & graph.keys()]
        assert free, f"these packages import each other: {sorted(graph)}"
        for package in free:
            del graph[package]


def _package(module: str) -> str:
    return ".".join(module.split(".")[:2])
