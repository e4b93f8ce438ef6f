"""Networks that judge sync: SyncNet v2 with the released weights, or a sync expert trained here."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax.data import windows
from lipsync_jax.data.clip import GEOMETRIES
from lipsync_jax.media import audio
from lipsync_jax.methods.syncnet.model import SyncNetV2
from lipsync_jax.methods.wav2lip import sync_expert
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.provenance import metadata
from lipsync_jax.training import checkpoints
from lipsync_jax.types import Variables

RATE = 25  # frames a second that both kinds were trained at
FRAMES = windows.SYNC_FRAMES
SAMPLES = audio.SAMPLE_RATE // RATE  # of sound a frame
SYNCNET, EXPERT = "syncnet_v2", "sync_expert"
_BATCH = {SYNCNET: 10, EXPERT: 32}  # windows
_MFCC_WINDOW, _MFCC_STEP = 20, 4  # columns of a window, and from one frame to the next


class Judge:
    """Embeds five frames in a row, and their sound, close together where they belong together.

    Attributes:
        kind: `syncnet_v2` or `sync_expert`; only the first gives LSE.
        model: a name for its weights, see `provenance.model_hash`.
        size: rows and columns of its crops.
        cut: `syncnet` (see `cropping.syncnet_boxes`) or `face` (see `faces.face_box`).
        geometry: of the shards that it was trained on; empty for SyncNet.
    """

    def __init__(
        self,
        kind: str,
        model: str,
        size: int,
        embed_lips: Callable,
        embed_sound: Callable,
        geometry: str = "",
    ) -> None:
        self.kind, self.model, self.size, self.geometry = kind, model, size, geometry
        self.cut = "syncnet" if kind == SYNCNET else "face"
        self._embed_lips, self._embed_sound = embed_lips, embed_sound

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "Judge":
        """Loads a judge.

        Args:
            directory: what `lipsync convert syncnet_v2.model` wrote, or the workdir of a sync
                expert.

        Raises:
            FileNotFoundError: there is no checkpoint, or it holds no judge.
            ValueError: its weights are of another network.
        """
        folder = checkpoints.find(directory)
        player = "syncnet" if (folder / "syncnet").is_dir() else "expert"
        if not (folder / player).is_dir():
            raise FileNotFoundError(
                f"checkpoint {directory} holds nothing that judges sync; name one that "
                "`lipsync convert syncnet_v2.model` wrote, or a run of configs/sync_expert.py"
            )
        if player == "syncnet":
            return _loaded(directory, SYNCNET, 224, *_syncnet())
        config = ml_collections.ConfigDict(checkpoints.read_card(directory)["config"])
        with checkpoints.fitting(directory):
            geometry, embed = config.data.geometry, _expert(config)
            size = GEOMETRIES[geometry].height
        return _loaded(directory, EXPERT, size, *embed, geometry)

    def lips(self, crops: Iterable[np.ndarray]) -> np.ndarray:
        """Embeds a stream of pictures, holding a batch of them at a time.

        Args:
            crops: uint8 (size, size, 3) BGR, 25 a second.

        Returns:
            float32 (frames - 4, d), window i of frames i to i + 4; (0, 0) with fewer frames.
        """
        batch, held, found = _BATCH[self.kind], [], []
        for crop in crops:
            held.append(crop)
            if len(held) == batch + FRAMES - 1:
                found.append(np.asarray(self._embed_lips(np.stack(held))))
                del held[:batch]
        if len(held) >= FRAMES:
            count = len(held) - FRAMES + 1
            held += held[-1:] * (batch + FRAMES - 1 - len(held))
            found.append(np.asarray(self._embed_lips(np.stack(held)))[:count])
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    def sound(self, samples: np.ndarray, count: int) -> np.ndarray:
        """Embeds the sound of windows.

        Args:
            samples: float32 (samples,), 16 kHz; the first sounds when window 0's first frame is
                shown.
            count: windows, one frame apart; those beyond the sound hear silence.

        Returns:
            float32 (count, d).
        """
        cut = _mfcc_windows if self.kind == SYNCNET else _mel_windows
        features, batch = cut(samples, count), _BATCH[self.kind]
        padded = np.pad(features, [(0, -count % batch), (0, 0), (0, 0)])
        parts = [self._embed_sound(padded[i : i + batch]) for i in range(0, len(padded), batch)]
        return np.concatenate([np.asarray(part) for part in parts])[:count]

    def sound_around(
        self, samples: np.ndarray, first: int, count: int, shift: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The sound of windows, and of those up to `shift` frames before and after them.

        Args:
            samples: float32 (samples,), 16 kHz.
            first: the sample that sounds when window 0's first frame is shown; may be negative.
            count: windows.
            shift: frames.

        Returns:
            float32 (count + 2 * shift, d); and bool, whether the sound holds all of that window.
        """
        total = count + 2 * shift
        starts = first - shift * SAMPLES + SAMPLES * np.arange(total)
        inside = (starts >= 0) & (starts + FRAMES * SAMPLES <= len(samples))
        begin, end = starts[0], starts[-1] + (FRAMES + 1) * SAMPLES
        part = samples[max(begin, 0) : max(end, 0)]
        part = np.pad(part, (max(-begin, 0), 0))[: end - begin]
        return self.sound(np.pad(part, (0, end - begin - len(part))), total), inside


