"""Checkpoints of hf:// addresses, from a hub on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lipsync_jax import hub, paths, weights
from lipsync_jax.cli import main
from lipsync_jax.configs import wav2lip
from lipsync_jax.synthesis import model_info
from lipsync_jax.training import checkpoint_folder, checkpoints, inputs
from tests.helpers import hub_server
from tests.helpers.imports import assert_not_imported

ROOT = Path(__file__).parents[1]
# Prints what `hub.local` returns for each argument, or its error.
FETCH = """
import sys
from lipsync_jax import hub
for address in sys.argv[1:]:
    try:
        folder = hub.local(address)
        files = (file for file in folder.rglob("*") if file.is_file())
        print(*sorted(file.relative_to(folder).as_posix() for file in files))
    except (ValueError, FileNotFoundError) as error:
        print(error)
"""


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """What would be fetched; the folder `tmp_path` is the copy."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    calls = []

    def snapshot_download(repository, **options):
        calls.append((repository, options["revision"], options["allow_patterns"]))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    hub._fetch.cache_clear()
    yield calls
    hub._fetch.cache_clear()


@pytest.mark.parametrize(
    ("text", "repository", "folder", "revision"),
    [
        ("hf://me/net", "me/net", "", None),
        ("hf:/me/net.v2/", "me/net.v2", "", None),  # as pathlib writes it
        ("HF://me/net/runs/a b@v1.0", "me/net", "runs/a b", "v1.0"),
        ("hf://me/net@refs/pr/3", "me/net", "", "refs/pr/3"),
        ("hf:\\me\\net\\run", "me/net", "run", None),
    ],
)
def test_addresses(text, repository, folder, revision):
    address = hub.parse(text)
    assert address == (repository, folder, revision)
    assert hub.is_address(text) and hub.parse(Path(str(address))) == address


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://me", "hf://me/net@", "hf://me/../x", "hf://me/net/../x", "hf://a/b@1/c@2"],
)
def test_other_addresses_are_refused(text):
    with pytest.raises(ValueError, match=r"--sync-model=hf:.* is no address of a checkpoint; give"):
        hub.parse(text, "--sync-model")


@pytest.mark.parametrize("text", ["runs/hf", "hf", "C:/hf", "gs://a/b"])
def test_other_paths_stay(text):
    path = Path(text)
    assert not hub.is_address(path) and hub.local(path) is path


def test_a_checkpoint_is_fetched_once_and_named_by_its_address(fetched, tmp_path):
    variables = {"params": {"w": np.arange(3, dtype=np.float32)}}
    card = {"config": wav2lip.get_config("tiny").to_dict(), "step": 7}
    checkpoints.export_networks(tmp_path / "blobs", {"generator": variables}, card)
    for file in [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]:
        link = tmp_path / "a" / "net" / file.relative_to(tmp_path / "blobs")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)  # as the cache of the library does
    folder = weights.resolve("hf://me/nets/a/net@v1", weights.DUBBING)
    assert not fetched  # nothing is read yet
    found, _ = checkpoints.load_network(folder, "generator")
    np.testing.assert_array_equal(found["params"]["w"], variables["params"]["w"])
    assert model_info.credit(folder) == "model hf://me/nets/a/net@v1 (wav2lip, trained for 7 steps)"
    assert fetched == [("me/nets", "v1", ["a/net/*"])]


def test_a_folder_that_is_not_there(fetched):
    with pytest.raises(FileNotFoundError, match="hf://me/nets/gone: the repository has no"):
        checkpoint_folder.resolve_checkpoint("hf://me/nets/gone")


def test_messages_name_the_address(fetched, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^hf://me/nets holds no checkpoint to run"):
        checkpoints.load_network(Path("hf://me/nets"), "generator")
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(ValueError, match=r"^hf://me/nets was written by `lipsync export`"):
        checkpoints.read_model_card("hf://me/nets")
    checkpoints.export_networks(tmp_path / "run", {}, {"config": {"method": "wav2lip"}})
    with pytest.raises(FileNotFoundError, match=r"^checkpoint hf://me/nets/run has no expert"):
        checkpoints.find_network("hf://me/nets/run", "expert")


def test_an_error_of_the_library_is_one_sentence(fetched, monkeypatch):
    def snapshot_download(*_, **__):
        raise OSError(28, "No space left\non device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(
        ValueError, match=r"can't be fetched: .* No space left on device; try again"
    ):
        hub.local("hf://me/nets")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["dub", "--checkpoint-path", "hf://me"], "--checkpoint-path: hf://me is no address"),
        (["dub", "--face", "hf://me/net"], "--face: hf://me/net: hf:// addresses name checkpoints"),
    ],
)
def test_wrong_addresses_are_told_by_the_parser(line, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(line)
    assert message in capsys.readouterr().err


def test_without_the_library_the_install_line_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    hub._fetch.cache_clear()
    with pytest.raises(SystemExit, match="2"):
        main.main(["dub", "--checkpoint-path", "hf://me/net", "--face", "f", "--audio", "a"])
    assert "hf://me/net: " in (error := capsys.readouterr().err)
    assert "pip install 'lipsync_jax[hf]'" in error
    with pytest.raises(ValueError, match="not installed"):
        hub.local("hf://me/net")


def test_training_takes_addresses_for_checkpoints_only(fetched):
    config = wav2lip.get_config("tiny")
    config.data.dir, config.frozen.expert.checkpoint = "data", "hf://me/nets/expert"
    inputs.require_paths(config)
    config.data.dir = "hf://me/nets"
    with pytest.raises(ValueError, match=r"--config.data.dir=hf://me/nets: hf:// addresses name"):
        inputs.require_paths(config)
    with pytest.raises(ValueError, match="hf:// addresses name checkpoints"):
        paths.absolute("hf://me/nets")
    assert not fetched


def test_nothing_imports_the_library_unasked():
    code = "from lipsync_jax import hub, weights; hub.local(weights.resolve('runs/a', 'dubbing'))"
    assert_not_imported(code, {"huggingface_hub"})


def test_a_hub_is_asked_once_and_not_without_a_network(tmp_path):
    pytest.importorskip("huggingface_hub")
    requests = []
    for name in ("run/best/3/card", "run/checkpoints/9/state", "other/card"):
        (tmp_path / "repository" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repository" / name).write_text(name)

    def fetch(*addresses, **environment):
        known = {"HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", FETCH, *addresses],
            env={**os.environ, **known, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    run = "hf://someone/models/run@v1"
    with hub_server.serve(tmp_path / "repository", requests) as url:
        first = fetch(
            run, run, "hf://someone/models@v2", "hf://nobody/models", "hf://someone/models/gone",
            HF_ENDPOINT=url,
        )  # fmt: skip
        assert first[:2] == ["best/3/card", "best/3/card"]
        assert "hf://someone/models@v2 can't be fetched: the repository has no such rev" in first[2]
        assert "there is no such repository, or it is not yours to read" in first[3]
        assert first[4].startswith("hf://someone/models/gone: the repository has no folder gone")
        files = [request for request in requests if "/resolve/" in request]
        assert files and all(request.endswith("/run/best/3/card") for request in files)
    cached, message = fetch(run, "hf://nobody/models", HF_ENDPOINT=url)  # the hub is gone
    assert cached == first[0]
    assert "it is not in the cache, and the hub can't be reached" in message
