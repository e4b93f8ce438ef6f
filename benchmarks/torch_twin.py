"""Wav2Lip's generator and expert in PyTorch, and one training step, as a baseline of speed.

Written from the layer tables of Prajwal et al. 2020 and of the published checkpoints, with
the names of their tensors, so that
`lipsync_jax.methods.wav2lip.torch_weights.from_variables` fills them.
"""

import torch
from torch import nn
from torch.nn import functional as F

FRAMES = 5
SYNC_WEIGHT = 0.03

# Rows (features, kernel, stride, padding, residual); the vertical axis first.
AUDIO = [
    *[(32, 3, 1, 1, False), (32, 3, 1, 1, True), (32, 3, 1, 1, True)],
    *[(64, 3, (3, 1), 1, False), (64, 3, 1, 1, True), (64, 3, 1, 1, True)],
    *[(128, 3, 3, 1, False), (128, 3, 1, 1, True), (128, 3, 1, 1, True)],
    *[(256, 3, (3, 2), 1, False), (256, 3, 1, 1, True)],
]
EMBED = [(512, 3, 1, 0, False), (512, 1, 1, 0, False)]
FACE = [
    [(16, 7, 1, 3, False)],
    [(32, 3, 2, 1, False), *[(32, 3, 1, 1, True)] * 2],
    [(64, 3, 2, 1, False), *[(64, 3, 1, 1, True)] * 3],
    [(128, 3, 2, 1, False), *[(128, 3, 1, 1, True)] * 2],
    [(256, 3, 2, 1, False), *[(256, 3, 1, 1, True)] * 2],
    [(512, 3, 2, 1, False), (512, 3, 1, 1, True)],
    EMBED,
]
# (features, residual blocks) after each transposed convolution.
DECODER = [(512, 1), (512, 2), (384, 2), (256, 2), (128, 2), (64, 2)]
EXPERT_FACE = [
    *[(32, 7, 1, 3, False), (64, 5, (1, 2), 1, False), *[(64, 3, 1, 1, True)] * 2],
    *[(128, 3, 2, 1, False), *[(128, 3, 1, 1, True)] * 3],
    *[(256, 3, 2, 1, False), *[(256, 3, 1, 1, True)] * 2],
    *[(512, 3, 2, 1, False), *[(512, 3, 1, 1, True)] * 2],
    (512, 3, 2, 1, False),
]


class Block(nn.Module):
    """Convolution or transposed convolution, BatchNorm, residual sum, ReLU."""

    def __init__(self, convolution: nn.Module, features: int, residual: bool = False):
        super().__init__()
        self.conv_block = nn.Sequential(convolution, nn.BatchNorm2d(features))
        self.residual = residual

    def forward(self, x):
        y = self.conv_block(x)
        return F.relu(y + x if self.residual else y)


class Stack:
    """Builds sequences of blocks and tracks the number of channels."""

    def __init__(self, inputs: int, width: float):
        self.inputs, self.width = inputs, width

    def scaled(self, features: int) -> int:
        return max(8, round(features * self.width))

    def blocks(self, rows) -> list[Block]:
        built = []
        for features, kernel, stride, padding, residual in rows:
            outputs = self.scaled(features)
            convolution = nn.Conv2d(self.inputs, outputs, kernel, stride, padding)
            built.append(Block(convolution, outputs, residual))
            self.inputs = outputs
        return built

    def upwards(self, features: int, first: bool) -> Block:
        outputs = self.scaled(features)
        shape = (3, 1, 0, 0) if first else (3, 2, 1, 1)
        convolution = nn.ConvTranspose2d(self.inputs, outputs, *shape)
        self.inputs = outputs
        return Block(convolution, outputs)


