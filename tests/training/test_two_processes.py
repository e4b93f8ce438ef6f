"""Two processes on loopback: saves that overlap, and a process that dies."""

import os
import re
import signal
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
from lipsync_jax.methods.base import NetworkState, init_train_state
from lipsync_jax.training import checkpoints, sharding
mesh = sharding.make_mesh()
params = {f"layer{n}": np.ones((32, 32), np.float32) for n in range(8)}
network = NetworkState(params, {}, optax.adam(1e-3).init(params))
state = sharding.replicate(init_train_state(jax.random.key(0), {"expert": network}), mesh)
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


DIE = """
import os, sys
import jax, numpy as np
from lipsync_jax.training import distributed, sharding
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
mesh = sharding.make_mesh()
same, split = sharding.replicated_sharding(mesh), sharding.batch_sharding(mesh)
mean = jax.jit(lambda batch: batch["x"].mean(), in_shardings=split, out_shardings=same)
try:
    for step in range(100):
        float(mean(sharding.shard_batch({"x": np.ones(4, np.float32)}, mesh)))
        if step == 3 and sys.argv[2] == sys.argv[3]:
            os.kill(os.getpid(), 9)
except Exception as error:
    distributed.exit_with_message(1, f"error: {distributed.user_message(error)}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_one_that_is_left_says_so(victim):
    address = f"127.0.0.1:{portpicker.pick_unused_port()}"
    both = together("-c", DIE, address, "@", victim)
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert both[victim].returncode == -signal.SIGKILL
    assert both[1 - victim].returncode == 1, outputs
    last = outputs[1 - victim].strip().splitlines()[-1]
    assert re.match(
        "error: another process of this run has died .*same command on every host again", last
    )
