"""The paired preference study of `lipsync evaluate`: writes the page, reads the answers."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from lipsync_jax import paths
from lipsync_jax.progress import ProgressBar
from lipsync_jax.text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    study = parser.add_argument_group("user study")
    study.add_argument("--preference", type=Path, nargs=2, metavar=("A", "B"),
                       help="two folders of videos: writes a page that asks people which video "
                       "of a pair is better, with hidden sides")  # fmt: skip
    study.add_argument("--question", metavar="TEXT", help="that the page asks")
    study.add_argument("--answers", type=Path, nargs="+", metavar="FILE",
                       help="files that the page saved: computes the preference with its "
                       "interval; --out is the folder of the study")  # fmt: skip


def run(arguments: argparse.Namespace, names: list[str]) -> int:
    """Writes the study, or computes the preference; returns 1 if no file of answers was usable.

    Args:
        arguments: of the command.
        names: of the two methods; [] without `--preference`.

    Raises:
        FileNotFoundError, ValueError: an option or an input can't be used.
    """
    if arguments.answers:
        return _compute(arguments)
    from lipsync_jax.evaluation import preference
    from lipsync_jax.evaluation.report import preference_page

    if (arguments.out / preference.KEY).exists():
        raise ValueError(
            f"--out {arguments.out} holds a study already, whose answers need its "
            f"{preference.KEY}; give another --out"
        )
    with ProgressBar("pairs") as bar:
        count, failed = preference_page.write(
            arguments.out,
            dict(zip(names, arguments.preference, strict=True)),
            question=arguments.question or preference_page.QUESTION,
            limit=arguments.limit,
            on_clip=lambda done, total, clip: bar(done, clip, total=total),
        )
    for clip, reason in failed:
        print(printable(f"left out: {clip}, {reason}"))
    skipped = [{"clip": clip, "reason": reason} for clip, reason in failed]
    arguments.json.update(page=arguments.out / preference.PAGE, pairs=count, skipped=skipped)
    page, out = arguments.out / preference.PAGE, printable(arguments.out)
    megabytes = page.stat().st_size / 1e6
    print(f"wrote {printable(page)}, {count} pairs, {megabytes:.1f} MB; open it in a browser")
    print(f"keep {out}/{preference.KEY} to yourself: it says which method made each video")
    print(f"then: lipsync evaluate --answers answers_*.json --out {out}")
    return 0


def _compute(arguments: argparse.Namespace) -> int:
    from lipsync_jax.evaluation import preference

    key = preference.read_key(arguments.out)
    answers, problems = [], []
    for path in arguments.answers:
        try:
            answers.append(preference.read_answers(path, key))
        except (ValueError, OSError) as error:
            problems.append(str(error))
    for problem in problems:
        print(printable(f"left out: {problem}"), file=sys.stderr)
    arguments.json.update(warnings=problems)
    if not answers:
        return 1
    found = preference.preference(answers)
    result = {"methods": key["methods"], **found._asdict(), "clips": _by_clip(key, answers)}
    text = json.dumps(result, indent=1, ensure_ascii=False)
    path = arguments.out / preference.RESULT
    paths.write_text(path, text + "\n", errors="backslashreplace")
    arguments.json.update(result=arguments.out / preference.RESULT, **result)
    print(printable(preference.sentence(found, key["methods"])))
    print(f"wrote {printable(arguments.out)}/{preference.RESULT}")
    return 0


def _by_clip(key: Mapping, answers: list) -> dict[str, dict[str, int]]:
    """Returns clip -> number of answers, and of those that prefer the first method."""
    counts = {}
    for pair, entry in enumerate(key["pairs"]):
        chosen = [each.chosen[pair] for each in answers if pair in each.chosen]
        counts[entry["clip"]] = {"answers": len(chosen), "first_preferred": sum(chosen)}
    return counts
