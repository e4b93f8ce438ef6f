"""Configs by file or name, and what a wrong one is answered with."""

from pathlib import Path

import pytest

from lipsync_jax.cli import _config_files


def test_a_name_and_a_path_are_the_same_config(tmp_path, monkeypatch):
    by_name = _config_files.read("wav2lip:tiny")
    assert by_name == _config_files.read("configs/wav2lip.py:tiny")
    monkeypatch.chdir(tmp_path)  # an installation has no configs/ beside it
    assert by_name == _config_files.read("configs/wav2lip.py:tiny")


def test_every_config_is_known_by_name():
    files = {path.stem for path in (Path(__file__).parents[2] / "configs").glob("*.py")} - {
        "__init__",
        "common",
    }
    assert _config_files.names().keys() == files


def test_overrides_are_of_the_configs_types():
    config = _config_files.read("sync_expert", ["--config.train.steps=7", "--config.data.dir=D"])
    assert (config.train.steps, config.data.dir) == (7, "D")


@pytest.mark.parametrize(
    ("config", "overrides", "said"),
    [
        ("wav3lip", [], r"no file wav3lip here .* one of .*wav2lip, wav2lip_gan"),
        ("wav2lip:huge", [], r"no variant 'huge'; .*published\|.*small_data\|.*tiny"),
        ("wav2lip", ["--config.modle=1"], "no setting 'modle'"),
        ("wav2lip", ["--config.train.steps=many"], "invalid literal .*many"),
        ("wav2lip", ["more"], "unexpected argument 'more'"),
    ],
)
def test_a_wrong_config_is_one_sentence(config, overrides, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said) as caught:
        _config_files.read(config, overrides)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


def test_runs_are_labelled_by_config_and_variant():
    assert _config_files.label("configs/wav2lip.py") == "wav2lip"
    assert _config_files.label("glance:tiny_b") == "glance-tiny_b"


def test_only_the_value_of_config_is_resolved():
    arguments = ["--workdir=wav2lip", "--config", "wav2lip:tiny", "--config.data.dir=wav2lip"]
    workdir, flag, config, override = _config_files.resolve_arguments(arguments)
    assert (workdir, flag, override) == ("--workdir=wav2lip", "--config", arguments[3])
    assert Path(config.removesuffix(":tiny")).is_file()
