"""Trains the built-in models: data, sync expert, generator, packing.

    python scripts/train_base_models.py --grid GRID --out runs/base

GRID holds the folders s1, s2, ... of the GRID corpus (CC BY 4.0), s5 and s31 among them. Every part
resumes where it stopped and is skipped once it is finished, so the command may be repeated after an
interrupt. A stage of the generator begins with the newest earlier stage that lies in OUT, whether
`--stages` names that or not. Settings are those of the config variants named below;
`--steps-scale 0.1` runs all parts for a tenth of their steps.
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
EXPERT = "sync_expert:size=in_the_box"
# Weak augmentation first: the loss leaves chance level sooner.
EARLY = {"augment_magnitude": 0.25, "degrade_magnitude": 0.15}
EARLY_STEPS = 300
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
    rendered = [f"--{name}={value}" for name, value in RENDERED.items()]
    for part in (["--part=1/1"], []):  # what a part has rendered is kept after an interrupt
        call("-m", "lipsync_jax.cli", "synthetic", "--out", str(out / "rendered"), *rendered, *part)
    weights = {"others": 0.4, LARGEST: 0.25, "rendered": 0.35}
    return out / "others", ",".join(f"{out / name}={weight}" for name, weight in weights.items())


def describe_data(out: Path) -> str:
    """Returns what the networks are trained on, in words, by the reports of the preparation."""
    from lipsync_jax.data_prep.synthetic import corpus

    reports = [
        json.loads((out / name / "grid" / "face96" / "report.json").read_text(encoding="utf-8"))
        for name in ("others", LARGEST)
    ]
    train = [report["splits"]["train"] for report in reports]
    clips, seconds = (sum(part[key] for part in train) for key in ("clips", "seconds"))
    names = {
        video.partition("/")[0]
        for report in reports
        for video, split in report["video_splits"].items()
        if split == "train"
    }
    ordered = sorted(names, key=lambda name: int(name[1:]))
    rendered = [*corpus.split_clips(RENDERED["clips"])["train"].values()]
    rendered_clips = sum(map(len, rendered))
    return (
        f"GRID {' '.join(ordered)} ({clips} clips, {seconds / 60:.0f} minutes) and {len(rendered)} "
        f"synthetic people ({rendered_clips} clips, "
        f"{rendered_clips * corpus.SECONDS / 60:.0f} minutes)"
    )


def train(
    config: str, run: Path, scale: float, data: Path, dirs: str, until: int = 0, **changes: Any
) -> None:
    """Trains a config to its last step, or to another one; resumes what was begun."""
    name, variant = config.split(":")
    whole = importlib.import_module(f"lipsync_jax.configs.{name}").get_config(variant)

    def scaled(steps: int) -> int:
        return steps if scale == 1 else max(1, round(steps * scale))

    steps = scaled(until or whole.train.steps)
    saved = (run / "checkpoints").glob("*")
    if max((int(path.name) for path in saved if path.name.isdigit()), default=0) >= steps:
        print(f"{run} has {steps} steps already", flush=True)
        return
    given = {"data.dir": data, "data.dirs": dirs, "train.steps": steps, **changes}
    if scale != 1:
        given["train.validate_every"] = max(1, steps // 2)
        for key in ("warmup_steps", "lr_decay_steps"):
            if whole.optimizer[key]:
                given[f"optimizer.{key}"] = scaled(whole.optimizer[key])
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
        data, scale = prepare(chosen.grid.absolute(), out / "data"), chosen.steps_scale
        train(EXPERT, expert, scale, *data, until=EARLY_STEPS, **EARLY)
        train(EXPERT, expert, scale, *data)
        changes: dict[str, Any] = {"frozen.expert.checkpoint": expert}
        if scale != 1:
            changes["frozen.expert.min_accuracy"] = 0
        for stage, config in STAGES.items():
            run = out / stage
            if run in runs:
                train(config, run, scale, *data, **changes)
            if (run / "best").is_dir():
                changes["init_from.generator"] = run
    from lipsync_jax import weights

    people, models = describe_data(out / "data"), out / "models"
    pack(
        expert,
        ("expert",),
        models / "sync_base",
        task=weights.SYNC,
        data=people,
    )
    last = next((run for run in runs[::-1] if (run / "best").is_dir()), None)
    if last is None:
        sys.exit(f"{out} has no trained stage of {', '.join(chosen.stages)}; train one first")
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
