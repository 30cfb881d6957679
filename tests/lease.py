"""Hold a lease on a file: whoever opens it waits. A process of its own, whose signals are nobody else's.

    python tests/lease.py FILE

Writes a line when it has the lease, or why it has none, and another one when somebody waits; ends with its input.
"""

import fcntl
import os
import signal
import sys


def main(path: str) -> None:
    def tell(line: str) -> None:
        os.write(1, f"{line}\n".encode())

    signal.signal(signal.SIGIO, lambda _number, _frame: tell("waits"))
    try:
        fcntl.fcntl(os.open(path, os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        tell(str(error.strerror))
        return
    tell("holds")
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
