"""Worker processes end with the process that started them."""

import subprocess
import sys

import pytest

POOLS = {
    "synthetic": """
from lipsync_jax.data_prep.synthetic import corpus

def work():
    with corpus._processes(2) as run:
        print(*run(abs, [1]), flush=True)
        time.sleep(60)
""",
    "prepare": """
import concurrent.futures
from lipsync_jax.data_prep import worker_pool

def work():
    context = multiprocessing.get_context("spawn")
    start = worker_pool._start_worker
    with concurrent.futures.ProcessPoolExecutor(1, context, start) as pool:
        print(pool.submit(abs, 1).result(), flush=True)
        time.sleep(60)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", POOLS)
def test_workers_end_with_their_parent(name, tmp_path):
    script = tmp_path / "script.py"
    end = 'if __name__ == "__main__":\n    work()\n'
    script.write_text(f"import multiprocessing, time\n{POOLS[name]}\n{end}")
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "1\n"
        parent.kill()
        parent.communicate(timeout=20)  # the pipe ends when no worker has it open
