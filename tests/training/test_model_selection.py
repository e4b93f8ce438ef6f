import math

import pytest

from lipsync_jax.training.model_selection import ModelSelection


@pytest.mark.parametrize("mode, sign", [("max", 1), ("min", -1)])
def test_the_best_is_kept_and_patience_counts_validations_without_a_gain(mode, sign):
    selection = ModelSelection(("x", mode), patience=2)
    values = (1, 1, 2, math.nan, 2)
    assert [selection.add({"x": sign * x}, counts=True) for x in values] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert selection.ends_run()
    assert selection.get_state() == {"best": 2, "validations_without_gain": 2}


def test_the_extra_validation_of_a_last_step_is_not_counted():
    selection = ModelSelection(("x", "max"), patience=1)
    assert selection.add({"x": 1.0}, counts=True)
    assert not selection.add({"x": 0.0}, counts=False) and not selection.ends_run()
    assert selection.add({"x": 2.0}, counts=False)
    assert not selection.add({"x": 1.5}, counts=True) and selection.ends_run()


def test_without_patience_no_run_ends_and_a_resumed_run_goes_on():
    selection = ModelSelection(("x", "max"), patience=0)
    for _ in range(9):
        selection.add({"x": 0.0}, counts=True)
    assert not selection.ends_run()
    again = ModelSelection(("x", "max"), patience=8)
    again.set_state({"loader": {}, **selection.get_state()})
    assert again.ends_run() and again.get_state() == selection.get_state()
