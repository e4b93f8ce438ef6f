"""What a user types: `lipsync`, main.py, the configs' variants, the notebook, the demo."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lipsync_jax import methods
from lipsync_jax.cli import main
from lipsync_jax.configs import sync_expert, wav2lip, wav2lip_gan

ROOT = Path(__file__).parents[2]


def test_every_command_explains_itself(capsys):
    with pytest.raises(SystemExit, match="0"):
        main.main(["--help"])
    overview = capsys.readouterr().out
    for name in main.COMMANDS:
        assert f"{name} " in overview
        with pytest.raises(SystemExit, match="0"):
            main.main([name, "--help"])
        assert f"lipsync {name}" in capsys.readouterr().out


def test_an_unknown_command_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(["sing"])
    assert "'sing'" in capsys.readouterr().err


def test_what_the_user_can_mend_is_one_line(capsys, tmp_path):
    status = main.main(["convert", str(tmp_path / "missing.pth"), str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert status == 1 and "missing.pth" in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("module", [sync_expert, wav2lip, wav2lip_gan])
@pytest.mark.parametrize("variant", ["published", "small_data", "tiny"])
def test_every_variant_builds_its_method(module, variant):
    config = module.get_config(variant)
    cards = {"expert": {"config": sync_expert.get_config(variant).to_dict()}}
    method = methods.load(config, cards if config.frozen else {})
    assert config.train.steps > config.optimiser.warmup
    assert all(p.module is not None for p in method.players.values())


@pytest.mark.parametrize("module", [sync_expert, wav2lip, wav2lip_gan])
def test_an_unknown_variant_names_the_known_ones(module):
    with pytest.raises(ValueError, match=r"'huge'; choose published, small_data, tiny"):
        module.get_config("huge")


def test_training_without_data_says_so_before_anything_slow(tmp_path):
    command = [sys.executable, "main.py", "--config=configs/sync_expert.py:tiny"]
    done = subprocess.run(
        [*command, f"--workdir={tmp_path / 'run'}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-3:] == [
        "error: sync_expert can't start yet; give also",
        "  --config.data.dir=DATA, a folder of clips that this writes:",
        "    lipsync prepare --input VIDEOS --out DATA --geometry face96",
    ]
    assert not (tmp_path / "run").exists()


def test_the_notebook_is_python_that_imports_what_exists():
    notebook = json.loads((ROOT / "notebooks" / "quickstart.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"], "outputs belong in docs/, not in the notebook's source"
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in (
                "configs",
                "data_prep",
                "lipsync_jax",
            ):
                for alias in node.names:
                    exec(f"from {node.module} import {alias.name}")


@pytest.mark.slow
def test_the_demo_in_small(tmp_path):
    command = [sys.executable, "-m", "lipsync_jax.cli", "demo", "--out", str(tmp_path)]
    command += ["--clips=10", "--people=1", "--min-accuracy=0"]
    command += ["--expert-steps=3", "--generator-steps=3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mouth error" in done.stdout
    for name in ("demo.mp4", "contact_sheet.jpg", "summary.txt", "wav2lip/training.png"):
        assert (tmp_path / name).stat().st_size > 100
