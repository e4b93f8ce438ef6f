"""Writes the pages of the site that the code determines: commands, configs and Python modules."""

import argparse
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

from absl import flags

from lipsync_jax.cli import _config_files, train
from lipsync_jax.cli import main as cli
from lipsync_jax.methods import fields


def write(root: Path, target: Path) -> None:
    """Writes `cli/`, `configs/` and `api/`.

    Args:
        root: the repository.
        target: the folder `reference` of the site's sources.
    """
    _write_folder(
        target / "cli",
        "Commands",
        "Options are shown with hyphens; underscores are accepted everywhere.",
        {name: _command(name) for name in sorted([*cli.COMMANDS, *cli.ABSL_COMMANDS])},
    )
    _write_folder(
        target / "configs",
        "Configs",
        "`--config.FIELD=VALUE` sets a field. The values are those of the default variant.",
        {name: _config(name) for name in _config_files.names()},
    )
    modules = api_modules(root)
    _write_folder(
        target / "api",
        "Python API",
        "Modules by what they are for: [Python modules](../modules.md).",
        {name: _module(name) for name in modules},
    )


def api_modules(root: Path) -> list[str]:
    """Returns the modules that docs/reference/modules.md names."""
    text = (root / "docs" / "reference" / "modules.md").read_text(encoding="utf-8")
    return re.findall(r"`(lipsync_jax\.[\w.]+)`", text)


def _write_folder(folder: Path, title: str, lead: str, pages: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    links = "".join(f"* [{name}]({name}.md)\n" for name in pages)
    (folder / "index.md").write_text(f"# {title}\n\n{lead}\n\n{links}", encoding="utf-8")


def _command(name: str) -> str:
    if name in cli.ABSL_COMMANDS:
        rows = [_flag(flag) for flag in flags.FLAGS.flags_by_module_dict()[train.__name__]]
        rows.sort(key=lambda row: row[0] != "`--config`")
        help_text = _sentence(cli.ABSL_COMMANDS[name])
        return _page(f"lipsync {name}", help_text, _table(("option", "meaning"), rows))
    parser = cli.build_parser([name])
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    sections = _parser_tables(commands.choices[name])
    return _page(f"lipsync {name}", _sentence(cli.COMMANDS[name][0]), *sections)


def _parser_tables(parser: argparse.ArgumentParser, title: str = "") -> Iterable[str]:
    """Yields usage and options of a parser, then those of its subcommands."""
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    usage = textwrap.fill(usage, 84, subsequent_indent="    ", break_on_hyphens=False)
    yield f"{title}```text\n{usage}\n```"
    groups = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    rows = [
        _option(parser, action)
        for action in parser._actions
        if action not in groups and not isinstance(action, argparse._HelpAction)
    ]
    if rows:
        yield _table(("option", "meaning"), rows)
    for group in groups:
        for name, inner in group.choices.items():
            yield from _parser_tables(inner, f"## {name}\n\n")


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, str]:
    formatter = parser._get_formatter()
    name = formatter._format_action_invocation(action)
    text = "" if action.help is None else formatter._expand_help(action)
    if action.required and action.option_strings:
        text += " (required)"
    return f"`{name}`", _with_default(text, action.default)


def _flag(flag: flags.Flag) -> tuple[str, str]:
    return f"`--{flag.name}`", _with_default(flag.help or "", flag.default)


def _with_default(text: str, default: object) -> str:
    """Appends a default that the text does not tell."""
    untold = default not in (None, "", False, [], argparse.SUPPRESS) and "default" not in text
    return f"{text} (default: {default})" if untold else text


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _config(name: str) -> str:
    module = importlib.import_module(f"lipsync_jax.configs.{name}")
    values = fields.flatten(module.get_config().to_dict())
    notes = _notes(module)
    rows = [(f"`{field}`", notes(field), f"`{value!r}`") for field, value in values.items()]
    return _page(
        f"configs/{name}.py",
        inspect.getdoc(module) or "",
        _table(("field", "meaning", "default"), rows),
    )


def _notes(module: ModuleType) -> Callable[[str], str]:
    """Returns a function from a field to the comment at its definition, or an empty text."""
    written = r"^\s*config\.([\w.]+) = .*?  # (.*)$"
    own = dict(re.findall(written, inspect.getsource(module), re.MULTILINE))
    # Blocks of methods/fields.py: a comment explains the key before it on the line.
    common = dict(
        re.findall(r'^    "(\w+)": .*,  # (.*)$', inspect.getsource(fields), re.MULTILINE)
    )

    def note(field: str) -> str:
        path = field.removeprefix("config.")
        return own.get(path) or common.get(path.rpartition(".")[2], "")

    return note


def _module(name: str) -> str:
    directive = f".. automodule:: {name}\n   :members:\n   :show-inheritance:\n"
    return f"# {name}\n\n```{{eval-rst}}\n{directive}```\n"


def _page(title: str, lead: str, *blocks: str) -> str:
    return "\n\n".join([f"# {title}", lead, *blocks]) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'--|' * len(head)}"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return text if "`" in text else text.replace("<", "&lt;")
