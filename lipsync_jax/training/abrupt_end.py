"""Says what to do when this process ends without a word.

JAX ends a process by SIGABRT, from a thread of its own, once another process of the run is lost; no
code of Python runs then, nor when the system kills the process. Another process says it instead.
"""

import atexit
import subprocess
import sys
from collections.abc import Callable

# An orderly end writes a byte; else the pipe closes without one.
_WAIT = "import sys\nif not sys.stdin.buffer.read(1): sys.exit(sys.argv[1])"

_SHOW_CURSOR = "\x1b[?25h"  # which a progress bar hides


def watch(message: str) -> Callable[[], None]:
    """Prints a message to the standard error if this process ends abruptly.

    Args:
        message: to print.

    Returns:
        A function that ends the watch; the exit of Python calls it too, `os._exit` does not.
    """
    if sys.stderr.isatty():
        message = _SHOW_CURSOR + message
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WAIT, message],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal is for this process alone
    )

    def end() -> None:
        atexit.unregister(end)
        try:
            watcher.communicate(b".", timeout=5)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            watcher.kill()  # it has ended, or hangs

    atexit.register(end)
    return end
