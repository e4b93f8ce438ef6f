"""The ablations of "At a Glance" and VGAN beside it, trained alike: a table as the paper's table 2.

    python -m benchmarks.glance_ablations --data DATA --out runs/ablations
        [--systems full a b ... vgan vgan_released] [--steps 300] [--autoencoder_steps 200]
        [--begin 0] [--clips 0] [--face PICTURE]

DATA is what `lipsync prepare` or `lipsync synthetic` wrote with `--geometry lips64`. Each system is
the tiny form of its config, and takes so many steps on the same batches from the same seed; the
autoencoder of the perceptual term is trained first. With `--begin` the absolute error alone first
teaches a generator for so many steps, each a fraction of the full system's in time, and all systems
but VGAN begin with that one. Each test clip is then drawn whole from its first frame, with its own
sound and with that of the next clip, from its middle on: what does not listen is no worse with the
second. A run that is broken off goes on where it was; a table is printed of what is there.

LMD needs the extra `landmarks`. Lips are laid over the face of PICTURE, by default a rendered one.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

SYSTEMS = ("full", *"abcdfghi", "vgan", "vgan_released")
COLUMNS = {  # figure -> its heading and digits
    "lmd": ("LMD", 2),
    "ssim": ("SSIM", 3),
    "psnr": ("PSNR", 2),
    "cpbd": ("CPBD", 3),
    "error": ("error", 4),
    "error_swapped": ("error, sound swapped", 4),
    "motion": ("motion", 2),
    "correlation": ("correlation", 2),
    "correlation_swapped": ("correlation, sound swapped", 2),
}
SHOWN = 12  # moments on a sheet
# Of a generator that has learnt before: its rate, and the absolute error's weight as a share of the
# tiny forms', beside which the other terms count for nothing then.
RATE_BEGUN, PIXEL_BEGUN = 2e-3, 0.1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared shards")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--autoencoder_steps", type=int, default=200)
    parser.add_argument("--begin", type=int, default=0, help="steps of b before, 0: from nothing")
    parser.add_argument("--clips", type=int, default=0, help="of the test, 0 takes all")
    parser.add_argument("--face", type=Path, help="a picture of a face to lay lips over")
    return parser.parse_args()


def config_of(system: str, chosen: argparse.Namespace):
    """The experiment of a system, shortened."""
    from lipsync_jax.configs import glance, glance_autoencoder, vgan

    steps = chosen.steps
    if system == "autoencoder":
        config, steps = glance_autoencoder.get_config("tiny"), chosen.autoencoder_steps
    elif system.startswith("vgan"):
        config = vgan.get_config("tiny_released" if system.endswith("released") else "tiny_still")
    elif system == "begun":
        config, steps = glance.get_config("tiny_b"), chosen.begin
    else:
        config = glance.get_config(f"tiny_{system}")
        if chosen.begin:
            config.start_from.generator = str(chosen.out / "begun")
            config.optimiser.learning_rate = RATE_BEGUN
            config.pixel_weight *= PIXEL_BEGUN
    config.data.dir = str(chosen.data)
    if "autoencoder" in config.frozen:
        config.frozen.autoencoder.checkpoint = str(chosen.out / "autoencoder")
    config.train.steps = config.train.validate_every = steps  # so that the best is the last
    if config.optimiser.decay_steps:
        config.optimiser.decay_steps = steps
    config.train.checkpoint_every = 50
    return config


def train(system: str, chosen: argparse.Namespace) -> dict[str, float]:
    """Trains a system unless that is done; seconds of it, by the clock and of the processor."""
    from lipsync_jax.training import loop

    config, workdir = config_of(system, chosen), chosen.out / system
    note = workdir / "trained.json"
    if note.is_file():
        known = json.loads(note.read_text())
        if known["steps"] != config.train.steps:
            raise ValueError(
                f"{workdir} was trained for {known['steps']} steps, not {config.train.steps}; give "
                "another --out"
            )
        return known
    clock, processor = time.monotonic(), time.process_time()
    loop.train(config, workdir)
    spent = {
        "steps": config.train.steps,
        "seconds": time.monotonic() - clock,
        "cpu_seconds": time.process_time() - processor,
    }
    note.write_text(json.dumps(spent))
    return spent


class Test:
    """The test clips, how they are drawn, and the figures of drawings."""

    def __init__(self, chosen: argparse.Namespace):
        from lipsync_jax.data import loader
        from lipsync_jax.data.clip import decode_frames
        from lipsync_jax.evaluation import landmarks
        from lipsync_jax.evaluation.lip_points import GEOMETRY, LipPoints
        from lipsync_jax.methods.common.lip_video_gan import sound

        clips = loader.Clips(loader.find_dataset(chosen.data, GEOMETRY), "test")
        clips = [clips[i] for i in range(chosen.clips or len(clips))]
        self.real = [decode_frames(clip, range(len(clip.frames))) for clip in clips]
        self.sounds = [sound(clip, range(len(clip.frames))) for clip in clips]
        following = [*self.sounds[1:], self.sounds[0]]
        # From its middle on: sentences that begin and end in silence are alike otherwise.
        self.swapped = [
            np.resize(np.roll(other, len(other) // 2, axis=0), own.shape)
            for other, own in zip(following, self.sounds, strict=True)
        ]
        fault = landmarks.missing()
        self._points = None
        if fault:
            print(f"without LMD: {fault}")
        else:
            self._points = LipPoints(landmarks.Landmarks(), _face(chosen))
            self._true = [self._points(frames) for frames in self.real]

    def draw(self, workdir: Path, sounds: list[np.ndarray]) -> list[np.ndarray]:
        """Every clip from its first frame and a sound, uint8 BGR."""
        import jax
        import ml_collections

        from lipsync_jax import methods
        from lipsync_jax.methods.glance.autoencoder_method import as_seen
        from lipsync_jax.nn.cpu.jit import jit
        from lipsync_jax.training import checkpoints

        variables, card = checkpoints.load_inference(workdir, "generator")
        config = ml_collections.ConfigDict(card["config"])
        animate = jit(methods.load(config).animate)
        drawn = []
        for frames, heard in zip(self.real, sounds, strict=True):
            heard = (heard[None] - config.sound_mean) / config.sound_scale
            made = np.asarray(jax.device_get(animate(variables, as_seen(frames[:1]), heard)))[0]
            drawn.append(np.rint((made[..., ::-1] * 0.5 + 0.5) * 255).astype(np.uint8))
        return drawn

    def figures(self, drawn: list[np.ndarray]) -> dict[str, float]:
        """The paper's, means over frames, and those of `moved`."""
        from lipsync_jax.evaluation.metrics.cpbd import cpbd
        from lipsync_jax.evaluation.metrics.lmd import lmd
        from lipsync_jax.evaluation.metrics.luminance import luminance
        from lipsync_jax.evaluation.metrics.psnr import psnr
        from lipsync_jax.evaluation.metrics.ssim import ssim

        real, made = np.concatenate(self.real), np.concatenate(drawn)
        figures = {
            "ssim": float(np.mean(ssim(made, real, 255))),
            # Frames that are the same count as 100 dB.
            "psnr": float(np.mean(np.minimum(psnr(made, real, 255), 100))),
            "cpbd": float(cpbd(luminance(made)).mean()),
            **self.moved(drawn),
        }
        if self._points:
            points = np.concatenate([self._points(frames) for frames in drawn])
            figures["lmd"] = lmd(np.concatenate(self._true), points).value
        return figures

    def moved(self, drawn: list[np.ndarray]) -> dict[str, float]:
        """Mean absolute difference, values in 0..1, and the figures of motion; means over clips."""
        from lipsync_jax.methods.common.validation_metrics import motion_and_correlation

        rows = []
        for pair in zip(drawn, self.real, strict=True):
            made, real = (frames[None] / np.float32(255) for frames in pair)
            moved = motion_and_correlation(made, real, np.ones(real.shape[:2], bool))
            rows.append([np.abs(made - real).mean(), *(float(x[0]) for x in moved)])
        return dict(zip(("error", "motion", "correlation"), np.mean(rows, axis=0), strict=True))

    def sheet(self, path: Path, drawn: list[np.ndarray]) -> None:
        """Moments of two clips, the real ones above those drawn."""
        from lipsync_jax.media import video_reader

        pictures = [
            clip[i]
            for pair in list(zip(self.real, drawn, strict=True))[:2]
            for clip in pair
            for i in np.linspace(0, len(clip) - 1, SHOWN).astype(int)
        ]
        sheet = video_reader.contact_sheet(np.stack(pictures)[..., ::-1], SHOWN)
        video_reader.write_image(path, sheet)


