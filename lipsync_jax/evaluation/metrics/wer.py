"""Word error rate."""

from collections.abc import Iterable

from lipsync_jax.data.word_labels import edit_distance


def wer(reference: str, hypothesis: str) -> float:
    """Edits that turn the reference into what was read, a word of the reference.

    WER = (substitutions + deletions + insertions) / words of the reference (Levenshtein 1966). May
    exceed 1. Words are what white space divides; upper and lower case differ.

    Args:
        reference: what is said.
        hypothesis: what a lip reader read.

    Raises:
        ValueError: the reference has no words.
    """
    return corpus_wer([(reference, hypothesis)])


def corpus_wer(pairs: Iterable[tuple[str, str]]) -> float:
    """Edits over all (reference, hypothesis) pairs, by the words of all references.

    It isn't the mean of the pairs' rates: long sentences count for more.

    Raises:
        ValueError: the references have no words.
    """
    edits = words = 0
    for reference, hypothesis in pairs:
        said, read = reference.split(), hypothesis.split()
        edits, words = edits + edit_distance(said, read), words + len(said)
    if not words:
        raise ValueError("a word error rate needs a reference with at least one word")
    return edits / words
