"""Synthesizes babble: phones, articulator trajectories, waveform; one set of controls for both.

Lips, jaw and tongue follow phone targets as critically damped second-order systems (the task
dynamics of Saltzman & Munhall 1989); a glottal pulse train and noise pass through the formants
that go with them (the source-filter model of Fant 1960). Lips that close in the frames silence
the audio, because both are functions of one `Articulation`.
"""

import dataclasses
import itertools

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter, lfilter_zi

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep.synthetic.vocal_tract import (
    CONTROL_RATE,
    SAMPLE_RATE,
    Articulation,
    Voice,
    synthesize_waveform,
)

_N = float("nan")  # unspecified for this phone: the articulator is interpolated
_COLUMNS = (
    "ms", "jaw", "opening", "width", "rounding", "tuck", "tongue", "f1", "f2", "f3",
    "voice", "breath", "noise", "noise_hz", "nasal", "burst",
)  # fmt: skip
# Vowel formants: Peterson & Barney 1952, table II, men. A negative opening presses the lips shut.
_PHONES = {
    #     ms   jaw   open  width round tuck tongue f1   f2    f3   voice breath noise Hz nasal burst
    "i": (110, 0.20, 0.26, 0.9, 0.00, 0, 0.30, 270, 2290, 3010, 1.00, 0.0, 0.00, _N, 0, 0),
    "I": (90, 0.30, 0.34, 0.6, 0.00, 0, 0.20, 390, 1990, 2550, 1.00, 0.0, 0.00, _N, 0, 0),
    "e": (105, 0.48, 0.52, 0.5, 0.00, 0, 0.10, 530, 1840, 2480, 1.00, 0.0, 0.00, _N, 0, 0),
    "E": (125, 0.75, 0.78, 0.6, 0.00, 0, 0.00, 660, 1720, 2410, 1.00, 0.0, 0.00, _N, 0, 0),
    "a": (135, 1.00, 1.00, 0.1, 0.00, 0, 0.00, 730, 1090, 2440, 1.00, 0.0, 0.00, _N, 0, 0),
    "A": (100, 0.60, 0.62, 0.1, 0.00, 0, 0.00, 640, 1190, 2390, 1.00, 0.0, 0.00, _N, 0, 0),
    "O": (130, 0.65, 0.66, -0.5, 0.70, 0, 0.00, 570, 840, 2410, 1.00, 0.0, 0.00, _N, 0, 0),
    "U": (90, 0.28, 0.30, -0.5, 0.75, 0, 0.00, 440, 1020, 2240, 1.00, 0.0, 0.00, _N, 0, 0),
    "u": (115, 0.18, 0.20, -1.0, 1.00, 0, 0.00, 300, 870, 2240, 1.00, 0.0, 0.00, _N, 0, 0),
    "p": (100, 0.12, -0.30, _N, _N, 0, 0.00, 250, 800, 2200, 0.00, 0.3, 0.25, 900, 0, 30),
    "b": (80, 0.12, -0.30, _N, _N, 0, 0.00, 250, 800, 2200, 0.30, 0.1, 0.15, 900, 0, 12),
    "m": (90, 0.12, -0.30, _N, _N, 0, 0.00, 260, 1000, 2200, 0.75, 0.0, 0.00, _N, 1, 0),
    "f": (100, 0.15, 0.14, 0.1, 0.00, 1, 0.00, 320, 1100, 2300, 0.00, 0.0, 0.16, 5200, 0, 0),
    "v": (70, 0.15, 0.14, 0.1, 0.00, 1, 0.00, 320, 1100, 2300, 0.55, 0.0, 0.08, 5000, 0, 0),
    "T": (95, 0.32, 0.38, 0.2, 0.00, 0, 0.90, 350, 1400, 2600, 0.00, 0.0, 0.12, 6000, 0, 0),
    "s": (105, 0.06, 0.22, 0.6, 0.00, 0, 0.15, 320, 1700, 2600, 0.00, 0.0, 0.45, 6200, 0, 0),
    "z": (80, 0.06, 0.22, 0.6, 0.00, 0, 0.15, 300, 1700, 2600, 0.50, 0.0, 0.25, 6200, 0, 0),
    "S": (110, 0.10, 0.28, -0.6, 0.75, 0, 0.10, 320, 1800, 2500, 0.00, 0.0, 0.50, 3300, 0, 0),
    "t": (80, 0.12, 0.20, 0.2, _N, 0, 0.55, 320, 1750, 2650, 0.00, 0.2, 0.40, 4500, 0, 30),
    "d": (60, 0.14, 0.20, 0.2, _N, 0, 0.55, 320, 1750, 2650, 0.30, 0.1, 0.25, 4200, 0, 14),
    "n": (70, 0.16, 0.22, 0.2, _N, 0, 0.65, 280, 1600, 2600, 0.75, 0.0, 0.00, _N, 1, 0),
    "l": (75, 0.36, 0.42, 0.2, _N, 0, 0.85, 360, 1200, 2700, 0.85, 0.0, 0.00, _N, 0, 0),
    "k": (85, 0.22, 0.26, _N, _N, 0, 0.00, 300, 2000, 2300, 0.00, 0.3, 0.35, 2200, 0, 35),
    "g": (65, 0.22, 0.26, _N, _N, 0, 0.00, 280, 2000, 2300, 0.30, 0.1, 0.20, 2000, 0, 18),
    "h": (60, _N, _N, _N, _N, 0, 0.00, _N, _N, _N, 0.10, 0.6, 0.00, _N, 0, 0),
    "w": (75, 0.12, 0.10, -1.0, 1.00, 0, 0.00, 300, 700, 2200, 0.80, 0.0, 0.00, _N, 0, 0),
    "j": (65, 0.14, 0.22, 0.7, 0.00, 0, 0.20, 280, 2200, 3000, 0.80, 0.0, 0.00, _N, 0, 0),
    "r": (75, 0.20, 0.24, -0.3, 0.55, 0, 0.20, 350, 1150, 1650, 0.85, 0.0, 0.00, _N, 0, 0),
    "_": (250, 0.00, -0.08, 0.0, 0.00, 0, 0.00, 450, 1500, 2500, 0.00, 0.0, 0.00, _N, 0, 0),
}
_VOWELS = tuple("iIeEaAOUu")
_VOWEL_WEIGHTS = np.array([1, 1, 1, 1.3, 1.7, 1.3, 1.3, 0.7, 1])  # open vowels are the most visible
_ONSETS = (*"pbmfvszStdnlkghwjrT", "pl", "br", "st", "sp", "fl", "gr", "sm")
_ONSET_WEIGHTS = np.array([3, 3, 4, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1, 1, 2, 1, 2, 1] + [0.6] * 7)
_CODAS = ("", *"pbmnstklfz")
_CODA_WEIGHTS = np.array([9, 1.5, 1, 2, 2, 1.5, 1.5, 1, 1, 1, 1])
# Time constants of the articulators, seconds: the jaw is heavier than the lips.
_TIME_CONSTANTS = {
    "jaw": 0.026,
    "opening": 0.017,
    "width": 0.024,
    "rounding": 0.024,
    "tongue": 0.014,
}
_TIME_CONSTANTS |= {"tuck": 0.016, "f1": 0.014, "f2": 0.016, "f3": 0.016}


