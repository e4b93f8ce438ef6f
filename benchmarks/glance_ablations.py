"""Ablations of "At a Glance" and its baselines on equal data: a table as the paper's 2 and 3.

    python -m benchmarks.glance_ablations --data DATA --out runs/ablations
        [--variants full table2_a ... chung vgan vgan_no_image_cond] [--steps 300]
        [--autoencoder-steps 200] [--pretrain-steps 0] [--clips 0] [--face IMAGE]

DATA is the output of `lipsync prepare` or `lipsync synthetic` with `--crop lips64`. Each variant is
the tiny form of its config, trained for `--steps` steps on equal batches with an equal seed; the
autoencoder of the perceptual term is trained first. With `--pretrain-steps` a generator is first
trained with the absolute error alone (steps of a fraction of the time of the full system's), and
all variants but the baselines start from its weights. Each test clip is then generated from its
first frame, with its own audio and with mismatched audio, that of the next clip rotated by half of
its length: a generator that ignores the audio has equal metrics with both. An interrupted run is
resumed; the table has the variants finished so far.

LMD needs the extra `landmarks`. Lips are pasted into the face of IMAGE, by default a rendered face.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.audio_sensitivity import clip_range

BASELINES = ("chung", "vgan", "vgan_no_image_cond")  # of table 3
VARIANTS = ("full", *(f"table2_{row}" for row in "abcdfghi"), *BASELINES)
# Variants without perceptual term.
NO_AUTOENCODER = {"table2_a", "table2_b", "table2_c", *BASELINES}
COLUMNS = {  # metric -> heading and digits
    "lmd": ("LMD", 2),
    "ssim": ("SSIM", 3),
    "psnr": ("PSNR", 2),
    "cpbd": ("CPBD", 3),
    "l1": ("L1", 4),
    "l1_mismatched_audio": ("L1, mismatched audio", 4),
    "motion_ratio": ("motion ratio", 2),
    "motion_corr": ("motion correlation", 2),
    "motion_corr_mismatched_audio": ("motion correlation, mismatched audio", 2),
}
GRID_FRAMES = 12  # columns of an image grid
# With a pretrained generator: its learning rate, and the factor of the tiny forms' weight of the L1
# loss, which else dominates all other terms.
PRETRAINED_LEARNING_RATE, PRETRAINED_L1_SCALE = 2e-3, 0.1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared shards")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--autoencoder-steps", type=int, default=200)
    parser.add_argument(
        "--pretrain-steps", type=int, default=0, help="steps with the L1 loss alone before; 0: none"
    )
    parser.add_argument("--clips", type=int, default=0, help="number of test clips; 0: all")
    parser.add_argument("--face", type=Path, help="image of a face to paste the lips into")
    return parser.parse_args()


def config_of(variant: str, chosen: argparse.Namespace):
    """Returns the shortened experiment of a variant."""
    from lipsync_jax.configs import glance, glance_autoencoder, speech2vid_lips, vgan

    steps = chosen.steps
    if variant == "autoencoder":
        config, steps = glance_autoencoder.get_config("tiny"), chosen.autoencoder_steps
    elif variant == "chung":
        config = speech2vid_lips.get_config("tiny")
    elif variant.startswith("vgan"):
        system = "no_image_cond" if variant == "vgan_no_image_cond" else "image_cond"
        config = vgan.get_config(f"size=tiny,system={system}")
    elif variant == "pretrained":
        config = glance.get_config("size=tiny,system=table2_b")
        steps = chosen.pretrain_steps
    else:
        config = glance.get_config(f"size=tiny,system={variant}")
        if chosen.pretrain_steps:
            config.init_from.generator = str(chosen.out / "pretrained")
            config.optimizer.learning_rate = PRETRAINED_LEARNING_RATE
            config.loss.l1 *= PRETRAINED_L1_SCALE
    config.data.dir = str(chosen.data)
    if "autoencoder" in config.frozen:
        config.frozen.autoencoder.checkpoint = str(chosen.out / "autoencoder")
    config.train.steps = config.train.validate_every = (
        steps  # the only validation is at the end: the best checkpoint is the last
    )
    if config.optimizer.lr_decay_steps:
        config.optimizer.lr_decay_steps = steps
    config.train.checkpoint_every = 50
    return config


def train(variant: str, chosen: argparse.Namespace) -> dict[str, float]:
    """Trains a variant unless its run is finished; returns its steps, wall and CPU seconds."""
    from lipsync_jax.training import loop

    config, workdir = config_of(variant, chosen), chosen.out / variant
    note = workdir / "trained.json"
    if note.is_file():
        finished = json.loads(note.read_text())
        if finished["steps"] != config.train.steps:
            raise ValueError(
                f"{workdir} was trained for {finished['steps']} steps, not {config.train.steps}; "
                "give another --out"
            )
        return finished
    clock, processor = time.monotonic(), time.process_time()
    loop.train(config, workdir)
    timing = {
        "steps": config.train.steps,
        "seconds": time.monotonic() - clock,
        "cpu_seconds": time.process_time() - processor,
    }
    note.write_text(json.dumps(timing))
    return timing


class AblationEvaluator:
    """The test clips, generation of their frames, and metrics of generated frames."""

    def __init__(self, chosen: argparse.Namespace):
        from lipsync_jax.data import loader
        from lipsync_jax.data.clip import decode_frames
        from lipsync_jax.evaluation import landmarks
        from lipsync_jax.evaluation.lip_points import CROP, LipLandmarks
        from lipsync_jax.methods.common.lip_video_gan import frame_log_mel

        clips = loader.ClipDataSource(loader.find_dataset(chosen.data, CROP), "test")
        clips = [clips[i] for i in clip_range(chosen.clips, len(clips))]
        self.real = [decode_frames(clip, range(len(clip.frames))) for clip in clips]
        self.audio = [frame_log_mel(clip, range(len(clip.frames))) for clip in clips]
        following = [*self.audio[1:], self.audio[0]]
        # Without the rotation, sentences that begin and end in silence are alike.
        self.mismatched_audio = [
            np.resize(np.roll(other, len(other) // 2, axis=0), own.shape)
            for other, own in zip(following, self.audio, strict=True)
        ]
        fault = landmarks.missing_packages()
        self._lip_landmarks = None
        if fault:
            print(f"without LMD: {fault}")
        else:
            self._lip_landmarks = LipLandmarks(landmarks.Landmarks(), _face(chosen))
            self._reference_landmarks = [self._lip_landmarks(frames) for frames in self.real]

    def generate(self, workdir: Path, audio: list[np.ndarray]) -> list[np.ndarray]:
        """Generates every clip from its first frame and audio, uint8 BGR."""
        import jax
        import ml_collections

        from lipsync_jax import methods
        from lipsync_jax.methods.common.clip_examples import normalize_to_pm1
        from lipsync_jax.nn.cpu.jit import jit
        from lipsync_jax.training import checkpoints

        variables, card = checkpoints.load_network(workdir, "generator")
        config = ml_collections.ConfigDict(card["config"])
        generate = jit(methods.load(config).generate_clip)
        generated = []
        for frames, clip_audio in zip(self.real, audio, strict=True):
            clip_audio = (clip_audio[None] - config.audio_mean) / config.audio_std
            frames_out = np.asarray(
                jax.device_get(generate(variables, normalize_to_pm1(frames[:1]), clip_audio))
            )[0]
            generated.append(np.rint((frames_out[..., ::-1] * 0.5 + 0.5) * 255).astype(np.uint8))
        return generated

    def metrics(self, generated: list[np.ndarray]) -> dict[str, float]:
        """Returns the metrics of the paper, means over frames, and those of `motion_metrics`."""
        from lipsync_jax.evaluation.metrics.cpbd import cpbd
        from lipsync_jax.evaluation.metrics.lmd import lmd
        from lipsync_jax.evaluation.metrics.luminance import luminance
        from lipsync_jax.evaluation.metrics.psnr import psnr
        from lipsync_jax.evaluation.metrics.ssim import ssim

        real, generated_frames = np.concatenate(self.real), np.concatenate(generated)
        results = {
            "ssim": float(np.mean(ssim(generated_frames, real, 255))),
            # Equal frames count as 100 dB.
            "psnr": float(np.mean(np.minimum(psnr(generated_frames, real, 255), 100))),
            "cpbd": float(cpbd(luminance(generated_frames)).mean()),
            **self.motion_metrics(generated),
        }
        if self._lip_landmarks:
            points = np.concatenate([self._lip_landmarks(frames) for frames in generated])
            results["lmd"] = lmd(np.concatenate(self._reference_landmarks), points).value
        return results

    def motion_metrics(self, generated: list[np.ndarray]) -> dict[str, float]:
        """Returns L1, values in 0..1, and ratio and correlation of motions; means over clips."""
        from lipsync_jax.methods.common.validation_metrics import motion_ratio_and_correlation

        rows = []
        for pair in zip(generated, self.real, strict=True):
            made, real = (frames[None] / np.float32(255) for frames in pair)
            motion = motion_ratio_and_correlation(made, real, np.ones(real.shape[:2], bool))
            rows.append([np.abs(made - real).mean(), *(float(x[0]) for x in motion)])
        names = "l1", "motion_ratio", "motion_corr"
        return dict(zip(names, np.mean(rows, axis=0), strict=True))

    def write_image_grid(self, path: Path, generated: list[np.ndarray]) -> None:
        """Writes frames of two clips, real above generated."""
        from lipsync_jax.media import video_reader

        images = [
            clip[i]
            for pair in list(zip(self.real, generated, strict=True))[:2]
            for clip in pair
            for i in np.linspace(0, len(clip) - 1, GRID_FRAMES).astype(int)
        ]
        grid = video_reader.contact_sheet(np.stack(images)[..., ::-1], GRID_FRAMES)
        video_reader.write_image(path, grid)


def _face(chosen: argparse.Namespace) -> np.ndarray:
    from lipsync_jax.data_prep.synthetic import recordings
    from lipsync_jax.media import video_reader

    path = chosen.face
    if path is None:
        path = chosen.out / "face.mp4"
        if not path.is_file():
            recordings.write_video(path, seconds=0.04, seed=0, identity_index=0)
    return np.ascontiguousarray(next(video_reader.read_frames(path)).image[..., ::-1])


def table(rows: dict[str, dict[str, float]]) -> str:
    """Returns a table in Markdown."""
    columns = [name for name in COLUMNS if any(name in row for row in rows.values())]
    heads = " | ".join(COLUMNS[name][0] for name in columns)
    lines = [f"| variant | {heads} |", "|--" * (len(columns) + 1) + "|"]
    for variant, row in rows.items():
        cells = [f"{row[n]:.{COLUMNS[n][1]}f}" if n in row else "" for n in columns]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    chosen = arguments()
    from lipsync_jax.training import distributed

    distributed.initialize()
    chosen.out.mkdir(parents=True, exist_ok=True)
    evaluator, rows = AblationEvaluator(chosen), {}
    static_clips = [np.repeat(frames[:1], len(frames), axis=0) for frames in evaluator.real]
    mean_frames = [
        np.repeat(frames.mean(axis=0)[None].round(), len(frames), axis=0)
        for frames in evaluator.real
    ]
    rows["real frames"] = {"cpbd": evaluator.metrics(evaluator.real)["cpbd"]}
    rows["static image"] = evaluator.metrics(static_clips)
    rows["mean frame"] = evaluator.metrics([x.astype(np.uint8) for x in mean_frames])
    if set(chosen.variants) - NO_AUTOENCODER:
        train("autoencoder", chosen)
    if chosen.pretrain_steps and set(chosen.variants) - set(BASELINES):
        train("pretrained", chosen)
    for variant in chosen.variants:
        timing = train(variant, chosen)
        note = chosen.out / variant / "metrics.json"
        if not note.is_file():
            generated, mismatched = (
                evaluator.generate(chosen.out / variant, audio)
                for audio in (evaluator.audio, evaluator.mismatched_audio)
            )
            evaluator.write_image_grid(chosen.out / f"{variant}.png", generated)
            mismatched_metrics = {
                f"{name}_mismatched_audio": value
                for name, value in evaluator.motion_metrics(mismatched).items()
            }
            note.write_text(json.dumps(evaluator.metrics(generated) | mismatched_metrics))
        rows[variant] = json.loads(note.read_text())
        print(
            f"{variant}: {timing['steps']} steps, {timing['cpu_seconds'] / 60:.1f} CPU "
            f"minutes\n{table(rows)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
