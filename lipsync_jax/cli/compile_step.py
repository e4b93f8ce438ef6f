"""`python main.py --mode=compile`: compiles a train step for a topology, and prints a report."""

import re
from pathlib import Path

import ml_collections
from absl import logging

from lipsync_jax import paths
from lipsync_jax.cli import _config_files


def run(
    config: ml_collections.ConfigDict,
    config_name: str,
    topology: str | None,
    effort: str,
    estimate_batch: bool,
    save_hlo: str | None,
    json_file: str | None,
) -> int:
    """Compiles, and prints what the program needs.

    Args:
        config: the experiment.
        config_name: as given, e.g. `configs/wav2lip.py:tiny`.
        topology: e.g. `v5e:2x2`.
        effort: of the compiler, `fast` or `full`.
        estimate_batch: whether to estimate the largest batch by a second compilation.
        save_hlo: folder for the text of the compiled program; None: not kept.
        json_file: for the report as JSON; `-`: on the standard output in place of text.

    Returns:
        The exit status: 0, or 1 if the step does not fit the devices.

    Raises:
        ValueError: config and topology do not fit, or the compiler is not installed.
        OSError: a file can't be written.
    """
    from lipsync_jax.training.ahead_of_time import compile as ahead_of_time
    from lipsync_jax.training.ahead_of_time import report, topologies

    topologies.prepare_process()
    if not topology:
        raise ValueError(
            "--mode=compile needs the devices to compile for, --topology=KIND:SIZE; e.g. "
            "--topology=v5e:2x2"
        )
    logging.set_verbosity(logging.INFO)
    label = _config_files.label(config_name)
    hlo_file = None
    if save_hlo:
        Path(save_hlo).mkdir(parents=True, exist_ok=True)
        hlo_file = Path(save_hlo) / f"{label}-{topology.replace(':', '-')}-{effort}.hlo.txt"
    if json_file and json_file != "-":
        if Path(json_file).is_dir():
            raise ValueError(f"--json={json_file} is a folder: name a file in it")
        Path(json_file).parent.mkdir(parents=True, exist_ok=True)
    found = ahead_of_time.compile_step(
        config,
        topology,
        frozen_configs(config, config_name),
        name=label,
        effort=effort,
        estimate_batch=estimate_batch,
        hlo_file=hlo_file,
    )
    print(report.dump(found).rstrip() if json_file == "-" else report.to_text(found))
    if json_file and json_file != "-":
        paths.write_text(Path(json_file), report.dump(found))
    return 1 if found.fits is False else 0


def frozen_configs(
    config: ml_collections.ConfigDict, config_name: str
) -> dict[str, ml_collections.ConfigDict]:
    """Returns the configs that train the frozen networks without a checkpoint.

    That is the config with the name of the network's method, or that of the block's `config`, with
    those arguments of the variant of `config_name` that the other config has too: `wav2lip:tiny`
    takes `sync_expert:tiny`. A method without a config is left out.
    """
    from lipsync_jax.training.inputs import config_of_frozen

    names = {name: config_of_frozen(block) for name, block in config.frozen.items()}
    return {
        name: _config_like(names[name], _config_files.variant(config_name))
        for name, block in config.frozen.items()
        if not block.checkpoint and names[name] in _config_files.names()
    }


def _config_like(name: str, variant: str) -> ml_collections.ConfigDict:
    """Returns a config with the arguments of another config's variant, as far as it has them."""
    found, kept = _config_files.read(name), ""
    for part in filter(None, variant.split(",")):
        # Of values joined by underscores, the first ones: `tiny_l1`, `tiny`.
        ends = [match.start() for match in re.finditer("_", part)]
        for end in (len(part), *reversed(ends)):
            wider = ",".join(filter(None, (kept, part[:end])))
            try:
                found, kept = _config_files.read(f"{name}:{wider}"), wider
            except ValueError:  # no such argument there
                continue
            break
    return found