def _face(chosen: argparse.Namespace) -> np.ndarray:
    from lipsync_jax.data_prep.synthetic import corpus
    from lipsync_jax.media import video_reader

    path = chosen.face
    if path is None:
        path = chosen.out / "face.mp4"
        if not path.is_file():
            corpus.write_video(path, seconds=0.04, seed=0, person=0)
    return np.ascontiguousarray(next(video_reader.read_frames(path)).image[..., ::-1])


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    columns = [name for name in COLUMNS if any(name in row for row in rows.values())]
    heads = " | ".join(COLUMNS[name][0] for name in columns)
    lines = [f"| system | {heads} |", "|--" * (len(columns) + 1) + "|"]
    for system, row in rows.items():
        cells = [f"{row[n]:.{COLUMNS[n][1]}f}" if n in row else "" for n in columns]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    chosen = arguments()
    from lipsync_jax.training import distributed

    distributed.start()
    chosen.out.mkdir(parents=True, exist_ok=True)
    test, rows = Test(chosen), {}
    stills = [np.repeat(frames[:1], len(frames), axis=0) for frames in test.real]
    means = [
        np.repeat(frames.mean(axis=0)[None].round(), len(frames), axis=0) for frames in test.real
    ]
    rows["the truth"] = {"cpbd": test.figures(test.real)["cpbd"]}
    rows["the still, repeated"] = test.figures(stills)
    rows["the clip's mean picture"] = test.figures([x.astype(np.uint8) for x in means])
    if set(chosen.systems) - {"a", "b", "c", "vgan", "vgan_released"}:
        train("autoencoder", chosen)
    if chosen.begin and not all(system.startswith("vgan") for system in chosen.systems):
        train("begun", chosen)
    for system in chosen.systems:
        spent = train(system, chosen)
        note = chosen.out / system / "figures.json"
        if not note.is_file():
            drawn, swapped = (
                test.draw(chosen.out / system, sounds) for sounds in (test.sounds, test.swapped)
            )
            test.sheet(chosen.out / f"{system}.png", drawn)
            misled = {f"{name}_swapped": value for name, value in test.moved(swapped).items()}
            note.write_text(json.dumps(test.figures(drawn) | misled))
        rows[system] = json.loads(note.read_text())
        print(
            f"{system}: {spent['steps']} steps, {spent['cpu_seconds'] / 60:.1f} minutes of the "
            f"processor\n{table(rows)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
