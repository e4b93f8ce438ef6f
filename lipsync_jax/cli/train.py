"""`python main.py` and `lipsync train`: absl flags in; trains, evaluates or compiles."""

import json
import os
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from lipsync_jax import paths, progress
from lipsync_jax.cli import _config_files, _interrupts, _streams
from lipsync_jax.cli._terminal import PROGRESS_HELP, TRACEBACK_VARIABLE, describe_unexpected

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="configs/<method>.py[:variant], or just <method>[:variant]"
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the run, resumed if it exists (default: runs/<config>)"
)
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate", "compile"], "what to do")
_SPLIT = flags.DEFINE_enum("split", "test", ["validation", "test"], "clips to evaluate on")
_ALLOW_CHANGES = flags.DEFINE_bool(
    "allow_changes", False, "resume with another seed, batch size, data or model than before"
)
_PROFILE_STEPS = flags.DEFINE_string(
    "profile_steps", "", "FIRST:END, steps that jax.profiler traces into the workdir"
)
_PROGRESS = flags.DEFINE_enum("progress", "auto", progress.MODES, PROGRESS_HELP)
_MAX_RESTARTS = flags.DEFINE_integer(
    "max_restarts",
    0,
    "repeat the command so often after it was killed or lost another host",
    lower_bound=0,
)
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "join the hosts of a pod or cluster")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port, where the cluster does not supply it"
)
_PROCESSES = flags.DEFINE_integer(
    "processes", None, "number of hosts, where the cluster does not supply it"
)
_PROCESS = flags.DEFINE_integer(
    "process", None, "index of this host, where the cluster does not supply it"
)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "with --mode=compile: devices to compile for, e.g. v5e:2x2, h100:8 or cpu:4"
)
_EFFORT = flags.DEFINE_enum(
    "effort",
    "fast",
    ["fast", "full"],
    "with --mode=compile: fast compiles several times as fast, to programs with more temporaries",
)
_LARGEST_BATCH = flags.DEFINE_bool(
    "largest_batch", True, "with --mode=compile: estimate it, by compiling another batch size"
)
_SAVE_HLO = flags.DEFINE_string(
    "save_hlo", None, "with --mode=compile: folder for the text of the compiled program"
)
_JSON = flags.DEFINE_string(
    "json", None, "with --mode=compile: file for the report as JSON; - for the standard output"
)


def start(argv: list[str]) -> None:
    """Parses a command line and runs the mode that the flags name; ends the process.

    Args:
        argv: the program's name and its arguments.
    """
    _streams.prepare()
    sys.argv = argv  # where config_flags looks for overrides
    for flag in flags.FLAGS.flags_by_module_dict()[__name__]:
        flags.FLAGS.register_key_flag_for_module(argv[0], flag)  # so that --help lists the flag
    with _interrupts.kept():
        app.run(main, argv=argv, flags_parser=parse)


def parse(argv: list[str]) -> list[str]:
    """Parses flags; a wrong flag ends the process with one sentence."""
    try:
        sys.argv = [argv[0], *map(_underscored, _config_files.resolve_arguments(argv[1:]))]
        _config_files.check_overrides(sys.argv)
        rest = flags.FLAGS(sys.argv)
        if _CONFIG.value is None:
            raise ValueError(
                "--config is missing: name an experiment, e.g. --config=configs/wav2lip.py or "
                f"--config=wav2lip:tiny; there are {', '.join(_config_files.names())}"
            )
        for flag in (_TOPOLOGY, _SAVE_HLO, _JSON):
            if flag.value and _MODE.value != "compile":
                raise ValueError(
                    f"--{flag.name}={flag.value} is for --mode=compile, and this is "
                    f"--mode={_MODE.value}: add --mode=compile, or leave --{flag.name} out"
                )
    except Exception as error:  # the config file is any Python
        sys.exit(f"error: {_config_files.sentence(error)}")
    return rest


def _underscored(argument: str) -> str:
    """Spells --allow-changes as absl knows the flag; the fields of a config stay as they are."""
    name, equals, value = argument.partition("=")
    flag = name[2:].replace("-", "_")
    if name.startswith("--") and flag in flags.FLAGS:
        return f"--{flag}{equals}{value}"
    if name.startswith("--no-") and flag.removeprefix("no_") in flags.FLAGS:
        return f"--no{flag.removeprefix('no_')}{equals}{value}"
    return argument


def main(argv: list[str]) -> None:
    """Trains, evaluates or compiles as the flags say; prints the final metrics as JSON."""
    if len(argv) > 1:
        sys.exit(f"error: unexpected argument {argv[1]!r}; every option starts with --")
    workdir = _WORKDIR.value or _default_workdir()
    try:
        paths.parse(workdir, "--workdir")
    except ValueError as error:
        sys.exit(f"error: {error}")
    progress.set_mode(_PROGRESS.value)
    from lipsync_jax.training import distributed

    if _MAX_RESTARTS.value:
        from lipsync_jax.cli import _restarts

        sys.exit(_restarts.run(_restarts.own_command(sys.argv[1:]), _MAX_RESTARTS.value))
    try:
        if _MODE.value == "compile":
            sys.exit(_compile())
        from lipsync_jax.training import loop, profiling

        profile_steps = profiling.parse(_PROFILE_STEPS.value)
        distributed.initialize(
            _DISTRIBUTED.value, _COORDINATOR.value, _PROCESSES.value, _PROCESS.value
        )
        if _MODE.value == "train":
            scalars = loop.train(_CONFIG.value, workdir, _ALLOW_CHANGES.value, profile_steps)
        else:
            scalars = loop.evaluate(_CONFIG.value, workdir, _SPLIT.value)
    except KeyboardInterrupt as stop:
        distributed.exit_with_message(
            130, str(stop) or "stopped before the run began; nothing was to be saved"
        )
    except Exception as error:
        logging.debug("raised here", exc_info=error)
        if (message := distributed.user_message(error)) is None:
            if os.environ.get(TRACEBACK_VARIABLE):
                raise
            message = describe_unexpected(error)
        status = distributed.LOST_PROCESS if distributed.is_lost_process(error) else 1
        distributed.exit_with_message(status, f"error: {message}")
    if distributed.is_primary_process():
        if _MODE.value == "train" and not scalars:
            print(
                f"no step was trained: the run in {workdir} has ended, by config.train.steps="
                f"{_CONFIG.value.train.steps} or by early stopping",
                file=sys.stderr,
            )
        print(json.dumps(scalars))


def _compile() -> int:
    from lipsync_jax.cli import compile_step

    return compile_step.run(
        _CONFIG.value,
        _config_name(),
        _TOPOLOGY.value,
        _EFFORT.value,
        _LARGEST_BATCH.value,
        _SAVE_HLO.value,
        _JSON.value,
    )


def _default_workdir() -> str:
    return f"runs/{_config_files.label(_config_name())}"


def _config_name() -> str:
    return config_flags.get_config_filename(flags.FLAGS["config"])
