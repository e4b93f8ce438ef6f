"""The `lipsync` command with stand-ins for network and detector, in a process of its own."""

import itertools
import os
import sys
import time
from pathlib import Path

from lipsync_jax.cli import main
from tests.helpers import colour_faces, scenes

PAUSE_VARIABLE = "TOY_WEB_PAUSE"  # path of a file; while it exists, two batches are generated
calls = itertools.count()


def generate(windows, faces):
    pause = os.environ.get(PAUSE_VARIABLE)
    after_two = next(calls) >= 2
    while pause and after_two and Path(pause).exists():
        time.sleep(0.05)
    return scenes.brightness_from_loudness(windows, faces)


if __name__ == "__main__":
    from lipsync_jax.faces import tracking
    from lipsync_jax.synthesis.dubbing import LipSyncPipeline

    tracking.get_detector = lambda _: colour_faces.detect
    LipSyncPipeline.load = lambda _: scenes.lip_sync_pipeline(generate)
    sys.exit(main.main(sys.argv[1:]))
