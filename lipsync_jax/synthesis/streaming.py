"""A face that says what is coming in: frames are drawn while the voice is still going on."""

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np

from lipsync_jax.faces.trajectory import FacePath
from lipsync_jax.media.audio import SAMPLE_RATE
from lipsync_jax.media.frame_source import Source
from lipsync_jax.media.video_reader import Frame
from lipsync_jax.synthesis import driving_audio, renderer
from lipsync_jax.synthesis.batching import Batcher
from lipsync_jax.synthesis.options import Options
from lipsync_jax.synthesis.renderer import Redrawing, Role


class Prepared:
    """A face that was found in its video, with the network compiled; made by `Synthesizer.prepare`.

        prepared = synthesizer.prepare("face.mp4", batch_size=1)
        for frame in prepared.stream(microphone, rate=16_000):
            show(frame.image, frame.time)

    **Look-ahead.** Wav2Lip's frame shown at second t hears the voice up to t + 0.15 s (a window of
    0.2 s that begins 0.04 s before it; 0.04 s later with `alignment="published"`), the spectrum's
    own reach of 0.025 s more, and waits for a block of 0.05 s to be full: at 16 kHz it can be drawn
    once t + 0.225 s have been heard. Resampling from 22 to 48 kHz takes up to 0.042 s more, from
    8 kHz 0.12 s. LipGAN's windows end 0.2 s after their frame, so it needs t + 0.275 s.

    **Latency.** To that come the chunk's own length, the time until `batch_size` frames are due
    (none for `batch_size=1`; (batch_size - 1) / frame_rate in general) and the time that drawing
    takes. No chunk is taken before all frames are given that can do without it.

    **Equality.** The frames are bit for bit those that `Synthesizer.generate` gives its encoder for
    a recording of the same samples, with the same options and the same `batch_size` (another
    batch size is another program, whose sums may round differently). There is one exception:
    `generate` looks for the most prominent face in the part of the video that it shows, and this in
    the whole; where that is not the same person, choose by `face_id`.

    Attributes:
        frame_rate: frames a second, exact.
        size: (width, height) of the frames.
    """

    def __init__(self, batcher: Batcher, shown: Source, path: FacePath, options: Options) -> None:
        self._batcher, self._shown, self._path, self._options = batcher, shown, path, options
        self.frame_rate, self.size = shown.output_rate, shown.size

    def stream(self, chunks: Iterable[np.ndarray], rate: int = SAMPLE_RATE) -> Iterator[Frame]:
        """Draws the face saying a voice, as it comes.

        May be called again for another voice; each starts at the video's first frame. Memory does
        not grow with length.

        Args:
            chunks: the voice in pieces of any length: int16, or float with full scale 1; (samples,)
                or (samples, channels). They are taken one by one, in the caller's thread.
            rate: samples a second.

        Yields:
            Frames (uint8 RGB (height, width, 3), time in exact seconds of the voice, number), until
            the voice ends or, with `loop="none"`, the video does.

        Raises:
            ValueError: samples are not finite.
        """
        voice = driving_audio.Live(chunks, rate, self._batcher.editor.hears)
        role = Role(self._path, voice)
        run = Redrawing(self._batcher, self._shown, [role], self._options)
        moments = []

        def planned() -> Iterator[renderer.Planned]:
            frames = renderer.plan(self._shown, self._path.times, voice.length, self._options.loop)
            for number, moment in frames:
                moments.append(moment)
                yield number, moment

        with contextlib.closing(run.images(planned(), ahead=False)) as images:
            for index, image in enumerate(images):
                yield Frame(moments.pop(0), image, index)
