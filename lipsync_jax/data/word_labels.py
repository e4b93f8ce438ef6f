"""Word labels of a clip's frames, decoding of them, and the edit distance of sentences."""

from collections.abc import Mapping, Sequence

import numpy as np

from lipsync_jax.data.clip import Clip

SILENCE = 0  # class of frames without speech; word i of a vocabulary is class i + 1


def frame_labels(clip: Clip, vocabulary: Mapping[str, int]) -> np.ndarray:
    """Returns the class of the word that is spoken in the middle of each frame.

    Args:
        clip: with a transcript.
        vocabulary: word -> class, from 1.

    Returns:
        int32 (frames,), 0 between words.

    Raises:
        ValueError: the clip has no words, or one that the vocabulary lacks.
    """
    if not clip.words:
        raise ValueError("the clip has no words; prepare a corpus with alignments, such as GRID")
    frame_times = (np.arange(len(clip.frames)) + 0.5) / float(clip.frame_rate)
    classes = np.zeros(len(clip.frames), np.int32)
    for word in clip.words:
        if word.text not in vocabulary:
            raise ValueError(
                f"the clip's word {word.text!r} is not in the vocabulary of {len(vocabulary)}"
            )
        classes[(frame_times >= word.start) & (frame_times < word.end)] = vocabulary[word.text]
    return classes


def collapse_repeats(classes: np.ndarray) -> list[int]:
    """Returns the sequence of words, each run of equal classes as one: (frames,) -> classes."""
    classes = np.asarray(classes)
    is_first = np.diff(classes, prepend=SILENCE) != 0
    return [int(word) for word in classes[is_first] if word != SILENCE]


def viterbi_decode(log_probabilities: np.ndarray, transition_cost: float) -> np.ndarray:
    """Returns the likeliest sequence of classes with a cost of transitions (Viterbi 1967).

    Without a cost, single frames would be decoded as words.

    Args:
        log_probabilities: (frames, classes), of each frame separately.
        transition_cost: subtracted at each change from one class to another, in nats.

    Returns:
        int (frames,).
    """
    score, backpointers = np.array(log_probabilities[0], np.float64), []
    own_class = np.arange(len(score))
    for frame_log_probabilities in log_probabilities[1:]:
        best = int(score.argmax())
        stays = score >= score[best] - transition_cost
        backpointers.append(np.where(stays, own_class, best))
        score = np.where(stays, score, score[best] - transition_cost) + frame_log_probabilities
    path = [int(score.argmax())]
    for pointers in reversed(backpointers):
        path.append(int(pointers[path[-1]]))
    return np.array(path[::-1])


def edit_distance(a: Sequence, b: Sequence) -> int:
    """Returns the fewest substitutions, deletions and insertions that turn `a` into `b`."""
    row = np.arange(len(b) + 1)
    for i, item in enumerate(a, 1):
        substituted = row[:-1] + np.array([item != other for other in b], int)
        row = np.append(i, np.minimum(substituted, row[1:] + 1))
        # An insertion costs one more than the left neighbour in the row.
        row = np.minimum.accumulate(row - np.arange(len(row))) + np.arange(len(row))
    return int(row[-1])
