"""Trains, evaluates or compiles: python main.py --config=configs/wav2lip.py --workdir=runs/w."""

import sys

from lipsync_jax.cli import train

if __name__ == "__main__":
    train.start(sys.argv)
