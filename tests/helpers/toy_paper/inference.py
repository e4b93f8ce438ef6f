"""Inference of the toy paper."""

from lipsync_jax.data.audio_features import MEL
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.methods.inference import DubbingInference
from tests.helpers.toy_paper.method import Generator


def make(model_card) -> "ToyInference":
    return ToyInference(model_card["config"]["data"]["crop"])


class ToyInference(DubbingInference):
    audio_features = MEL

    def __init__(self, crop):
        self.crop, self.image_size = crop, CROP_SPECS[crop].height

    def generate(self, variables, audio, faces, references, first_row=0):
        return Generator().apply(variables, audio, references)[:, first_row:]
