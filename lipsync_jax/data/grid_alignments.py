"""Alignment files of the GRID corpus (Cooke et al. 2006): which word is spoken when."""

from pathlib import Path

from lipsync_jax.data.clip import Word

UNITS = 25_000  # a second; times are thousandths of a frame of 25 Hz
SILENCES = frozenset({"sil", "sp"})


def read_alignment(file: Path) -> tuple[Word, ...]:
    """Reads an alignment file, without its silences.

    Raises:
        ValueError: a line is not `start end word`.
    """
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
            raise ValueError(f"{file}: {line!r} is not `start end word`; remove or mend the file")
        if fields[2] not in SILENCES:
            found.append(Word(fields[2], int(fields[0]) / UNITS, int(fields[1]) / UNITS))
    return tuple(found)
