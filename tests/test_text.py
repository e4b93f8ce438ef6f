"""Names of files and of clips reach no terminal, no HTML and no folder as they are."""

import ast
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from lipsync_jax.cli import _batch, main
from lipsync_jax.cli._terminal import spelled
from lipsync_jax.data_prep import prepare, stages
from lipsync_jax.evaluation import results
from lipsync_jax.evaluation.report import html, side_by_side
from lipsync_jax.text import (
    naming_options,
    printable,
    printable_lines,
    spell_options,
    split_words,
    unique_file_names,
)
from tests.helpers import media_files

RED = "\x1b[31mred\x1b[2J"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve 声 a.mp4", "naïve 声 a.mp4"),
        (RED, r"\x1b[31mred\x1b[2J"),
        ("a\nb\tc\r\0", r"a\nb\tc\r\x00"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),  # would be read from right to left
        ("\x9b2J", r"\x9b2J"),
        (os.fsdecode(b"\xff.mp4"), r"\udcff.mp4"),
    ],
)
def test_what_terminals_would_obey_is_escaped(text, shown):
    assert printable(text) == shown
    assert printable_lines("one\n" + text.replace("\n", "")).startswith("one\n")


def test_long_texts_are_cut():
    assert printable("a" * 100, 10) == "aaaaaaa..."


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError("face gone.mp4 does not exist"), "`face` face gone.mp4 does not exist"),
        (ValueError("a.wav: no audio"), "`audio` a.wav: no audio"),
        (ValueError(f"{Path('a.wav').absolute()}: no audio"), "`audio` /"),
        (ValueError("b.wav is empty"), "`speakers` 1 b.wav is empty"),
        (ValueError("face is empty"), "`other` face is empty"),
        (ValueError("twice.mp4 is empty"), "`one` and `two` twice.mp4 is empty"),
        (ValueError("a.wave is empty"), "a.wave is empty"),
        (ValueError("`audio` a.wav is empty"), "`audio` a.wav is empty"),
        (FileNotFoundError(2, "a.wav"), "[Errno 2] a.wav"),
    ],
)
def test_errors_about_a_file_name_its_option(error, message):
    files = {
        "face": Path("face gone.mp4"),
        "audio": "a.wav",
        "speakers": [(0, "c.wav"), (1, "b.wav")],
        "other": Path("face"),
        "one": [Path("once.mp4"), Path("twice.mp4")],
        "two": "twice.mp4",
        "seed": 1,
    }
    with pytest.raises(type(error)) as raised, naming_options(files):
        raise error
    assert raised.value is error and str(error).startswith(message)


def test_names_become_files_of_one_folder_none_twice():
    names = ["a/b", "a_b", "A_b", "../a", "..", "/etc/passwd", "a:b", "x" * 400, "x" * 401, "声/1"]
    found = unique_file_names(names)
    assert list(found) == names
    assert found["a/b"] == "a_b" and found["a_b"] == "a_b_2" and found["A_b"] == "A_b_3"
    made = list(found.values())
    assert len({name.casefold() for name in made}) == len(names)
    for name in made:
        assert os.path.basename(name) == name and not name.startswith(".") and name.isprintable()
        assert len(name.encode()) < 200
    assert found["声/1"] == "声_1"


def test_videos_side_by_side_stay_in_their_folder(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(side_by_side, "_write", lambda path, task: written.append(path))
    clips = ["../x", "a/b", "a_b", RED]
    assert not side_by_side.write(tmp_path, [SimpleNamespace(clip=clip) for clip in clips])
    assert len(set(written)) == 4
    assert all(path.parent == tmp_path and path.name.isprintable() for path in written)


def test_tables_are_escaped():
    rows = [_batch.RowResult(1, RED, True, "1 of 1"), _batch.RowResult(2, "b", False, f"no {RED}")]
    first, second, _ = _batch.table(rows).split("\n")
    assert first.isprintable() and second.isprintable()
    assert first.index("1 of 1") == second.index("no ")
    result = {"order": [RED], "methods": {RED: {"metrics": {}}}}
    assert results.table(result).isprintable()
    counts = {"videos": 1, "videos_used": 1, "seconds_of_video": 1, "frames_with_face": 1}
    counts |= {"videos_from_cache": 0, "stages": stages.as_json({})}
    rejected = {"reason": "damaged", "clip_id": RED, "detail": RED}
    splits = {"rejected": [rejected], "rejected_by_reason": {"damaged": 1}, "splits": {}}
    rest = {"split_by": "auto", "notes": {RED: [RED]}, "copies": {RED: RED}, "data": ""}
    rest["older_data"] = RED
    assert "\x1b" not in prepare.format_report({**counts, **splits, **rest})
    assert "\x1b" not in prepare.format_report({**counts, **splits, **rest, "data": RED})


def test_reports_escape_names():
    name = "<script>alert(1)</script>"
    result = {
        "protocol": {"name": name, "version": name, "confidence_level": 0.95},
        "sync_model": {"kind": "sync_expert", "model": name},
        **{"lip_reader": name, "clips": 1, "lipsync_jax": "1", "order": [name]},
        **{"landmarks": name, "embedder": name},
        "methods": {name: {"metrics": {}, "success": {"rate": 1.0, "failed": []}}},
        "skipped": [{"clip": name, "reason": name}],
    }
    for part in (html._heading(result, name), html._table(result), html._failures(result)):
        assert "<script" not in part
    assert "<script" not in html._protocol(result)


def test_commands_escape_the_names_they_are_given(tmp_path, capsys):
    path = media_files.write_media(tmp_path / f"{RED}.mkv", media_files.uniform_times(2))
    assert main.main(["verify", str(path)]) == 1
    assert main.main(["verify", str(tmp_path / f"{RED}none.mkv")]) == 1
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert r"\x1b[31mred" in said.out and r"\x1b[31mred" in said.err


def test_options_in_messages_are_spelled_as_the_user_knows_them():
    message = ValueError("no face; choose `on_missing_face` hold, give `box`, or `lipsync sync`")
    assert spell_options(message, {}) == str(message)
    told = spelled(message, SimpleNamespace(on_missing_face="keep"))
    assert told == "no face; choose --on-missing-face hold, give `box`, or `lipsync sync`"


def test_the_librarys_errors_name_options_by_their_fields():
    folder = Path(main.__file__).parents[1]
    commands = main.build_parser(["dub", "animate"])._subparsers._group_actions[0].choices
    actions = [each for name in ("dub", "animate") for each in commands[name]._actions]
    known = {action.dest for action in actions}
    spellings = {text for action in actions for text in action.option_strings}
    for path in (*folder.glob("synthesis/*.py"), *folder.glob("faces/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Raise):
                continue
            texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
            message = " ".join(text for text in texts if isinstance(text, str))
            assert set(re.findall(r"`([a-z0-9_]+)`", message)) <= known, (path, message)
            assert not spellings & set(re.findall(r"--[a-z-]+", message)), (path, message)


def test_an_open_quotation_mark_is_told_by_its_option():
    assert split_words("--a 'b c'", "--beam-options") == ["--a", "b c"]
    with pytest.raises(ValueError, match=r"^--beam-options \"'b c\": no closing quotation; close"):
        split_words("'b c", "--beam-options")
