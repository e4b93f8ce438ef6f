"""Trains the built-in models: data, sync expert, generator, packing.

    python scripts/train_base_models.py --grid GRID --out runs/base

GRID holds the folders s1, s2, ... of the GRID corpus (CC BY 4.0). Every part resumes where it
stopped and is skipped once it is finished, so the command may be repeated after an interrupt.
Settings are those of the config variants named below; `--steps-scale 0.1` runs all parts for a
tenth of their steps.
"""

import argparse
import datetime
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
LARGEST = "s1"  # most clips: a data set of its own, sampled less often than by its size
VALIDATION, TEST = "s31", "s5"
RENDERED = {"clips": 420, "seed": 14}
ATTRIBUTION = (
    "The Grid Audio-Visual Speech Corpus: M. Cooke, J. Barker, S. Cunningham, X. Shao, "
    "JASA 120(5), 2006, doi:10.5281/zenodo.3625687, CC BY 4.0"
)
STAGES = {"l1": "wav2lip:size=in_the_box", "gan": "wav2lip_gan:size=in_the_box"}
# Factor of the motion that audio predicts: the mean squared error favours mouths that hardly open.
ARTICULATION = 1.4
CALIBRATION_BATCHES = 12


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=Path, required=True, help="folders s1, s2, ... of GRID")
    parser.add_argument("--out", type=Path, required=True, help="data, runs and packed models")
    parser.add_argument("--steps-scale", type=float, default=1.0, help="factor of all steps (1)")
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=STAGES,
        default=list(STAGES),
        help="of the generator",
    )
    parser.add_argument("--only-pack", action="store_true", help="pack what is trained so far")
    return parser.parse_args()


def call(*command: str) -> None:
    """Prints and runs a command of this project, in the project's root."""
    print("$", " ".join(command), flush=True)
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)


def prepare(grid: Path, out: Path) -> tuple[Path, str]:
    """Prepares the data; returns the data set to validate on, and `config.data.dirs`."""
    others = [str(p) for p in sorted(grid.glob("s*")) if p.is_dir() and p.name != LARGEST]
    # GRID is in sync; the sync model that would measure it is trained on these clips.
    cli = ("-m", "lipsync_jax.cli", "prepare", "--corpus", "grid", "--sync-model", "none")
    held = ("--validation-speakers", VALIDATION, "--test-speakers", TEST)
    call(*cli, "--input", *others, "--out", str(out / "others"), *held)
    call(*cli, "--input", str(grid / LARGEST), "--out", str(out / LARGEST))
    rendered = (f"--{name}={value}" for name, value in RENDERED.items())
    call("-m", "lipsync_jax.cli", "synthetic", "--out", str(out / "rendered"), *rendered)
    weights = {"others": 0.4, LARGEST: 0.25, "rendered": 0.35}
    return out / "others", ",".join(f"{out / name}={weight}" for name, weight in weights.items())


