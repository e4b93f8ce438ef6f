"""Says what to do when this process ends without a word.

JAX ends a process by SIGABRT, from a thread of its own, once another process of the run is lost; no
code of Python runs then, nor when the system kills the process. Another process says it instead.
"""

import atexit
import subprocess
import sys
from collections.abc import Callable

# Waits until the pipe closes, which it does when the process ends; an orderly end kills this one.
_WAIT = "import sys\nsys.stdin.buffer.read()\nsys.exit(sys.argv[1])"

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
        watcher.kill()  # at once, since JAX may abort this process meanwhile
        watcher.communicate()

    atexit.register(end)
    return end
