"""What is said where the folder of temporary files has no room for the copies that reading a file takes."""

from __future__ import annotations

import errno
import tempfile
from typing import Final

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_SIGNS: Final = tuple(f"[Errno {number}]" for number in _NO_ROOM)


def no_room(reason: OSError | str) -> str | None:
    """The words for the user, if it is for want of room; else None.

    Args:
        reason: an error, or what a process wrote on stderr as it failed.
    """
    number = reason.errno if isinstance(reason, OSError) else None
    if number == errno.EFBIG:  # of another process, this is for a limit of our own
        return f"can't be copied to {tempfile.gettempdir()}: larger than this shell allows files to be; raise ulimit -f"
    if number in _NO_ROOM or any(sign in str(reason) for sign in _SIGNS):
        return f"can't be copied: there is not enough space in {tempfile.gettempdir()}; set TMPDIR to another folder"
    return None
