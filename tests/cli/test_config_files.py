"""Configs by file or name, and what a wrong one is answered with."""

import sys
from pathlib import Path

import pytest

from lipsync_jax.cli import _config_files, train


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
        ("wav2lip:size=huge", [], r"no variant 'size=huge'; .*size=published\|"),
        ("wav2lip", ["--config.modle=1"], r"no field 'modle'; did you mean config\.model\?"),
        ("wav2lip", ["--config.steps=1"], r"no field 'steps'; did you mean config\.train\.steps\?"),
        ("wav2lip", ["--config.init_from.zz=1"], r"no field 'zz'; there are generator$"),
        ("wav2lip", ["--config.frozen.expert.x.y=1"], r"frozen\.expert has no field 'x'"),
        ("wav2lip", ["--config.seed.x=1"], r"config\.seed is 0, which has no fields"),
        (
            "wav2lip",
            ["--config.train.steps=many"],
            r"^--config.train.steps=many: expected an integer \(it is 300000 .*found 'many'$",
        ),
        ("wav2lip", ["--config.data.batch_size", "1.5"], r"batch_size=1\.5: expected an integer"),
        ("wav2lip", ["--config.loss.sync=x"], r"expected a number \(it is 0\.03 .*found 'x'"),
        ("jain", ["--config.horizontal_flip=x"], r"expected true or false .*found 'x'"),
        ("jain", ["--config.length_buckets=25,x"], r"expected integers, .* 25,50,75 .*'25,x'"),
        ("wav2lip", ["--config.model=1"], r"the fields of this block .*width_mult.*found '1'"),
        ("wav2lip", ["more"], "unexpected argument 'more'"),
    ],
)
def test_a_wrong_config_is_one_sentence(config, overrides, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said) as caught:
        _config_files.read(config, overrides)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "variant", "said"),
    [
        ("def get_config(): return {}['x']", "", r"can't be read, KeyError: 'x'; correct the file"),
        ("def get_config(): open('/nowhere')", "", r"No such file or directory: '/nowhere'"),
        ("def get_config(): pass", ":tiny", "has no variants: leave out the colon"),
    ],
)
def test_a_config_file_with_a_fault_is_one_sentence(code, variant, said, tmp_path):
    (tmp_path / "mine.py").write_text(code + "\n")
    with pytest.raises(ValueError, match=said):
        _config_files.read(f"{tmp_path / 'mine.py'}{variant}")


def test_values_are_taken_in_all_forms_of_absl():
    forms = ["--config.train.steps", "7", "-config.seed=0x10", "--noconfig.horizontal_flip"]
    config = _config_files.read("jain", [*forms, "--config.length_buckets=25,50"])
    assert (config.train.steps, config.seed, config.horizontal_flip) == (7, 16, False)
    assert config.length_buckets == (25, 50)


def test_training_refuses_fields_before_it_parses_flags(monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    with pytest.raises(SystemExit, match=r"^error: --config.train.steps=x: expected an integer"):
        train.parse(["main.py", "--config", "wav2lip", "--config.train.steps=x"])


def test_runs_are_labelled_by_config_and_variant():
    assert _config_files.label("configs/wav2lip.py") == "wav2lip"
    assert _config_files.label("glance:tiny_b") == "glance-tiny_b"


def test_only_the_value_of_config_is_resolved():
    arguments = ["--workdir=wav2lip", "--config", "wav2lip:tiny", "--config.data.dir=wav2lip"]
    workdir, flag, config, override = _config_files.resolve_arguments(arguments)
    assert (workdir, flag, override) == ("--workdir=wav2lip", "--config", arguments[3])
    assert Path(config.removesuffix(":tiny")).is_file()
