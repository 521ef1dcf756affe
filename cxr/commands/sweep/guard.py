"""Run a command that ends when the process that asked for it ends, as one killed by SIGKILL cannot see to.

    python guard.py COMMAND [ARGUMENT...]

Has to lead a process group of its own: the command, what it started, and this process end together.
"""

import os
import signal
import subprocess
import sys

SECONDS = 0.5  # between two looks at the parent


def guarded(*command: str) -> list[str]:
    """The arguments of a process to be started in a session of its own.

    One guard starts another: when Ray ends a worker, it kills the processes that the worker started, but not
    what those have started.
    """
    return [sys.executable, __file__, sys.executable, __file__, *command]


def main() -> None:
    parent = os.getppid()
    process = subprocess.Popen(sys.argv[1:])
    while True:
        try:
            sys.exit(process.wait(SECONDS))
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
