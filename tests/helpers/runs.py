"""Comparison of the checkpoints of two training runs."""

import jax
import numpy as np
import orbax.checkpoint as ocp


def saved_arrays(workdir):
    """Reads every array of the newest training checkpoint, by item and path."""
    newest = max((workdir / "checkpoints").iterdir(), key=lambda p: int(p.name))
    return {
        item.name + jax.tree_util.keystr(path): leaf
        for item in newest.iterdir()
        if item.is_dir() and item.name != "run"
        for path, leaf in jax.tree.flatten_with_path(_arrays(item))[0]
    }


def _arrays(item):
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(item).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return checkpointer.restore(item, restore_args=as_numpy)


def assert_same_run(one, other):
    one, other = saved_arrays(one), saved_arrays(other)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
