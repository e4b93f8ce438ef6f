"""What a user types: `lipsync`, main.py, the configs' variants, the demo."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lipsync_jax import methods
from lipsync_jax.cli import main, train
from lipsync_jax.configs import sync_expert, wav2lip, wav2lip_gan
from tests.helpers import talking

ROOT = Path(__file__).parents[2]


def test_every_command_explains_itself(capsys):
    with pytest.raises(SystemExit, match="0"):
        main.main(["--help"])
    overview = capsys.readouterr().out
    for name in main.COMMANDS:
        assert re.search(rf" {name}\s", overview)
        with pytest.raises(SystemExit, match="0"):
            main.main([name, "--help"])
        assert f"lipsync {name}" in capsys.readouterr().out


def test_an_unknown_command_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(["sing"])
    assert "'sing'" in capsys.readouterr().err


def test_a_closed_pipe_ends_a_command_without_a_word(tmp_path):
    command = [sys.executable, "-m", "lipsync_jax.cli", "models", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_an_error_of_the_input_is_one_line(capsys, tmp_path):
    status = main.main(["convert", str(tmp_path / "missing.pth"), str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert status == 1 and "missing.pth" in error and len(error.splitlines()) == 1


def test_a_folder_without_videos_names_its_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    line = ["prepare", "--input", "one", "two", "--out", "out", "--sync-model", "none"]
    for corpus in ("folder", "lrs2"):
        assert main.main([*line, "--corpus", corpus]) == 1
        message = capsys.readouterr().err
        assert message.startswith("lipsync prepare: --input one, two: there is no ")


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("dub --face {bad} --audio {good}", "--face"),
        ("dub --face {good} --audio {bad}", "--audio"),
        ("dub --face {good} --audio {good} --face-ref {bad}", "--face-ref"),
        ("dub --face {good} --speakers 0={good} 1={bad}", "--speakers 1"),
        ("live --face {good} {bad}", "--face"),
        ("live --face {good} --audio {bad}", "--audio"),
        ("personalize --video {bad} --out out", "--video"),
        ("evaluate --videos {bad} --references {good} --out out", "--videos"),
        ("evaluate --videos {good} --references {bad} --out out", "--references"),
        ("evaluate --compare {good} {bad} --references {good} --out out", "--compare"),
        ("evaluate --checkpoint-path c --filelist {bad} --out out", "--filelist"),
        ("prepare --input {good} {bad} --out out", "--input"),
        ("prepare --input {good} --out out --sync-model {bad}", "--sync-model"),
        ("sync {good} --sync-model {bad}", "--sync-model"),
        ("dub --face {good} --audio {good} --checkpoint-path {bad}", "--checkpoint-path"),
        ("av-correlation --data {bad} --out out", "--data"),
    ],
)
def test_an_error_about_a_file_names_its_option(line, option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    talking.write_talking_video(tmp_path / "good.mkv", [True] * 3)
    assert main.main(line.format(good="good.mkv", bad="bad.mkv").split()) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"lipsync {line.split()[0]}: {option} ")
    assert "bad.mkv does not exist; " in message


@pytest.mark.parametrize("module", [sync_expert, wav2lip, wav2lip_gan])
@pytest.mark.parametrize("variant", ["published", "small_data", "tiny"])
def test_every_variant_builds_its_method(module, variant):
    config = module.get_config(variant)
    cards = {"expert": {"config": sync_expert.get_config(variant).to_dict()}}
    method = methods.load(config, cards if config.frozen else {})
    assert config.train.steps > config.optimizer.warmup_steps
    assert all(p.module is not None for p in method.networks.values())


@pytest.mark.parametrize("module", [sync_expert, wav2lip, wav2lip_gan])
def test_an_unknown_variant_names_the_known_ones(module):
    with pytest.raises(ValueError, match=r"no variant 'huge'; .*published\|.*small_data\|.*tiny"):
        module.get_config("huge")


def test_training_without_data_says_so_before_anything_slow(tmp_path):
    command = [sys.executable, "main.py", "--config=configs/sync_expert.py:tiny"]
    done = subprocess.run(
        [*command, f"--workdir={tmp_path / 'run'}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-3:] == [
        "error: sync_expert can't start yet; add",
        "  --config.data.dir=DATA, a folder of clips that this command writes:",
        "    lipsync prepare --input VIDEOS --out DATA --crop face96",
    ]
    assert not (tmp_path / "run").exists()


@pytest.fixture
def failing_run(monkeypatch, tmp_path):
    """Lets training fail in a way that no code expects; returns a command line without config."""
    from lipsync_jax.training import loop

    def fail(*_):
        raise ZeroDivisionError("no steps")

    monkeypatch.setattr(loop, "train", fail)
    monkeypatch.setattr(train, "_CONFIG", SimpleNamespace(value=None))
    values = {"_WORKDIR": str(tmp_path), "_MODE": "train", "_PROFILE_STEPS": "", "_MAX_RESTARTS": 0}
    for name, value in {**values, "_PROGRESS": "auto"}.items():
        monkeypatch.setattr(train, name, SimpleNamespace(value=value))
    for name in ("_ALLOW_CHANGES", "_DISTRIBUTED", "_COORDINATOR", "_PROCESSES", "_PROCESS"):
        monkeypatch.setattr(train, name, SimpleNamespace(value=None))
    return ["lipsync train"]


def test_an_unexpected_error_of_training_is_one_sentence(failing_run, capsys):
    with pytest.raises(SystemExit, match="1"):
        train.main(failing_run)
    error = capsys.readouterr().err
    first, second = error.splitlines()[-2:]
    assert first == "error: ZeroDivisionError: no steps"
    assert second.startswith("This is a fault of the program") and "LIPSYNC_TRACEBACK=1" in second


def test_the_traceback_is_shown_on_request(failing_run, monkeypatch):
    monkeypatch.setenv("LIPSYNC_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        train.main(failing_run)


def test_a_run_that_had_ended_says_so(failing_run, monkeypatch, capsys):
    monkeypatch.setattr("lipsync_jax.training.loop.train", lambda *_: {})
    config = SimpleNamespace(train=SimpleNamespace(steps=240))
    monkeypatch.setattr(train, "_CONFIG", SimpleNamespace(value=config))
    train.main(failing_run)
    captured = capsys.readouterr()
    assert captured.out == "{}\n"
    assert "no step was trained: the run in" in captured.err
    assert "has ended, by config.train.steps=240 or by early stopping" in captured.err


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("--allow-changes", "--allow_changes"),
        ("--allow-changes=true", "--allow_changes=true"),
        ("--no-allow-changes", "--noallow_changes"),
        ("--config.data.batch-size=2", "--config.data.batch-size=2"),
        ("allow-changes", "allow-changes"),
    ],
)
def test_flags_of_training_may_have_hyphens(given, known):
    assert train._underscored(given) == known


def test_a_config_file_that_raises_is_one_sentence(tmp_path):
    (tmp_path / "mine.py").write_text("def get_config():\n    return 1 / 0\n")
    done = subprocess.run(
        [sys.executable, "main.py", f"--config={tmp_path / 'mine.py'}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_options_of_compilation_are_refused_in_other_modes():
    done = subprocess.run(
        [sys.executable, "main.py", "--config=wav2lip", "--topology=v5e:2x2"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "--topology=v5e:2x2 is for --mode=compile, and this is --mode=train" in done.stderr


@pytest.mark.parametrize("command", ["", "main.main(['verify', 'nowhere.mp4'])"])
def test_records_of_absl_name_the_module_that_logs(command):
    code = (
        "from lipsync_jax import folder_lock\n"
        "from lipsync_jax.cli import _restarts, main\n"
        f"{command}\n"
        "from absl import logging\n"
        "assert isinstance(logging.get_absl_logger(), logging.ABSLLogger)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.slow
def test_the_demo_in_small(tmp_path):
    command = [sys.executable, "-m", "lipsync_jax.cli", "demo", "--train", "--out", str(tmp_path)]
    command += ["--clips=10", "--identities=1", "--min-accuracy=0"]
    command += ["--expert-steps=3", "--generator-steps=3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mouth L1" in done.stdout and "step 3/3" in done.stderr
    for name in ("demo.mp4", "contact_sheet.jpg", "summary.txt", "wav2lip/training.png"):
        assert (tmp_path / name).stat().st_size > 100
