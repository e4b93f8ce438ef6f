"""Word error rate."""

from collections.abc import Iterable

from lipsync_jax.data.word_labels import edit_distance


def wer(reference: str, hypothesis: str) -> float:
    """Computes the word error rate: edits per word of the reference.

    WER = (substitutions + deletions + insertions) / words of the reference (Levenshtein 1966). WER
    may exceed 1. Words are separated by white space; upper and lower case differ.

    Args:
        reference: the transcript.
        hypothesis: the lip reader's transcript.

    Raises:
        ValueError: the reference has no words.
    """
    return corpus_wer([(reference, hypothesis)])


def corpus_wer(pairs: Iterable[tuple[str, str]]) -> float:
    """Computes edits over all (reference, hypothesis) pairs, per word of all references.

    Not the mean of the pairs' rates: long sentences weigh more.

    Raises:
        ValueError: the references have no words.
    """
    edits = words = 0
    for reference, hypothesis in pairs:
        reference_words, hypothesis_words = reference.split(), hypothesis.split()
        edits, words = (
            edits + edit_distance(reference_words, hypothesis_words),
            words + len(reference_words),
        )
    if not words:
        raise ValueError("a word error rate needs a reference with at least one word")
    return edits / words
