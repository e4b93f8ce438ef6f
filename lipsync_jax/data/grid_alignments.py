"""Reads the alignment files of the GRID corpus (Cooke et al. 2006): words with their times."""

from pathlib import Path

from lipsync_jax.data.clip import Word

UNITS_PER_SECOND = 25_000  # times are thousandths of a frame of 25 Hz
SILENCES = frozenset({"sil", "sp"})


def read_alignment(file: Path) -> tuple[Word, ...]:
    """Reads an alignment file, without its silences.

    Raises:
        ValueError: a line is not `start end word`.
    """
    words = []
    for line in file.read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
            raise ValueError(
                f"{file}: {line!r} is not `start end word`; correct or remove the file"
            )
        if fields[2] not in SILENCES:
            words.append(
                Word(
                    fields[2], int(fields[0]) / UNITS_PER_SECOND, int(fields[1]) / UNITS_PER_SECOND
                )
            )
    return tuple(words)