def train(config: str, run: Path, scale: float, data: Path, dirs: str, **changes: Any) -> None:
    """Trains a config to its last step, or resumes."""
    name, variant = config.split(":")
    steps = importlib.import_module(f"lipsync_jax.configs.{name}").get_config(variant).train.steps
    given = {"data.dir": data, "data.dirs": dirs, **changes}
    if scale != 1:
        given["train.steps"] = given["optimizer.lr_decay_steps"] = max(2, round(steps * scale))
        given["train.validate_every"] = max(1, given["train.steps"] // 2)
        given["optimizer.warmup_steps"] = given["train.steps"] // 10
    options = [f"--config.{key}={value}" for key, value in given.items()]
    call("main.py", f"--config=configs/{name}.py:{variant}", f"--workdir={run}", *options)


def articulate(run: Path, expert: Path, variables: Any, gain: float) -> Any:
    """Returns a generator's variables, its motion codes further from their mean by a factor."""
    import jax
    import ml_collections
    import numpy as np

    from lipsync_jax import methods
    from lipsync_jax.training import inference, sharding
    from lipsync_jax.training.data_pipeline import DataPipeline

    config = ml_collections.ConfigDict(inference.read_model_card(run)["config"])
    method = methods.load(config, {"expert": inference.read_model_card(expert)})
    batches = DataPipeline(config, method, sharding.make_mesh()).training_batches()
    module = method.networks["generator"].module

    def audio_motion(batch: Any) -> jax.Array:
        audio, faces, _ = method._network_inputs(batch)
        return module.apply(variables, audio, faces, method="parts")["audio_motion"]

    compiled = jax.jit(audio_motion)
    codes = []
    for _ in range(CALIBRATION_BATCHES):
        batch = next(batches)
        batch.pop("clip_id")
        codes.append(np.asarray(compiled(batch)))
    mean = np.concatenate(codes).mean(axis=0)
    layer = dict(variables["params"]["audio_motion"])
    layer["kernel"] = layer["kernel"] * gain
    layer["bias"] = mean + gain * (layer["bias"] - mean)
    return {**variables, "params": {**variables["params"], "audio_motion": layer}}


def pack(
    run: Path, names: tuple[str, ...], folder: Path, expert: Path | None = None, **entries: Any
) -> None:
    """Writes the best weights of a run in half precision, with a model card.

    With `expert`, the run is a generator's, which `articulate` changes.
    """
    from lipsync_jax.training import inference, packed

    networks = {}
    for name in names:
        networks[name], model_card = inference.load_network(run, name)
    if expert is not None:
        networks["generator"] = articulate(run, expert, networks["generator"], ARTICULATION)
    for name in ("dir", "dirs"):
        model_card["config"]["data"][name] = ""  # of the machine that trained the network
    for frozen in model_card["config"].get("frozen", {}).values():
        frozen["checkpoint"] = ""
    for name in model_card["config"].get("init_from", {}):
        model_card["config"]["init_from"][name] = ""
    packed.write(
        folder,
        networks,
        {
            "name": folder.name,
            **entries,
            "attribution": ATTRIBUTION,
            "licence": "CC BY 4.0",
            "made": datetime.date.today().isoformat(),
            "recipe": "python scripts/train_base_models.py --grid GRID --out runs/base",
            **model_card,
        },
    )
    print(json.dumps({k: v for k, v in model_card.items() if k != "config"}, indent=1))


def main() -> None:
    """Runs all parts that are not finished."""
    chosen = arguments()
    out = chosen.out.absolute()
    expert, runs = out / "expert", [out / stage for stage in STAGES if stage in chosen.stages]
    if not chosen.only_pack:
        data = prepare(chosen.grid.absolute(), out / "data")
        early = {"augment_magnitude": 0.25, "degrade_magnitude": 0.15, "train.steps": 300}
        if chosen.steps_scale == 1:  # weak augmentation first: the loss leaves chance level sooner
            train("sync_expert:size=in_the_box", expert, 1, *data, **early)
        train("sync_expert:size=in_the_box", expert, chosen.steps_scale, *data)
        frozen: dict[str, Any] = {"frozen.expert.checkpoint": expert}
        if chosen.steps_scale != 1:
            frozen["frozen.expert.min_accuracy"] = 0
        before: dict[str, Any] = {}
        for run in runs:
            train(STAGES[run.name], run, chosen.steps_scale, *data, **frozen, **before)
            before = {"init_from.generator": run}
    from lipsync_jax import weights

    people = "GRID s1 s2 s3 s4 s26 s30 s34 and 168 synthetic people; validation on GRID s31"
    models = out / "models"
    pack(
        expert,
        ("expert",),
        models / "sync_base",
        task=weights.SYNC,
        data=people,
    )
    last = next(run for run in runs[::-1] if (run / "best").is_dir())
    pack(
        last,
        # The discriminator is for `lipsync personalize`.
        ("generator", "discriminator") if last.name == "gan" else ("generator",),
        models / "wav2lip_base",
        expert,
        articulation=ARTICULATION,
        task=weights.DUBBING,
        data=people,
    )


if __name__ == "__main__":
    main()
