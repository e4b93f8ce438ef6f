"""Code in pages and notebooks imports what exists."""

import ast
import importlib


def import_names(tree: ast.AST) -> None:
    """Imports every name of this package that the code imports; fails if there is none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("lipsync_jax"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