@dataclasses.dataclass(frozen=True)
class Utterance:
    """An utterance: int16 (samples,) at `SAMPLE_RATE`, its articulation and its nonsense words."""

    samples: np.ndarray
    articulation: Articulation
    words: tuple[Word, ...]


@dataclasses.dataclass
class _Gestures:
    """A sequence of phones; phone i lasts from `times[i]` to `times[i + 1]`, seconds."""

    phones: list[str]
    times: list[float]
    stress: list[float]
    words: list[Word]

    def add(self, phone: str, seconds: float, stress: float = 1.0) -> None:
        self.phones.append(phone)
        self.times.append(self.times[-1] + seconds)
        self.stress.append(stress)


def synthesize_utterance(voice: Voice, seconds: float, rng: np.random.Generator) -> Utterance:
    """Samples an utterance and synthesizes its audio.

    Args:
        voice: of the speaker.
        seconds: duration; the mouth rests at both ends and in pauses.
        rng: of phones, durations and noise.

    Returns:
        The utterance; samples and articulation start together.

    Raises:
        ValueError: `seconds` is not positive.
    """
    if not seconds > 0:
        raise ValueError(f"speech must last longer than 0 s, not {seconds} s")
    gestures = _sample_utterance(voice, seconds, rng)
    articulation = _articulate(gestures, voice, seconds, rng)
    samples = synthesize_waveform(articulation, voice, round(seconds * SAMPLE_RATE), rng)
    return Utterance(samples, articulation, tuple(gestures.words))


