"""Runs `lipsync` as `python -m lipsync_jax.cli`."""

import sys

from lipsync_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
