"""Words over the frames of a clip, and how far two sentences are apart."""

from collections.abc import Mapping, Sequence

import numpy as np

from lipsync_jax.data.clip import Clip

SILENCE = 0  # class of frames in which nobody speaks; word i of a vocabulary is class i + 1


def frame_classes(clip: Clip, vocabulary: Mapping[str, int]) -> np.ndarray:
    """The word that is spoken in the middle of each frame.

    Args:
        clip: with its words.
        vocabulary: word -> class, from 1.

    Returns:
        int32 (frames,), 0 between words.

    Raises:
        ValueError: the clip has no words, or one that the vocabulary lacks.
    """
    if not clip.words:
        raise ValueError("it has no words; prepare a corpus with alignments, such as GRID")
    middles = (np.arange(len(clip.frames)) + 0.5) / float(clip.frame_rate)
    classes = np.zeros(len(clip.frames), np.int32)
    for word in clip.words:
        if word.text not in vocabulary:
            raise ValueError(
                f"its word {word.text!r} is not in the vocabulary of {len(vocabulary)}"
            )
        classes[(middles >= word.start) & (middles < word.end)] = vocabulary[word.text]
    return classes


def runs(classes: np.ndarray) -> list[int]:
    """The words of frames in a row, a run of the same word as one: (frames,) -> classes."""
    classes = np.asarray(classes)
    begins = np.diff(classes, prepend=SILENCE) != 0
    return [int(word) for word in classes[begins] if word != SILENCE]


def most_likely(log_probabilities: np.ndarray, change_cost: float) -> np.ndarray:
    """The likeliest classes of all frames where each change costs something (Viterbi 1967).

    Without a cost, single frames would make words of their own.

    Args:
        log_probabilities: (frames, classes), of each frame by itself.
        change_cost: taken off at each change from one class to another, in nats.

    Returns:
        int (frames,).
    """
    score, before = np.array(log_probabilities[0], np.float64), []
    everyone = np.arange(len(score))
    for now in log_probabilities[1:]:
        best = int(score.argmax())
        stays = score >= score[best] - change_cost
        before.append(np.where(stays, everyone, best))
        score = np.where(stays, score, score[best] - change_cost) + now
    path = [int(score.argmax())]
    for came_from in reversed(before):
        path.append(int(came_from[path[-1]]))
    return np.array(path[::-1])


def edit_distance(a: Sequence, b: Sequence) -> int:
    """Fewest items to substitute, delete and insert so that one becomes the other."""
    row = np.arange(len(b) + 1)
    for i, item in enumerate(a, 1):
        replaced = row[:-1] + np.array([item != other for other in b], int)
        row = np.append(i, np.minimum(replaced, row[1:] + 1))
        # Insertions run along the row: each costs one more than its left neighbour.
        row = np.minimum.accumulate(row - np.arange(len(row))) + np.arange(len(row))
    return int(row[-1])
