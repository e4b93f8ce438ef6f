"""Spellings: hyphens are shown; underscores and the names of 0.1 are accepted."""

import importlib

import pytest

from lipsync_jax.cli import _options, main
from lipsync_jax.cli._parser import COMMANDS_OF_0_1, OPTIONS_OF_0_1, Parser


def parser_of(command):
    parser = Parser(prog=command, renamed=OPTIONS_OF_0_1.get(command, {}))
    importlib.import_module(main.COMMANDS[command][1]).add_arguments(parser)
    return parser


@pytest.mark.parametrize("command", main.COMMANDS)
def test_help_shows_hyphens_and_no_old_name(command):
    parser = parser_of(command)
    spellings = [s for action in parser._actions for s in action.option_strings]
    assert not any("_" in spelling for spelling in spellings)
    old = OPTIONS_OF_0_1.get(command, {})
    assert not set(old) & set(spellings) and set(old.values()) <= set(spellings)
    assert {parser.canonical(name.replace("-", "_").replace("__", "--", 1)) for name in old} <= (
        set(old.values())
    )


@pytest.mark.parametrize(
    ("command", "line", "expected"),
    [
        ("demo", "--expert_steps 3 --people=2", {"expert_steps": 3, "identities": 2}),
        ("prepare", "--input v --out o --split_by video --min_face 9.5 --geometry face128",
         {"split_by": "video", "min_face_height": 9.5, "crop": "face128"}),
        ("doctor", "--root x", {"dir": "x"}),
        ("sync", "v.mp4 --checkpoint_path m --fix o.mp4 --shift 9 --detect_every 3",
         {"sync_model": "m", "write_synced": "o.mp4", "max_offset": 9, "detect_every": 3}),
        ("evaluate", "--out o --judge m --show 2 --silent s --order video-audio --lip_reader l",
         {"sync_model": "m", "report_clips": 2, "filelist_order": "video-audio"}),
        ("dub", "--checkpoint_path c --batch b.csv --silence close --alignment published",
         {"manifest": "b.csv", "silence_mode": "zero-audio", "audio_offset": "reference"}),
        ("dub", "--checkpoint-path c --silence_mode passthrough --label=a_b",
         {"silence_mode": "passthrough", "label": "a_b"}),
    ],
)  # fmt: skip
def test_underscores_and_old_names_are_accepted(command, line, expected):
    parsed = vars(parser_of(command).parse_args(line.split()))
    for name, value in expected.items():
        assert str(parsed[name]) == str(value)


def test_the_fields_of_a_config_keep_their_underscores():
    parser = parser_of("diagnose")
    _, rest = parser.parse_known_args(["--config", "x", "--config.data.batch_size=2"])
    assert rest == ["--config.data.batch_size=2"]


def test_arguments_after_two_dashes_are_no_options():
    parser = Parser()
    parser.add_argument("--some-name")
    parser.add_argument("files", nargs="*")
    parsed = parser.parse_args(["--some_name", "a_b", "--", "--some_name"])
    assert (parsed.some_name, parsed.files) == ("a_b", ["--some_name"])


@pytest.mark.parametrize("command", [*COMMANDS_OF_0_1, "list_faces", "av_correlation"])
def test_commands_of_0_1_run_as_todays(command, capsys):
    today = COMMANDS_OF_0_1.get(command, command.replace("_", "-"))
    with pytest.raises(SystemExit, match="0"):
        main.main([command, "--help"])
    assert f"usage: lipsync {today} " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main.main(["--help"])
    assert f"    {command} " not in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--limit", "--report-clips"])
def test_a_number_of_clips_is_not_negative(option, capsys):
    line = ["evaluate", "--out", "o", "--videos", "v", "--references", "r", option]
    assert (
        vars(parser_of("evaluate").parse_args([*line[1:], "0"]))[option[2:].replace("-", "_")] == 0
    )
    with pytest.raises(SystemExit, match="2"):
        main.main([*line, "-1"])
    assert f"argument {option}: '-1' is no whole number from 0" in capsys.readouterr().err


def test_the_detection_options_are_those_of_dub():
    parser = Parser()
    _options.add_detection_options(parser)
    names = {action.dest for action in parser._actions} - {"help"}
    assert names <= {action.dest for action in parser_of("dub")._actions}
