"""Writes this folder's files; needs PyTorch (made with 2.13) and NumPy.

python tests/golden/torch_files/make.py
"""

import collections
import zipfile
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent


def sample():
    """Something of everything that a checkpoint may hold."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
    state = collections.OrderedDict(
        {
            "module.weight": torch.nn.Parameter(base.clone()),
            "module.transposed": base.t(),
            "module.part": base[1:3, ::2],
            "module.expanded": torch.tensor([[1.5], [2.5]]).expand(2, 3),
            "module.scalar": torch.tensor(7),
            "module.empty": torch.zeros(0, 3),
        }
    )
    state._metadata = {"": {"version": 1}}
    kinds = "float64 float16 bfloat16 int64 int32 int16 int8 uint16 uint8 bool complex64"
    return {
        "state_dict": state,
        "kinds": {kind: torch.arange(5).to(getattr(torch, kind)) for kind in kinds.split()},
        "optimizer": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 1)}]},
        "numpy": np.arange(6, dtype=np.float64).reshape(2, 3),
        "number": np.float32(0.25),
        "size": base.size(),
        "large": 2**70,
        "text": "naïve",
        "nothing": None,
    }


class Block(torch.nn.Module):
    """A network with a list, a buffer and an attribute that is no tensor."""

    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)])
        self.sizes = [3, 2]
        with torch.no_grad():
            self.blocks[0].weight.copy_(torch.arange(6.0).reshape(2, 3))
            self.blocks[0].bias.copy_(torch.tensor([0.5, -0.5]))

    def forward(self, x):
        """The blocks in turn."""
        for block in self.blocks:
            x = block(x)
        return x


def save_script(module, path):
    """Saves TorchScript without its notes on where on this machine the source was."""
    module.save(path)
    with zipfile.ZipFile(path) as archive:
        kept = {n: archive.read(n) for n in archive.namelist() if "debug" not in n}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in kept.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def main():
    """Writes them."""
    torch.save(sample(), FOLDER / "zip.pth")
    torch.save(sample(), FOLDER / "zip_protocol4.pth", pickle_protocol=4)
    torch.save(sample(), FOLDER / "legacy.pth", _use_new_zipfile_serialization=False)
    block = Block().eval()
    save_script(torch.jit.script(block), FOLDER / "scripted.pt")
    save_script(torch.jit.trace(block, torch.zeros(1, 3)), FOLDER / "traced.pt")


if __name__ == "__main__":
    main()
