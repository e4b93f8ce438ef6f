"""Trains or evaluates: python main.py --config=configs/wav2lip.py --workdir=runs/wav2lip."""

import sys

from lipsync_jax.training import command

if __name__ == "__main__":
    command.start(sys.argv)
