"""A node for ComfyUI: frames and speech in, frames with matching lips out.

Copy this folder to ComfyUI/custom_nodes/lipsync_jax and install lipsync_jax in ComfyUI's Python.
"""

import functools
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lipsync_jax.media import audio, video_reader
from lipsync_jax.media.video_writer import VideoWriter
from lipsync_jax.synthesis.dubbing import LipSyncPipeline
from lipsync_jax.synthesis.options import DEFAULT_QUALITY, QUALITIES

_LABEL = "synthetic"  # frames have no metadata, so by default they say it themselves
_BUILT_IN = "built-in"


@functools.lru_cache(maxsize=1)
def _pipeline(checkpoint: str) -> LipSyncPipeline:
    """Loads a checkpoint once for many runs of a workflow."""
    return LipSyncPipeline.load(None if checkpoint in ("", _BUILT_IN) else checkpoint)


class DubFaces:
    """Lip-syncs frames to speech."""

    CATEGORY = "lipsync_jax"
    FUNCTION = "dub"
    RETURN_TYPES = ("IMAGE", "AUDIO", "STRING")
    RETURN_NAMES = ("frames", "audio", "report")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # the name that ComfyUI calls
        """Returns the inputs, as ComfyUI describes them."""
        return {
            "required": {
                "frames": ("IMAGE",),
                "audio": ("AUDIO",),
                "fps": ("FLOAT", {"default": 25.0, "min": 1.0, "max": 240.0, "step": 0.001}),
                "quality": (list(QUALITIES), {"default": DEFAULT_QUALITY}),
                "consent": ("BOOLEAN", {"default": False}),
            },
            "optional": {
                "checkpoint": ("STRING", {"default": _BUILT_IN}),
                "label": ("STRING", {"default": _LABEL}),
            },
        }

    def dub(
        self,
        frames: Any,
        audio: Any,
        fps: float,
        quality: str,
        consent: bool,
        checkpoint: str = _BUILT_IN,
        label: str = _LABEL,
    ) -> tuple[Any, Any, str]:
        """Dubs the frames.

        Args:
            frames: float tensor (n, height, width, 3), RGB in [0, 1].
            audio: `waveform`, a float tensor (1, channels, samples), and `sample_rate`.
            fps: frames a second.
            quality: see `lipsync dub --quality`.
            consent: of everyone shown and heard.
            checkpoint: folder of a run, of `lipsync convert` or of `lipsync export`.
            label: text written on every frame; empty: none.

        Returns:
            Frames as long as the audio, the audio, and a report in words.

        Raises:
            ValueError: there is no consent, or an input can't be used.
        """
        if not consent:
            raise ValueError(
                "set consent to true: it says that everyone shown and heard agreed to this video, "
                "and that it will be called synthetic"
            )
        rate = Fraction(fps).limit_denominator(1001)
        with tempfile.TemporaryDirectory(prefix="lipsync_") as folder:
            face, speech, out = (Path(folder, name) for name in ("in.mkv", "in.wav", "out.mkv"))
            _write_frames(face, frames, rate)
            _write_audio(speech, audio)
            options = {
                "quality": quality,
                "lossless": True,
                "label": label or None,
                "cache": False,
                "fps": rate,  # of a single frame, which is read as an image
            }
            result = _pipeline(checkpoint).generate(face, speech, out, **options)
            images = [frame.image for frame in video_reader.read_frames(out)]
        dubbed = torch.from_numpy(np.stack(images).astype(np.float32) / 255)
        report = f"{result.edited} of {result.frames} frames edited; {result.credit}"
        return dubbed, audio, "\n".join([report, *result.notes])


def _write_frames(path: Path, frames: Any, rate: Fraction) -> None:
    images = np.rint(np.asarray(frames.cpu()).clip(0, 1) * 255).astype(np.uint8)
    # FFmpeg's usual pixels come in pairs.
    height, width = (size - size % 2 for size in images.shape[1:3])
    with VideoWriter(path, rate, (width, height), lossless=True) as writer:
        for number, image in enumerate(images):
            writer.write(np.ascontiguousarray(image[:height, :width, :3]), number / rate)


def _write_audio(path: Path, sound: Any) -> None:
    samples = np.asarray(sound["waveform"].cpu(), np.float32)[0]
    audio.save(path, samples.mean(axis=0), int(sound["sample_rate"]))


NODE_CLASS_MAPPINGS = {"LipsyncJaxDubFaces": DubFaces}
NODE_DISPLAY_NAME_MAPPINGS = {"LipsyncJaxDubFaces": "Dub faces (lipsync_jax)"}
