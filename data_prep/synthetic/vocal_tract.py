"""Synthesizes a waveform from articulator controls: source and noise through five resonances.

The source-filter model (Fant 1960): a KLGLOTT88 pulse (Klatt & Klatt 1990) and noise pass through
formants; sound is radiated by the lips in proportion to their gap, or by the nose.
"""

import dataclasses

import numpy as np
from scipy.signal import decimate, lfilter

SAMPLE_RATE = 16000
CONTROL_RATE = 200  # articulator samples a second

_HOP = SAMPLE_RATE // CONTROL_RATE
_SPECTRUM = 512
_FREQUENCIES = np.fft.rfftfreq(_SPECTRUM, 1 / SAMPLE_RATE)


@dataclasses.dataclass(frozen=True)
class Voice:
    """Parameters of a speaker's voice.

    Attributes:
        pitch: mean fundamental frequency, Hz.
        tract: vocal tract length relative to the table's men; formants are divided by it.
        rate: speed relative to the table's durations.
        effort: how far vowels open the mouth, about 1.
        breath: aspiration under the voice, relative to it.
        open_quotient: open part of a glottal cycle, 0.5 (pressed) to 0.75 (soft).
        room: background noise, RMS relative to full scale.
    """

    pitch: float
    tract: float
    rate: float
    effort: float
    breath: float
    open_quotient: float
    room: float

    @classmethod
    def sample(cls, rng: np.random.Generator, tract: float | None = None) -> "Voice":
        """Samples a voice; `tract` (0.8 to 1.05) may be given to match a face."""
        tract = rng.uniform(0.82, 1.04) if tract is None else tract
        return cls(
            pitch=float(np.clip(112 * 2 ** ((1 - tract) / 0.18 + rng.normal(0, 0.1)), 85, 260)),
            tract=float(tract),
            rate=float(rng.uniform(0.9, 1.15)),
            effort=float(rng.uniform(0.9, 1.1)),
            breath=float(rng.uniform(0.01, 0.04)),
            open_quotient=float(rng.uniform(0.5, 0.7)),
            room=float(10 ** rng.uniform(-3.6, -3.1)),
        )


@dataclasses.dataclass(frozen=True)
class Articulation:
    """Controls at `CONTROL_RATE`; every array is float64 (steps,) but `formants`.

    Attributes:
        jaw: 0 shut to about 1 wide.
        opening: gap between the lips, 0 (touching; below 0 they press) to about 1.
        width: mouth width, -1 narrow to 1 spread.
        rounding: lip protrusion, 0 to 1.
        tuck: lower lip against the upper teeth, 0 to 1.
        tongue: tip raised into view, 0 to 1.
        voice: amplitude of the voiced source, 0 to about 1.
        breath: amplitude of noise made at the glottis.
        noise: amplitude of noise made at a constriction.
        noise_hz: centre frequency of that noise.
        nasal: 1 where sound is radiated by the nose.
        pitch: fundamental frequency, Hz.
        formants: (steps, 3) F1 to F3, Hz.
    """

    jaw: np.ndarray
    opening: np.ndarray
    width: np.ndarray
    rounding: np.ndarray
    tuck: np.ndarray
    tongue: np.ndarray
    voice: np.ndarray
    breath: np.ndarray
    noise: np.ndarray
    noise_hz: np.ndarray
    nasal: np.ndarray
    pitch: np.ndarray
    formants: np.ndarray

    def interpolate(self, name: str, times: np.ndarray) -> np.ndarray:
        """Interpolates one control, such as `jaw`, at times (n,) in seconds."""
        return np.interp(times, np.arange(len(self.jaw)) / CONTROL_RATE, getattr(self, name))


