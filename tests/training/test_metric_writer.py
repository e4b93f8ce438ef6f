"""Sample sheets and the plot of a run's metrics."""

import json

import cv2
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import lipgan, speech2vid, sync_expert
from lipsync_jax.methods.common.sync_metrics import sync_metrics
from lipsync_jax.training import metric_writer


def test_columns_of_sample_sheets_have_titles(tmp_path):
    writer = metric_writer.MetricWriter(tmp_path)
    columns = [np.full((2, 96, 96, 3), 0.5)] * 4
    writer.images(3, columns, ("reference", "masked input", "generated", "real"))
    writer.images(4, columns)
    writer.close()
    sheet, plain = (
        cv2.imread(str(tmp_path / "samples" / f"step_0000000{step}.png")) for step in (3, 4)
    )
    assert sheet.shape == (16 + 192, 384, 3) and plain.shape == (192, 384, 3)
    for column in range(4):  # a title in each column, which ends inside of it
        part = sheet[:16, 96 * column : 96 * column + 96]
        assert (part[:, :94] < 128).any() and (part[:, 94:] > 200).all()
    assert (sheet[16:] == plain).all()


def test_the_last_title_spans_the_remaining_columns_and_long_ones_shrink():
    row = metric_writer.title_row(("a", "each clip: real above generated"), [20, 64, 64, 64])
    assert row.shape == (16, 212, 3) and (row[:, 150:] < 0.5).any()
    narrow = metric_writer.title_row(("masked input", "b"), [40, 40])
    assert (narrow[:, 38:41] > 0.8).all() and (narrow[:, :38] < 0.5).any()


def test_titles_of_methods_name_all_columns():
    for module, variant, count in ((lipgan, "tiny", 4), (speech2vid, "tiny", 4),
                                   (speech2vid, "tiny_no_deblur", 3)):  # fmt: skip
        assert len(methods.load(module.get_config(variant)).sample_titles) == count


def test_the_losses_of_training_and_validation_have_panels_of_their_own(tmp_path, monkeypatch):
    ones = np.ones((2, 12, 12))
    found = sync_metrics(ones * 0.5, ones[:, 0] > 0, ones[:, 0] > 0, 5)
    assert "loss" not in found and abs(found["cosine_cross_entropy"] - np.log(2)) < 1e-6
    config = sync_expert.get_config("small_data")
    (tmp_path / "config.json").write_text(config.to_json_best_effort())
    lines = [{"step": 1, "group": "train", "loss": 4.5, "cosine": 0.1},
             {"step": 1, "group": "validation", **found}]  # fmt: skip
    (tmp_path / "scalars.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    import matplotlib.pyplot as plt

    figures = []
    monkeypatch.setattr(plt, "close", figures.append)
    metric_writer.plot_scalars(tmp_path, tmp_path / "plot.png")
    (figure,) = figures
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert "loss (info_nce)" in titles and "cosine_cross_entropy" in titles
    # The legend is above all panels.
    (legend,) = figure.legends
    bottom = legend.get_window_extent().y0
    assert all(axes.title.get_window_extent().y1 <= bottom for axes in figure.axes)
    assert all(axes.get_legend() is None for axes in figure.axes)
    monkeypatch.undo()
    plt.close(figure)


def test_no_scalar_replaces_the_number_of_its_step(tmp_path):
    writer = metric_writer.MetricWriter(tmp_path)
    writer.scalars(3, {"loss": 1.0}, "time")
    with pytest.raises(ValueError, match="no scalar can be called 'step'"):
        writer.scalars(3, {"step": 0.5}, "time")
    writer.close()
    assert metric_writer.read_scalars(tmp_path, "time") == [{"step": 3, "loss": 1.0}]
