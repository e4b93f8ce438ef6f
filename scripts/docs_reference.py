"""Writes the pages of the site that the code determines: commands, configs and Python modules."""

import argparse
import importlib
import inspect
import re
from collections.abc import Iterable
from pathlib import Path

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
        return _page(f"lipsync {name}", cli.ABSL_COMMANDS[name], _table("option", rows))
    parser = cli.build_parser([name])
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    sections = list(_parser_tables(commands.choices[name]))
    return _page(f"lipsync {name}", cli.COMMANDS[name][0], *sections)


def _parser_tables(parser: argparse.ArgumentParser, title: str = "") -> Iterable[str]:
    """Yields a table of the options of a parser, then those of its subcommands."""
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    yield f"{title}```text\n{usage}\n```"
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from _parser_tables(inner, f"## {name}\n\n")
        elif not isinstance(action, argparse._HelpAction):
            rows.append(_option(parser, action))
    if rows:
        yield _table("option", rows)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, str, str]:
    formatter = parser._get_formatter()
    name = formatter._format_action_invocation(action)
    text = "" if action.help is None else formatter._expand_help(action)
    default = action.default
    shown = "" if default in (None, False, argparse.SUPPRESS) or action.required else f"`{default}`"
    return f"`{name}`", text, "required" if action.required else shown


def _flag(flag: flags.Flag) -> tuple[str, str, str]:
    default = "" if flag.default in (None, "", False) else f"`{flag.default_as_str}`"
    return f"`--{flag.name}`", flag.help or "", default


def _config(name: str) -> str:
    module = importlib.import_module(f"lipsync_jax.configs.{name}")
    values = fields.flatten(module.get_config().to_dict())
    notes = _notes(module)
    rows = [(f"`{field}`", notes(field), f"`{value!r}`") for field, value in values.items()]
    return _page(f"configs/{name}.py", inspect.getdoc(module) or "", _table("field", rows))


def _notes(module):
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


def _table(what: str, rows: Iterable[tuple[str, str, str]]) -> str:
    """Formats rows (name, meaning, value)."""
    lines = [f"| {what} | meaning | default |", "|--|--|--|"]
    lines += [f"| {' | '.join(_cell(text) for text in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return (
        " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;" if "`" not in text else "<")
    )
