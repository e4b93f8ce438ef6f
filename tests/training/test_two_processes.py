"""Two processes on loopback: saves that overlap, and a process that dies."""

import os
import subprocess
import sys
from pathlib import Path

import portpicker
import pytest

ROOT = Path(__file__).parents[2]
SAVE_BOTH = """
import sys, pathlib
import jax, jax.numpy as jnp, numpy as np, optax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from lipsync_jax.methods.base import PlayerState, fresh_state
from lipsync_jax.training import checkpoints, sharding
mesh = sharding.make_mesh()
params = {f"layer{n}": np.ones((32, 32), np.float32) for n in range(8)}
player = PlayerState(params, {}, optax.adam(1e-3).init(params))
state = sharding.replicate(fresh_state(jax.random.key(0), {"expert": player}), mesh)
saved = checkpoints.Checkpoints(pathlib.Path(sys.argv[3]), ("expert",))
for step in range(1, 13):
    state = state.replace(step=sharding.replicate(np.int32(step), mesh))
    saved.save_best(state, {"config": {}})  # both are finalised in the background
    saved.save(state, {"loader": {}, "best": float(step)})
saved.close()
again = checkpoints.Checkpoints(pathlib.Path(sys.argv[3]), ("expert",))
restored, _ = again.restore(state)
again.close()
print("restored", int(restored.step))
"""


def together(*command, **environment):
    """Two processes of one program; `@` in an argument becomes the process's number."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", **environment}
    return [
        subprocess.Popen(
            [sys.executable, *(str(part).replace("@", str(number)) for part in command)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]


@pytest.mark.slow
def test_both_managers_finish_at_once(tmp_path):
    address = f"127.0.0.1:{portpicker.pick_unused_port()}"
    both = together("-c", SAVE_BOTH, address, "@", tmp_path)
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [p.returncode for p in both] == [0, 0], outputs
    assert all("restored 12" in out for out in outputs)
    names = {f.name: sorted(p.name for p in f.iterdir()) for f in tmp_path.iterdir()}
    assert names == {"best": ["12"], "checkpoints": ["11", "12"]}
