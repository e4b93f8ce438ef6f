"""Each injected fault is named, and no other; healthy data has no fault."""

import dataclasses
import json

import numpy as np
import optax
import pytest

from lipsync_jax.cli import main
from lipsync_jax.configs import sync_expert as expert_config
from lipsync_jax.configs import wav2lip as wav2lip_config
from lipsync_jax.data import windows
from lipsync_jax.diagnostics import findings
from lipsync_jax.diagnostics.sync_expert import (
    av_offset,
    clip_stats,
    data_checks,
    diagnose,
    learning_checks,
    overfit,
    run_history,
    synthetic_clips,
)
from lipsync_jax.methods.common import sync_expert_method
from lipsync_jax.methods.wav2lip import sync_expert
from lipsync_jax.training import checkpoints
from tests.conftest import toy_clip


def narrow(variant="small_data", **changes):
    config = expert_config.get_config(variant)
    config.model.width_mult, config.model.depth_mult = 0.03, 0.0
    config.data.batch_size = 8
    config.update(changes)
    return config


def delayed(clip, seconds):
    count = round(abs(seconds) * clip.audio_rate)
    quiet = np.zeros(count, np.int16)
    audio = np.concatenate([quiet, clip.audio] if seconds > 0 else [clip.audio[count:], quiet])
    return dataclasses.replace(clip, audio=audio[: len(clip.audio)])


def swapped(clips):
    return [
        dataclasses.replace(clip, audio=other.audio)
        for clip, other in zip(clips, clips[1:] + clips[:1], strict=True)
    ]


@pytest.fixture(scope="module")
def toys():
    return [toy_clip(f"toy/{number}", number) for number in range(12)]


@pytest.fixture(scope="module")
def bench():
    return overfit.OverfitTest(narrow())


@pytest.fixture
def _shared_bench(monkeypatch, bench):
    """Faults of the data do not change the training, which is compiled once."""
    monkeypatch.setattr(overfit, "OverfitTest", lambda config: bench)


def states(found):
    return {finding.check: finding.state for finding in found.findings}


@pytest.mark.usefixtures("_shared_bench")
def test_nothing_is_wrong_with_healthy_data(toys):
    found = diagnose.examine(narrow(), toys)
    assert found.faults == []
    assert found.verdict == "nothing wrong was found"
    assert set(states(found).values()) == {findings.OK, findings.NOTE}
    assert states(found)["batch"] == findings.OK
    assert json.loads(json.dumps(found.as_json()))["faults"] == []


DATA_FAULTS = {
    "audio shifted": lambda clips: [delayed(clip, 0.3) for clip in clips],
    "swapped pairs": swapped,
    "constant frames": lambda clips: [
        dataclasses.replace(clip, frames=clip.frames[:1] * len(clip.frames)) for clip in clips
    ],
    "single-clip data set": lambda clips: clips[:1],
    "silent clips": lambda clips: [
        dataclasses.replace(clip, audio=np.zeros_like(clip.audio)) for clip in clips
    ],
    "too few clips": lambda clips: clips[:5],
}


@pytest.mark.usefixtures("_shared_bench")
@pytest.mark.parametrize("name", DATA_FAULTS)
def test_a_fault_of_the_data_is_named_and_no_other(name, toys):
    found = diagnose.examine(narrow(), DATA_FAULTS[name](toys))
    assert found.faults == [name]
    assert found.verdict == f"found: {name}"
    (fault,) = (finding for finding in found.findings if finding.cause)
    assert f"{name.upper()}\n  measured  " in fault.text
    assert all(
        sentence in fault.text for sentence in (fault.measurement, fault.explanation, fault.action)
    )


@pytest.mark.parametrize("seconds", [-0.3, -0.1, 0.3])
def test_a_shift_is_measured_to_a_quarter_of_a_frame(seconds, toys):
    clips = [delayed(clip, seconds) for clip in toys]
    finding = av_offset.check(clip_stats.compute_clip_stats(clips))
    assert finding.metrics["offset_ms"] == pytest.approx(1000 * seconds, abs=10)
    assert f"Shift the audio by {-finding.metrics['offset_ms']:+.0f} ms" in finding.action


def test_copies_of_one_clip_are_one_clip(toys):
    copies = [dataclasses.replace(toys[0], clip_id=f"copy/{n}") for n in range(12)]
    stats = clip_stats.compute_clip_stats(copies)
    assert data_checks.check_variety(stats, 12, "info_nce").cause == "single-clip data set"


