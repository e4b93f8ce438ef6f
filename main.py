"""Trains or evaluates: python main.py --config=configs/wav2lip.py --workdir=runs/wav2lip."""

import sys

from lipsync_jax.cli import train

if __name__ == "__main__":
    train.start(sys.argv)
