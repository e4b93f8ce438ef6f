"""The notebooks: what a reader finds in the files, and that they run from top to bottom."""

import ast
import base64
import importlib.util
import json
import os
import re
from pathlib import Path

import pytest

from lipsync_jax.cli import _config_files
from tests.helpers import imports

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("write_badges", ROOT / "scripts" / "write_badges.py")
write_badges = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(write_badges)
# Values of the parameters cell for the test.
TINY = {
    "1_dub_a_video": "example_seconds = 0.6",
    "2_train_from_nothing": "clips, expert_steps, generator_steps, min_accuracy = 10, 2, 2, 0.0",
    "3_train_on_your_videos": "example_videos, expert_steps, generator_steps = 5, 2, 2\n"
    "min_accuracy = 0.0",
    "4_animate_and_understand": "clips, steps = 10, 2",
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Imported at the start of the kernel and of each command that the notebook runs.
CLOSED_NETWORK = """
import socket

_connect = socket.socket.connect


def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"the network is closed: {address}")
    return _connect(self, address)


socket.socket.connect = connect
"""


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param, json.loads(request.param.read_text(encoding="utf-8"))


def source(cell):
    return "".join(cell["source"])


def code_cells(notebook, tag=""):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [cell for cell in cells if not tag or tag in cell["metadata"].get("tags", [])]


def test_there_are_four():
    assert [path.stem for path in NOTEBOOKS] == list(TINY)


def test_metadata(notebook):
    path, content = notebook
    metadata = content["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert (content["nbformat"], content["nbformat_minor"]) >= (4, 5)
    assert not path.name.startswith("1") or metadata["accelerator"] == "GPU"
    for cell in content["cells"]:
        assert set(cell["metadata"]) <= {"tags", "cellView"}, "executionInfo and the like"
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[\w-]{1,64}", name) for name in ids)


def test_the_first_cell_has_a_badge_that_opens_this_notebook(notebook):
    path, content = notebook
    image, address = re.fullmatch(
        r"\[!\[Open in Colab\]\((.*?)\)\]\((.*)\)", source(content["cells"][0]).splitlines()[0]
    ).groups()
    assert (path.parent / image).is_file()
    folder = f"https://colab.research.google.com/github/{write_badges.repository()}/blob/main"
    assert address == f"{folder}/notebooks/{path.name}", "run scripts/write_badges.py"


def test_the_badge_follows_the_repository(notebook):
    path, _ = notebook
    text = path.read_text(encoding="utf-8")
    moved = write_badges.with_badge(text, "somebody/fork")
    assert moved.count("somebody/fork") == 1
    assert write_badges.with_badge(moved, write_badges.repository()) == text
    assert moved.count(write_badges.repository()) == 0


def test_only_setup_and_badges_name_the_repository():
    suffixes = {".cff", ".ipynb", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}
    folders = ("benchmarks", "configs", "data_prep", "docs", "examples", "lipsync_jax", "scripts")
    files = [path for name in folders for path in (ROOT / name).rglob("*")]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.name != "setup.py"]
    for path in files:
        if path.suffix in suffixes or path.name.startswith("Dockerfile"):
            text = path.read_text(encoding="utf-8")
            assert write_badges.repository() not in text, path
            assert "OWNER/lipsync_jax" not in text, path


def test_one_cell_installs_and_keeps_the_jax_that_is_there(notebook):
    _, content = notebook
    (install,) = code_cells(content, "install")
    assert install is code_cells(content)[0]
    for cell in code_cells(content):
        assert cell is install or "pip install" not in source(cell)
    (line,) = [line for line in source(install).splitlines() if "pip install" in line]
    assert "-q" in line.split() and "own_jax.txt" in line  # the constraint that keeps JAX
    assert not re.search(r"==|-U|--upgrade|jax\[", line)


def test_one_cell_has_the_parameters(notebook):
    path, content = notebook
    (parameters,) = code_cells(content, "parameters")
    fields = re.findall(r"^(\w+) = .*# @param", source(parameters), re.MULTILINE)
    if path.name.startswith("1"):
        assert {"face_video", "speech", "consent", "quality"} <= set(fields)
    names = {
        name
        for line in TINY[path.stem].splitlines()
        for name in re.findall(r"\w+", line.partition(" = ")[0])
    }
    given = {node.targets[0].id for node in ast.parse(source(parameters)).body}
    assert names <= given


def test_nothing_is_asked_and_no_error_is_swallowed(notebook):
    for cell in code_cells(notebook[1]):
        text = source(cell)
        assert not re.search(r"\binput\(|\bgetpass\b|^\s*except\b", text, re.MULTILINE)


def test_imports_and_configs_exist(notebook):
    for cell in code_cells(notebook[1]):
        text = re.sub(r"^\s*[!%].*$", "    pass", source(cell), flags=re.MULTILINE)
        for name in re.findall(r'"--config=([\w:]+)"', text):
            _config_files.resolve(name)
        imports.import_names(ast.parse(text))


def outputs(content):
    return [output for cell in code_cells(content) for output in cell["outputs"]]


def media(content):
    """Yields (type, bytes) of the pictures and videos in the outputs."""
    for output in outputs(content):
        for kind, data in output.get("data", {}).items():
            text = "".join(data)
            if kind.startswith("image/"):
                yield kind, base64.b64decode(text)
            for video in re.findall(r"data:(video/\w+);base64,([\w+/=]+)", text):
                yield video[0], base64.b64decode(video[1])


def assert_shown_and_clean(content):
    assert list(media(content))
    for output in outputs(content):
        assert output["output_type"] != "error" and output.get("name") != "stderr", output


def test_the_kept_outputs(notebook):
    path, content = notebook
    if outputs(content):
        assert_shown_and_clean(content)
    for kind, data in media(content):
        assert kind in ("image/jpeg", "video/mp4")
        assert len(data) < (200_000 if kind == "image/jpeg" else 600_000)
    assert path.stat().st_size < 1_500_000
    text = json.dumps(outputs(content))
    assert not re.search(r"<script|https?://(?!doi\.org)|/home/|/root/|/Users/", text)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom_without_a_network(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="pip install 'lipsync_jax[docs]'")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(CLOSED_NETWORK)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "hooks"), str(ROOT)]))
    content = nbformat.read(path, 4)
    for cell in code_cells(content, "parameters"):
        cell["source"] += "\n" + TINY[path.stem]
    folder = tmp_path / "run"
    folder.mkdir()
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(
        content, timeout=1800, startup_timeout=300, resources=resources
    ).execute()
    nbformat.validate(content)
    assert_shown_and_clean(content)
