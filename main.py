"""Trains or evaluates: python main.py --config=configs/wav2lip.py --workdir=runs/wav2lip."""

import json
import sys

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file("config", help_string="configs/<method>.py[:variant]")
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run; an existing run is resumed")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "what to do")
_SPLIT = flags.DEFINE_enum("split", "test", ["validation", "test"], "clips to evaluate on")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "join the hosts of a pod or cluster")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port, where the cluster can't tell")
_PROCESSES = flags.DEFINE_integer("processes", None, "hosts, where the cluster can't tell")
_PROCESS = flags.DEFINE_integer("process", None, "this host, where the cluster can't tell")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; every option starts with --")
    from lipsync_jax.training import launch, loop

    launch.start(_DISTRIBUTED.value, _COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    try:
        if _MODE.value == "train":
            scalars = loop.train(_CONFIG.value, _WORKDIR.value)
        else:
            scalars = loop.evaluate(_CONFIG.value, _WORKDIR.value, _SPLIT.value)
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        logging.debug("where it came from", exc_info=error)
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as stop:
        print(stop, file=sys.stderr)
        sys.exit(130)
    if launch.is_first():
        print(json.dumps(scalars))


if __name__ == "__main__":
    app.run(main)
