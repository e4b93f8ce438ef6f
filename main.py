"""Trains or evaluates: python main.py --config=configs/wav2lip.py --config.data.dir=DATA."""

import json
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file("config", help_string="configs/<method>.py[:variant]")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the run, by default runs/<config>; an existing run is resumed"
)
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "what to do")
_SPLIT = flags.DEFINE_enum("split", "test", ["validation", "test"], "clips to evaluate on")
_ALLOW_CHANGES = flags.DEFINE_bool(
    "allow_changes", False, "resume with another seed, batch, data or model than before"
)
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "join the hosts of a pod or cluster")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port, where the cluster can't tell")
_PROCESSES = flags.DEFINE_integer("processes", None, "hosts, where the cluster can't tell")
_PROCESS = flags.DEFINE_integer("process", None, "this host, where the cluster can't tell")


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    if len(argv) > 1:
        sys.exit(f"error: unexpected argument {argv[1]!r}; every option starts with --")
    if flags.FLAGS["config"].value is None:
        sys.exit(f"error: name an experiment with --config; {_known()}")
    experiment = config_flags.get_config_filename(flags.FLAGS["config"])
    if not (path := Path(experiment.partition(".py:")[0]).with_suffix(".py")).is_file():
        sys.exit(f"error: there is no config {path}; {_known()}")
    from lipsync_jax.training import launch, loop

    workdir = _WORKDIR.value or default_workdir(experiment)
    try:
        launch.start(_DISTRIBUTED.value, _COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
        if _MODE.value == "train":
            scalars = loop.train(_CONFIG.value, workdir, _ALLOW_CHANGES.value)
        else:
            scalars = loop.evaluate(_CONFIG.value, workdir, _SPLIT.value)
    except KeyboardInterrupt as stop:
        launch.leave(130, str(stop) or "stopped before the run began; nothing was to be saved")
    except Exception as error:
        logging.debug("where it came from", exc_info=error)
        if (sentence := launch.sentence(error)) is None:
            raise
        launch.leave(1, f"error: {sentence}")
    if launch.is_first():
        print(json.dumps(scalars))


def default_workdir(config: str) -> Path:
    """`configs/wav2lip.py:tiny` -> runs/wav2lip_tiny."""
    path, _, variant = config.partition(".py:")
    name = Path(path).name.removesuffix(".py")
    return Path("runs") / (f"{name}_{variant}" if variant else name)


def _known() -> str:
    """The experiments there are."""
    files = sorted((Path(__file__).parent / "configs").glob("[!_]*.py"))
    names = ", ".join(f"configs/{p.name}" for p in files if p.stem != "common")
    return f"there are {names}, each with variants (configs/wav2lip.py:tiny)"


def _parse(argv: list[str]) -> list[str]:
    """Flags -> the other arguments; what is wrong with a flag is one sentence."""
    try:
        return flags.FLAGS(argv)
    except (flags.Error, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        text = str(error).replace("\\n", "\n").replace("\\'", "'")
        lines = [line.strip().strip("'") for line in text.splitlines() if line.strip()]
        if any(line.startswith("Traceback") for line in lines):  # of the config's own code
            lines = [lines[-1].partition(": ")[2]]
        if isinstance(error, AttributeError | KeyError):
            lines = ["the config has no", *lines]
        sys.exit(f"error: {' '.join(lines)} (--help lists the options)")


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
