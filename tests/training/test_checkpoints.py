"""Which checkpoints of a run are kept."""

import jax
import numpy as np
import pytest

from lipsync_jax.methods.base import NetworkState, init_train_state
from lipsync_jax.training import checkpoints, damage, sharding


@pytest.mark.parametrize(("period", "kept"), [(0, ["6", "7"]), (3, ["3", "6", "7"])])
def test_the_newest_and_those_of_the_period_are_kept(tmp_path, period, kept):
    mesh = sharding.make_mesh(jax.devices()[:1])
    network = NetworkState({"kernel": np.ones(2, np.float32)}, {}, ())
    state = sharding.replicate(init_train_state(jax.random.key(0), {"expert": network}), mesh)
    saved = checkpoints.Checkpoints(tmp_path, ("expert",), keep_period=period)
    for step in range(1, 8):
        state = state.replace(step=sharding.replicate(np.int32(step), mesh))
        saved.save(state, {"loader": {}, "best": 0.0})
    saved.close()
    assert [p.name for p in damage.steps_of(tmp_path / "checkpoints")] == kept
