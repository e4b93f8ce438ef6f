"""What code imports: names that exist, in pages and notebooks, and no slow packages."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path


def import_names(tree: ast.AST) -> None:
    """Imports every name of this package that the code imports; fails if there is none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("lipsync_jax"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def assert_not_imported(code: str, packages: set[str]) -> None:
    """Runs code in a process of its own; fails if it imports one of the packages."""
    check = f"import sys\nbad = {packages} & set(sys.modules)\nassert not bad, bad"
    line = [sys.executable, "-c", f"{code}\n{check}"]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2])


def assert_help_imports_none(line: list[str], packages: set[str]) -> None:
    """Asks the `lipsync` command for help; fails if that imports one of the packages."""
    code = f"from lipsync_jax.cli import main\ntry: main.main({line})\nexcept SystemExit: pass"
    assert_not_imported(code, packages)