def test_minutes_are_enough_for_one_objective_and_not_for_the_other(toys):
    stats = clip_stats.compute_clip_stats(toys)
    assert data_checks.check_variety(stats, 600, "info_nce").state == findings.OK
    assert data_checks.check_variety(stats, 600, "cosine_bce").state == findings.NOTE


def test_noise_that_hides_everything_is_not_called_swapped(toys):
    rng = np.random.default_rng(0)
    margin = rng.normal(0, 3, (8, 31))
    finding = av_offset.check(clip_stats.compute_clip_stats(toys))
    assert finding.state == findings.OK
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(av_offset, "correlate", lambda *_: av_offset.AVCorrelation(margin))
        assert av_offset.check(clip_stats.compute_clip_stats(toys)).state == findings.SKIPPED


def test_weights_without_updates_are_named(toys, monkeypatch):
    monkeypatch.setattr(sync_expert_method, "make_optimizer", lambda config: optax.set_to_zero())
    found = diagnose.examine(narrow(), toys)
    assert found.faults == ["frozen weights"]
    assert "did not change" in found.findings[-2].measurement


@pytest.mark.slow
def test_a_tower_without_updates_is_named_with_its_layers(bench, monkeypatch):
    def half(config):
        return optax.multi_transform(
            {"learns": optax.adam(1e-3), "still": optax.set_to_zero()},
            lambda params: {
                name: "still" if name.startswith("face") else "learns" for name in params
            },
        )

    monkeypatch.setattr(sync_expert_method, "make_optimizer", half)
    known = synthetic_clips.clips("face96")
    weights, batch = learning_checks.check(
        overfit.OverfitTest(narrow()), known, known, no_faults=True
    )
    assert weights.cause == "frozen weights"
    assert "face_encoder_0" in weights.measurement and "audio" not in weights.measurement
    assert batch.state == findings.SKIPPED


def test_a_learning_rate_100_times_too_high_is_named_with_a_better_one(toys):
    config = narrow()
    config.optimizer.learning_rate *= 100
    found = diagnose.examine(config, toys)
    assert found.faults == ["learning rate too high"]
    (fault,) = (finding for finding in found.findings if finding.cause)
    assert fault.action == "Set --config.optimizer.learning_rate=0.003."


def test_inverted_labels_are_named(monkeypatch):
    example = sync_expert.SyncExpertMethod.make_example

    def turned(self, clip, rng):
        made = example(self, clip, rng)
        return {**made, "label": 1 - made["label"]}

    config = overfit.strip_regularization(narrow("published"), 16)
    method = sync_expert.make(config, {})
    assert [f.state for f in synthetic_clips.check(method)] == [findings.OK, findings.OK]
    monkeypatch.setattr(sync_expert.SyncExpertMethod, "make_example", turned)
    in_step, balance = synthetic_clips.check(method)
    assert in_step.cause == "misaligned training windows"
    assert balance.state == findings.OK


def test_windows_cut_too_late_are_named(monkeypatch):
    start = windows.generator_window_start
    method = sync_expert.make(overfit.strip_regularization(narrow(), 4), {})
    monkeypatch.setattr(
        windows, "generator_window_start", lambda *args, **keywords: start(*args, **keywords) + 8
    )
    in_step, _ = synthetic_clips.check(method)
    assert in_step.measurement.endswith("0 of 32 labelled true are in sync")


def test_labels_of_one_kind_are_named(monkeypatch):
    example = sync_expert.SyncExpertMethod.make_example

    def only_true(self, clip, rng):
        made = example(self, clip, rng)
        keep = np.flatnonzero(made["label"])[:1].repeat(len(made["label"]))
        return {name: values[keep] for name, values in made.items()}

    monkeypatch.setattr(sync_expert.SyncExpertMethod, "make_example", only_true)
    _, balance = synthetic_clips.check(
        sync_expert.make(overfit.strip_regularization(narrow("published"), 16), {})
    )
    assert balance.cause == "labels unbalanced"


def test_small_batches_and_batches_of_copies_are_noted():
    assert learning_checks.batch_size(narrow(), 100).state == findings.OK
    assert learning_checks.batch_size(narrow(windows_per_clip=1), 100).state == findings.NOTE
    assert "or less" in learning_checks.batch_size(narrow(), 5).action