class Generator(nn.Module):
    """Audio (n, 1, 80, 16) and faces (n, 6, 96, 96) -> logits (n, 3, 96, 96)."""

    def __init__(self, width: float = 1.0):
        super().__init__()
        self.audio_encoder = nn.Sequential(*Stack(1, width).blocks([*AUDIO, *EMBED]))
        encoder = Stack(6, width)
        stages = [encoder.blocks(rows) for rows in FACE]
        self.face_encoder_blocks = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        skips = [encoder.scaled(rows[-1][0]) for rows in FACE]

        decoder = Stack(encoder.inputs, width)
        decoded = [decoder.blocks([(512, 1, 1, 0, False)])]
        decoder.inputs += skips.pop()
        for i, (features, count) in enumerate(DECODER):
            up = decoder.upwards(features, first=i == 0)
            decoded.append([up, *decoder.blocks([(features, 3, 1, 1, True)] * count)])
            decoder.inputs += skips.pop()
        self.face_decoder_blocks = nn.ModuleList(nn.Sequential(*stage) for stage in decoded)
        (block,) = decoder.blocks([(32, 3, 1, 1, False)])
        self.output_block = nn.Sequential(block, nn.Conv2d(decoder.inputs, 3, 1))

    def forward(self, audio, faces):
        skips = []
        for stage in self.face_encoder_blocks:
            faces = stage(faces)
            skips.append(faces)
        x = self.audio_encoder(audio)
        for stage in self.face_decoder_blocks:
            x = torch.cat([stage(x), skips.pop()], dim=1)
        return self.output_block(x)


class Expert(nn.Module):
    """Audio (n, 1, 80, 16) and faces (n, 15, 48, 96) -> two embeddings of length 1."""

    def __init__(self, width: float = 1.0):
        super().__init__()
        self.face_encoder = nn.Sequential(*Stack(15, width).blocks([*EXPERT_FACE, *EMBED]))
        audio = [*AUDIO, (256, 3, 1, 1, True), *EMBED]
        self.audio_encoder = nn.Sequential(*Stack(1, width).blocks(audio))

    def forward(self, audio, faces):
        return tuple(
            F.normalize(tower(x).flatten(1))
            for tower, x in ((self.audio_encoder, audio), (self.face_encoder, faces))
        )


def fill(module: nn.Module, state_dict):
    """Loads NumPy arrays by name; only BatchNorm's counters may be missing."""
    tensors = {name: torch.tensor(value) for name, value in state_dict.items()}
    left = module.load_state_dict(tensors, strict=False)
    wrong = [name for name in left.missing_keys if not name.endswith("num_batches_tracked")]
    if wrong or left.unexpected_keys:
        raise ValueError(f"missing {wrong[:3]}, unexpected {left.unexpected_keys[:3]}")


class TrainingStep:
    """The generator's training step with a frozen expert in eval mode and Adam.

    Batches are as in lipsync_jax: uint8 (n, windows, 5, 96, 96, 3) `frames` and `reference`,
    float32 (n, windows, 5, 16, 80) `audio` and (n, windows, 16, 80) `sync_audio`.
    """

    def __init__(self, generator: Generator, expert: Expert, memory_format):
        self.generator, self.expert = generator.train(), expert.eval().requires_grad_(False)
        self.format = memory_format
        # The fused version is PyTorch's fastest.
        self.optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4, fused=True)

    def loss(self, batch):
        """Returns loss, L1 loss and sync loss."""
        target, reference = (
            batch[name].flatten(0, 2).permute(0, 3, 1, 2).to(memory_format=self.format) / 255
            for name in ("frames", "reference")
        )
        masked = target.clone()
        masked[:, :, 48:] = 0
        audio = batch["audio"].flatten(0, 2).transpose(1, 2)[:, None]
        mel = batch["sync_audio"].flatten(0, 1).transpose(1, 2)[:, None]
        generated = torch.sigmoid(self.generator(audio, torch.cat([masked, reference], dim=1)))
        lower = generated[:, :, 48:].reshape(-1, FRAMES * 3, 48, 96)
        audio_embedding, video_embedding = self.expert(mel, lower.to(memory_format=self.format))
        cosine = F.cosine_similarity(audio_embedding, video_embedding).clamp(0, 1)
        with torch.autocast(cosine.device.type, enabled=False):  # which refuses this loss
            sync = F.binary_cross_entropy(cosine.float(), torch.ones_like(cosine.float()))
        l1 = F.l1_loss(generated, target)
        return SYNC_WEIGHT * sync + (1 - SYNC_WEIGHT) * l1, l1, sync

    def step(self, batch) -> dict[str, torch.Tensor]:
        """Runs one step; returns the scalars that lipsync_jax logs too."""
        self.optimizer.zero_grad()
        loss, l1, sync = self.loss(batch)
        loss.backward()
        grads = [p.grad for p in self.generator.parameters()]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        self.optimizer.step()
        return {
            "loss": loss.detach(),
            "l1": l1.detach(),
            "sync_loss": sync.detach(),
            "grad_norm": norm,
        }
