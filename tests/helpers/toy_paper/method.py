"""Training of the toy paper: a face is tinted by its audio."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from lipsync_jax.data.audio_features import MEL
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.data.feature_cache import FeatureCache
from lipsync_jax.methods.base import Method, Network, init_train_state, make_optimizer


class Generator(nn.Module):
    @nn.compact
    def __call__(self, audio, references, train=False):
        tint = nn.Dense(3, name="tint")(audio.mean(axis=1))
        return nn.sigmoid(nn.Conv(3, (1, 1), name="mix")(references) + tint[:, None, None])


def make(config, model_cards):
    return Toy(config, model_cards)


class Toy(Method):
    best_metric = ("l1", "min")

    def __init__(self, config, model_cards):
        super().__init__(config, model_cards)
        self.networks = {"generator": Network(Generator(), make_optimizer(config.optimizer))}
        self._feature_cache = FeatureCache()

    def make_example(self, clip, rng):
        frame, reference = rng.integers(0, len(clip.frames), 2)
        frames = decode_frames(clip, [frame, reference])
        starts = MEL.window_starts([int(frame) / clip.frame_rate])
        audio = MEL.gather(self._feature_cache.mel(clip), starts)[0]
        return {"frames": frames[0], "reference": frames[1], "audio": audio}

    def init(self, key, batch):
        generator = self.networks["generator"]
        variables = generator.module.init(key, batch["audio"][:1], _unit(batch["reference"][:1]))
        return init_train_state(key, {"generator": generator.init_state(variables)})

    def _l1(self, params, batch):
        faces = self.networks["generator"].module.apply(
            {"params": params}, batch["audio"], _unit(batch["reference"])
        )
        return jnp.abs(faces - _unit(batch["frames"])).mean(axis=(1, 2, 3))

    def train_step(self, state, batch, key):
        before = state.networks["generator"]
        loss, grads = jax.value_and_grad(lambda p: self._l1(p, batch).mean())(before.params)
        after = self.networks["generator"].apply_gradients(before, grads, before.batch_stats)
        return state.next_step(generator=after), {"loss": loss}

    def eval_step(self, state, batch):
        return {"l1": self._l1(state.networks["generator"].params, batch)}


def _unit(images):
    return images.astype(jnp.float32) / 255