def run_folder(folder, losses, config):
    lines = [
        json.dumps({"step": step, "group": "train", "loss": loss, "cosine_std": 0.01})
        for step, loss in enumerate(losses, 1)
    ]
    (folder / "scalars.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "config.json").write_text(config.to_json_best_effort(), encoding="utf-8")
    return folder


def test_a_run_at_chance_and_one_that_left_it(tmp_path):
    config = narrow("published")
    assert run_history.check(tmp_path, config) == []
    (stuck,) = run_history.check(run_folder(tmp_path, [0.7] + [0.693] * 20, config), config)
    assert stuck.state == findings.NOTE and "chance is 0.693" in stuck.measurement
    (gone,) = run_history.check(run_folder(tmp_path, [0.7] * 5 + [0.4] * 20, config), config)
    assert gone.state == findings.OK
    config.optimizer.learning_rate = 0.5
    _, other = run_history.check(tmp_path, config)
    assert "optimizer.learning_rate was 0.0001, is 0.5" in other.measurement


def test_chance_within_a_clip_is_that_of_its_windows(tmp_path):
    config = narrow("in_the_box")
    assert config.objective == "info_nce_in_clip" and config.windows_per_clip == 8
    (stuck,) = run_history.check(run_folder(tmp_path, [2.079] * 20, config), config)
    assert stuck.state == findings.NOTE and "chance is 2.079" in stuck.measurement
    assert overfit.OverfitTest(config)._chance_loss == pytest.approx(np.log(2))


def test_a_run_with_unchanged_weights_is_named(tmp_path):
    config = narrow("published")
    run_folder(tmp_path, [0.7, 0.6, 0.5], config)
    kernel = np.ones((2, 2), np.float32)
    for step, moved in ((1, kernel), (2, kernel), (3, 2 * kernel)):
        params = {"face": {"kernel": moved, "bias": moved[0]}, "audio": {"kernel": step * kernel}}
        checkpoints.export_networks(
            tmp_path / "checkpoints" / str(step), {"expert": {"params": params}}, {}
        )
        if step == 2:
            still = run_history.check(tmp_path, config)[-1]
    assert still.cause == "frozen weights" and "face/kernel does not" in still.measurement
    assert run_history.check(tmp_path, config)[-1].measurement.startswith("2 of 2 layers differ")


def test_invalid_metrics_are_one_error(tmp_path):
    (tmp_path / "scalars.jsonl").write_text("not JSON", encoding="utf-8")
    with pytest.raises(ValueError, match=r"scalars\.jsonl can't be read as the metrics"):
        run_history.check(tmp_path, narrow())


def test_a_clip_that_cannot_be_read_is_one_error(toys):
    broken = dataclasses.replace(toys[3], frames=(b"no picture",) * len(toys[3].frames))
    with pytest.raises(ValueError, match="clip toy/3: frame 0 is not a readable JPEG"):
        diagnose.examine(narrow(), [*toys[:3], broken])
    short = toy_clip("toy/short", 0, frames=8)
    with pytest.raises(
        ValueError, match=r"no example can be made of clip toy/short: the clip has 8"
    ):
        overfit.OverfitTest(narrow()).overfit([short])
    silent = dataclasses.replace(toys[3], audio=np.zeros(0, np.int16))
    with pytest.raises(ValueError, match="clip toy/3 has unusable audio"):
        diagnose.examine(narrow(), [silent])


def test_the_training_of_a_generator_is_refused():
    with pytest.raises(ValueError, match="only the training of a sync expert"):
        diagnose.diagnose(wav2lip_config.get_config("tiny"))


COMMAND = ["diagnose", "--config=configs/sync_expert.py:small_data"]


@pytest.mark.usefixtures("_shared_bench")
def test_the_command_prints_and_writes_what_it_found(toy_data, tmp_path, capsys):
    overrides = [f"--config.data.dir={toy_data}", "--config.model.width_mult=0.03"]
    assert main.main([*COMMAND, *overrides, f"--workdir={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "nothing wrong was found" in printed
    assert json.loads((tmp_path / "diagnosis.json").read_text(encoding="utf-8"))["faults"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*COMMAND], "config.data.dir is empty"),
        ([*COMMAND, "--config.data.dir=nowhere"], "nowhere does not exist"),
        ([*COMMAND, "--config.optimiser.learning_rate=1"], "optimiser"),
        ([*COMMAND, "--config.optimizer.learning_rate=fast"], "learning_rate"),
        ([*COMMAND, "--loud"], "loud"),
        (["diagnose", "--config=configs/sync_expert.py:huge"], "no variant 'huge'"),
        (["diagnose", "--config=configs/nothing.py"], "nothing.py"),
    ],
)
def test_broken_input_is_one_clear_line(arguments, message, capsys):
    assert main.main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_other_commands_still_refuse_unknown_options(capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(["doctor", "--loud"])
    assert "unrecognized arguments: --loud" in capsys.readouterr().err
