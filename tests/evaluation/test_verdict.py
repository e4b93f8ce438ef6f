"""Verdicts on results made by hand."""

import dataclasses

import numpy as np
import pytest

from lipsync_jax.evaluation import results, verdict
from lipsync_jax.evaluation.protocol import get
from lipsync_jax.evaluation.report import html

CLIPS = [f"c{i}" for i in range(8)]


def made(truth_offset=0.0, truth_prominence=0.5, clips=CLIPS, **methods):
    """A result: per-clip metrics of each method, `name={metric: mean}`, with a little spread."""
    rng = np.random.default_rng(0)
    in_sync = float(truth_prominence >= 0.25 and abs(truth_offset) <= 1)
    truth = {"sync_in_sync": in_sync, "sync_c": 6.0, "cpbd": 0.2}
    everything = {
        "ground truth": {**truth, "sync_offset": truth_offset, "sync_prominence": truth_prominence},
        "copy-reference": {"mouth_l1": 0.05, "psnr": 25.0, "sync_c": 1.0, "cpbd": 0.2},
        "mean-mouth": {"mouth_l1": 0.04, "psnr": 26.0, "sync_c": 1.0, "cpbd": 0.1},
        **methods,
    }
    by_clip = {
        name: {
            clip: {m: v * (1 + 0.01 * rng.standard_normal() * (v > 1)) for m, v in values.items()}
            for clip in clips
        }
        for name, values in everything.items()
    }
    protocol = get("face-2")
    result = {
        "order": list(by_clip), "protocol": dataclasses.asdict(protocol), "clips": len(clips),
        "lipsync_jax": "0", "skipped": [], "landmarks": None, "embedder": None,
        "lip_reader": None, "sync_model": {"kind": "sync_expert", "model": "abc"},
        "methods": {
            name: {"clips": found, "metrics": results._mean_metrics([*found.values()], protocol)}
            for name, found in by_clip.items()
        },
    }  # fmt: skip
    verdict.add_verdict(result)
    return result


GOOD = {"mouth_l1": 0.02, "psnr": 30.0, "sync_c": 5.0, "cpbd": 0.15}


def test_a_good_method_is_better_than_the_baselines():
    (line,) = made(m=GOOD)["verdict"]
    expected = "m is better than the audio-independent baselines in mouth L1, PSNR dB and Sync-C"
    assert line == f"{expected} (own model)."


def test_a_bad_method_is_no_better():
    result = made(m={"mouth_l1": 0.06, "psnr": 20.0, "sync_c": 1.0, "cpbd": 0.9})
    first, second = result["verdict"]
    assert first.startswith("m is no better than the audio-independent baselines in any metric")
    assert "worse in mouth L1 and PSNR dB. A frozen mouth would do as well" in first
    assert second == (
        "m: CPBD (noise counts as sharp) above the real videos: noise or grain, not sharpness."
    )


def test_metrics_that_disagree_are_named():
    # Better than one baseline only counts as worse than the best one.
    (line,) = made(m={**GOOD, "mouth_l1": 0.045})["verdict"]
    assert line.startswith("m: the metrics disagree.")
    assert "worse than the best of them in mouth L1" in line


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        ({"truth_prominence": 0.1, "truth_offset": 9.0}, "not fit for these faces"),
        ({"truth_offset": 4.0}, "their audio is 4.0 frames late"),
        ({"truth_offset": -3.0}, "their audio is 3.0 frames early"),
    ],
)
def test_a_sync_model_that_calls_the_truth_out_of_sync_is_greyed(truth, reason, tmp_path):
    result = made(**truth, m=GOOD)
    assert reason in result["sync_problem"] and reason in result["verdict"][0]
    assert "Sync-C" not in result["verdict"][1]
    greyed = verdict.unreliable_metrics(result)
    assert {"sync_c", "sync_offset", "lse_d", "syncnet_offset"} <= greyed
    assert not greyed & {"psnr", "mouth_l1", "wer", "cpbd"}
    assert "Sync-C (own model) (unreliable)" in results.table(result, greyed)
    html.write(tmp_path / "report.html", result, [], "t")
    page = (tmp_path / "report.html").read_text()
    assert '<tr class="unreliable"><td>Sync-C (own model)' in page
    assert "<h2>Verdict</h2>" in page and reason in page
    assert '<tr class="unreliable"><td>PSNR' not in page


def test_offsets_that_are_right_but_not_confident_are_no_problem():
    result = made(truth_prominence=0.17, truth_offset=-0.4, m=GOOD)
    first, second = result["verdict"]
    assert result["sync_problem"] is None and "right (100% within a frame of 0) but not" in first
    assert "Sync-C" in second and not verdict.unreliable_metrics(result)


def test_without_enough_clips_or_baselines_there_is_no_verdict():
    (line,) = made(m={"fdbm": 0.1}, clips=CLIPS[:2])["verdict"]
    assert line == "m: no verdict, 2 clips scored; 3 or more are needed."
    (line,) = made(m={"fdbm": 0.1})["verdict"]
    assert "no metric compares it" in line
    assert made(m=GOOD)["sync_problem"] is None


def test_one_clip_is_compared_without_a_verdict():
    result = made(m={**GOOD, "mouth_l1": 0.045}, clips=CLIPS[:1])
    (line,) = result["verdict"]
    assert line == (
        "m: no verdict, 1 clip scored; 3 or more are needed. On this clip it is better than every "
        "audio-independent baseline in PSNR dB and Sync-C (own model), not better in mouth L1."
    )
    assert "[" not in results.table(result)  # one clip has no interval