def _sample_utterance(voice: Voice, seconds: float, rng: np.random.Generator) -> _Gestures:
    """Samples phrases of words of syllables, with pauses, that fill `seconds`."""
    gestures = _Gestures([], [0.0], [], [])
    gestures.add("_", min(rng.uniform(0.08, 0.3), 0.15 * seconds))
    words_left = rng.integers(3, 7)
    while True:
        word = [_syllable(voice, rng) for _ in range(rng.choice(3, p=[0.35, 0.45, 0.2]) + 1)]
        start = gestures.times[-1]
        while word and start + _duration(word) > seconds - 0.1:
            word.pop()
        if not word:
            break
        end = start + _duration(word)
        phones = [phone for syllable in word for phone in syllable]
        for phone in phones:
            gestures.add(*phone)
        text = "".join(phone for phone, _, _ in phones)
        gestures.words.append(Word(text, round(start, 3), round(end, 3)))
        words_left -= 1
        if not words_left:
            gestures.add("_", rng.uniform(0.2, 0.55))
            words_left = rng.integers(3, 7)
    gestures.add("_", max(seconds - gestures.times[-1], 0) + 0.2)
    return gestures


def _duration(word: list[list[tuple[str, float, float]]]) -> float:
    """Returns the duration of syllables in seconds."""
    return sum(seconds for syllable in word for _, seconds, _ in syllable)


def _syllable(voice: Voice, rng: np.random.Generator) -> list[tuple[str, float, float]]:
    """Samples onset, vowel and coda as (phone, seconds, stress)."""
    stress = rng.uniform(1.0, 1.2) if rng.random() < 0.5 else rng.uniform(0.65, 0.9)
    onset = _ONSETS[rng.choice(len(_ONSETS), p=_ONSET_WEIGHTS / _ONSET_WEIGHTS.sum())]
    coda = _CODAS[rng.choice(len(_CODAS), p=_CODA_WEIGHTS / _CODA_WEIGHTS.sum())]
    vowel = _VOWELS[rng.choice(len(_VOWELS), p=_VOWEL_WEIGHTS / _VOWEL_WEIGHTS.sum())]
    phones = []
    for phone in onset + vowel + coda:
        length = _PHONES[phone][0] / 1000 / voice.rate * rng.uniform(0.88, 1.15)
        phones.append((phone, length * (stress if phone == vowel else 1.0), stress))
    return phones