def synthesize_waveform(
    articulation: Articulation, voice: Voice, length: int, rng: np.random.Generator
) -> np.ndarray:
    """Synthesizes a waveform by source and filter, in overlapping blocks of 10 ms.

    Args:
        articulation: the controls; the last values are held if they end early.
        voice: of the speaker.
        length: number of samples.
        rng: of the noise sources.

    Returns:
        int16 (length,) at `SAMPLE_RATE`, at a level of about -20 dB RMS re full scale.
    """
    frames = length // _HOP + 2
    samples = frames * _HOP
    clock = np.arange(samples) / SAMPLE_RATE
    control = {
        field.name: np.interp(
            np.arange(frames) / CONTROL_RATE,
            np.arange(len(articulation.jaw)) / CONTROL_RATE,
            getattr(articulation, field.name),
        )
        for field in dataclasses.fields(Articulation)
        if field.name != "formants"
    }
    index = np.minimum(np.arange(frames), len(articulation.jaw) - 1)
    tract, nose = _resonances(articulation.formants[index], control["nasal"], voice)
    # Sound is radiated by the lips in proportion to their gap, or by the nose.
    lips = np.clip(control["opening"] / 0.6, 0, 1.6) ** 0.6
    outlet = lips * (1 - control["nasal"]) + 0.32 * control["nasal"]
    murmur = 0.05 * control["voice"] * (1 - np.minimum(lips, 1))

    def block(signal: np.ndarray) -> np.ndarray:
        padded = np.concatenate([np.zeros(_HOP), signal, np.zeros(_HOP)])
        blocks = np.lib.stride_tricks.sliding_window_view(padded, 2 * _HOP)[::_HOP][:frames]
        return np.fft.rfft(blocks * np.hanning(2 * _HOP + 1)[:-1], _SPECTRUM)

    white = rng.normal(size=samples)
    pitch = np.interp(clock, np.arange(frames) / CONTROL_RATE, control["pitch"])
    glottis = block(_glottis(pitch, voice.open_quotient))
    hiss = block(white)
    voiced = (outlet * control["voice"])[:, None] * glottis
    breath = (outlet * (control["breath"] * 0.12 + voice.breath * control["voice"]))[:, None] * hiss
    octaves = np.log2(np.maximum(_FREQUENCIES, 50) / control["noise_hz"][:, None])
    friction = (0.25 * control["noise"])[:, None] * np.exp(-((octaves / 0.55) ** 2)) * hiss
    spectra = (voiced + breath) * tract + murmur[:, None] * glottis * nose + friction
    blocks = np.fft.irfft(spectra, _SPECTRUM)
    waveform = np.zeros(samples + _SPECTRUM)
    for start in range(0, _SPECTRUM, _HOP):  # overlap-add: block i starts at sample (i - 1) * hop
        part = blocks[:, start : start + _HOP]
        waveform[start : start + samples] += np.pad(
            part, ((0, 0), (0, _HOP - part.shape[1]))
        ).ravel()
    waveform = waveform[_HOP : _HOP + length]
    level = np.sqrt(np.mean(waveform**2)) + 1e-9
    waveform = 0.8 * np.tanh(waveform / level * 0.1 / 0.8)
    room = lfilter([1], [1, -0.7], rng.normal(size=length)) * voice.room
    return np.round(32767 * np.clip(waveform + room, -1, 1)).astype(np.int16)


def _resonances(
    formants: np.ndarray, nasal: np.ndarray, voice: Voice
) -> tuple[np.ndarray, np.ndarray]:
    """Computes transfer functions of the tract and of closed lips: complex (frames, bins)."""
    delay = np.exp(-2j * np.pi * _FREQUENCIES / SAMPLE_RATE)
    tract = np.ones((len(formants), delay.size), complex)
    upper = np.array([3500.0, 4500.0]) / voice.tract
    centres = np.concatenate([formants, np.broadcast_to(upper, (len(formants), 2))], axis=1)
    widths = 50 + 0.05 * centres + 120 * nasal[:, None]  # the nose damps
    for centre, width in zip(centres.T[:, :, None], widths.T[:, :, None], strict=True):
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        feedback = 2 * radius * np.cos(2 * np.pi * centre / SAMPLE_RATE)
        gain = 1 - feedback + radius**2
        tract *= gain / (1 - feedback * delay + radius**2 * delay**2)
    murmur = 1 / (1 + (_FREQUENCIES / 300) ** 4)
    return tract, murmur


def _glottis(pitch: np.ndarray, open_quotient: float) -> np.ndarray:
    """Computes the flow derivative of the KLGLOTT88 pulse (Klatt & Klatt 1990) at 4x, decimated."""
    oversampling = 4
    cycle = np.cumsum(np.repeat(pitch, oversampling)) / (SAMPLE_RATE * oversampling) % 1
    t = cycle / open_quotient
    slope = np.where(t < 1, 2 * t - 3 * t**2, 0.0)
    return decimate(slope, oversampling, ftype="fir")