def _loaded(
    directory: str | os.PathLike,
    kind: str,
    size: int,
    embed_lips: Callable,
    embed_sound: Callable,
    geometry: str = "",
) -> Judge:
    syncnet = kind == SYNCNET
    shape = (_MFCC_WINDOW, 13) if syncnet else (windows.MEL_WINDOW, audio.MEL_BINS)
    frames = jax.ShapeDtypeStruct((_BATCH[kind] + FRAMES - 1, size, size, 3), jnp.uint8)
    sound = jax.ShapeDtypeStruct((_BATCH[kind], *shape), jnp.float32)

    def check(variables: Variables) -> None:
        jax.eval_shape(embed_lips, variables, frames)
        jax.eval_shape(embed_sound, variables, sound)

    player = "syncnet" if syncnet else "expert"
    variables, _ = checkpoints.load_inference(directory, player, check)
    on_device = jax.device_put(variables)
    lips, heard = jit(embed_lips), jit(embed_sound)
    return Judge(
        kind,
        metadata.model_hash(variables),
        size,
        lambda frames: lips(on_device, frames),
        lambda features: heard(on_device, features),
        geometry,
    )


def _runs(frames: jax.Array) -> jax.Array:
    """Windows of five frames, (n, h, w, 3) -> (n - 4, 5, h, w, 3) float32, 0 to 255."""
    index = jnp.arange(frames.shape[0] - FRAMES + 1)[:, None] + jnp.arange(FRAMES)
    return frames[index].astype(jnp.float32)


def _syncnet() -> tuple[Callable, Callable]:
    module: Any = SyncNetV2()  # whose functions return arrays, which `apply` does not tell

    def embed_lips(variables: Variables, frames: jax.Array) -> jax.Array:
        return module.apply(variables, _runs(frames), method="embed_lips")

    def embed_sound(variables: Variables, mfcc: jax.Array) -> jax.Array:
        return module.apply(variables, mfcc.swapaxes(1, 2)[..., None], method="embed_audio")

    return embed_lips, embed_sound


def _expert(config: ml_collections.ConfigDict) -> tuple[Callable, Callable]:
    module: Any = sync_expert.network(config)  # likewise
    size = module.image_size

    # Either tower runs beside an empty input of the other, which the compiler leaves out.
    def embed_lips(variables: Variables, frames: jax.Array) -> jax.Array:
        faces = sync_expert.stack_lower_half(_runs(frames) / 255)
        silence = jnp.zeros((len(faces), audio.MEL_BINS, windows.MEL_WINDOW, 1))
        return module.apply(variables, silence, faces, train=False)[1]

    def embed_sound(variables: Variables, mel: jax.Array) -> jax.Array:
        faces = jnp.zeros((len(mel), size // 2, size, 3 * FRAMES))
        return module.apply(variables, sync_expert.as_audio(mel), faces, train=False)[0]

    return embed_lips, embed_sound


def _mfcc_windows(samples: np.ndarray, count: int) -> np.ndarray:
    mfcc = audio.syncnet_mfcc(audio.to_int16(samples)).astype(np.float32)
    silent = audio.syncnet_mfcc(np.zeros(400, np.int16))[0].astype(np.float32)
    needed = _MFCC_STEP * (count - 1) + _MFCC_WINDOW
    missing = np.tile(silent, (max(0, needed - len(mfcc)), 1))
    starts = _MFCC_STEP * np.arange(count)
    return np.concatenate([mfcc, missing])[starts[:, None] + np.arange(_MFCC_WINDOW)]


def _mel_windows(samples: np.ndarray, count: int) -> np.ndarray:
    starts = windows.mel_window_start(np.arange(count), RATE)
    return windows.take_windows(audio.mel_spectrogram(samples), starts)