def _articulate(
    gestures: _Gestures, voice: Voice, seconds: float, rng: np.random.Generator
) -> Articulation:
    """Computes trajectories from phone targets."""
    times = np.arange(round(seconds * CONTROL_RATE) + 1) / CONTROL_RATE
    rows = np.array([_PHONES[phone] for phone in gestures.phones], float).T
    table = dict(zip(_COLUMNS, rows, strict=True))
    starts, ends = np.array(gestures.times[:-1]), np.array(gestures.times[1:])
    bursts = ends - table["burst"] / 1000
    reach = np.where(
        np.isin(gestures.phones, _VOWELS), voice.effort * np.array(gestures.stress), 1.0
    )
    table["jaw"], table["opening"] = table["jaw"] * reach, table["opening"] * reach
    table["f1"] = table["f1"] * reach**0.4

    tracks = {
        name: _follow(times, starts, bursts, table[name], lag)
        for name, lag in _TIME_CONSTANTS.items()
    }
    # Lips that close pull every resonance down, F1 most (Fant 1960, chapter 1.4).
    shut = np.clip(1 - tracks["opening"] / 0.15, 0, 1)
    formants = np.stack([tracks.pop("f1"), tracks.pop("f2"), tracks.pop("f3")], 1) / voice.tract
    formants = formants * (1 - shut[:, None] * [0.4, 0.15, 0.05])

    phone = np.clip(np.searchsorted(starts, times, "right") - 1, 0, len(starts) - 1)
    burst = (table["burst"] > 0)[phone] & (times >= bursts[phone])
    closed = (table["burst"] > 0)[phone] & ~burst
    gates = {name: table[name][phone] for name in ("voice", "breath", "noise", "nasal")}
    gates["voice"] *= np.where(closed, 0.3, 1.0) * np.sqrt(gestures.stress)[phone]
    for name in ("breath", "noise"):
        gates[name] = np.where(closed, 0.0, gates[name])
    gates = {name: gaussian_filter1d(gate, 1.3, mode="nearest") for name, gate in gates.items()}
    centres = np.where(np.isnan(table["noise_hz"]), 3000.0, table["noise_hz"])[phone]
    pitch = _intonation(times, gestures, voice, rng)
    return Articulation(**tracks, **gates, noise_hz=centres, pitch=pitch, formants=formants)


def _follow(
    times: np.ndarray, starts: np.ndarray, ends: np.ndarray, targets: np.ndarray, lag: float
) -> np.ndarray:
    """Filters targets by a critically damped system, advanced by its group delay."""
    specified = ~np.isnan(targets)
    starts, ends, targets = starts[specified], ends[specified], targets[specified]
    hold = 0.25 * (ends - starts)
    knots = np.stack([starts + hold, ends - hold], 1).ravel()
    decay = np.exp(-1 / (CONTROL_RATE * lag))
    delay = 2 * decay / (1 - decay) / CONTROL_RATE  # group delay of the filter below at 0 Hz
    target = np.interp(times + delay, knots, np.repeat(targets, 2))
    numerator, denominator = [(1 - decay) ** 2], [1, -2 * decay, decay**2]
    state = lfilter_zi(numerator, denominator) * target[0]
    return lfilter(numerator, denominator, target, zi=state)[0]


def _intonation(
    times: np.ndarray, gestures: _Gestures, voice: Voice, rng: np.random.Generator
) -> np.ndarray:
    """Computes F0: declination in a phrase, a rise on stressed vowels, a final fall or question."""
    semitones = np.zeros_like(times)
    rests = [i for i, phone in enumerate(gestures.phones) if phone == "_"]
    for first, last in itertools.pairwise(rests):
        start, end = (
            gestures.times[first + 1],
            max(gestures.times[last], gestures.times[first + 1] + 0.1),
        )
        along = np.clip((times - start) / (end - start), 0, 1)
        inside = (times >= start - 0.1) & (times <= end + 0.1)
        final = rng.choice([-3.0, 4.0], p=[0.8, 0.2])
        contour = 2.0 - 4.0 * along + final * np.clip((along - 0.75) / 0.25, 0, 1)
        semitones = np.where(inside, contour, semitones)
    for i, phone in enumerate(gestures.phones):
        if phone in _VOWELS and gestures.stress[i] >= 1:
            middle = (gestures.times[i] + gestures.times[i + 1]) / 2
            height = rng.uniform(1.0, 3.5)
            semitones = semitones + height * np.exp(-(((times - middle) / 0.08) ** 2))
    flutter = gaussian_filter1d(rng.normal(size=times.size), 8, mode="nearest")
    return voice.pitch * 2 ** (gaussian_filter1d(semitones + flutter, 5, mode="nearest") / 12)
