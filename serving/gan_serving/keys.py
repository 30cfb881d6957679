"""Makes a new API key.

    python -m gan_serving.keys [NAME]

prints its line on standard output, for the file that GAN_API_KEYS_FILE names, and the key on standard error.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import sys
from typing import Final

LINE: Final = re.compile(r"([A-Za-z0-9._-]{1,64}):([0-9a-fA-F]{64})")
"""Of the file: a name, and the SHA-256 digest of a key."""
NAMELESS: Final = "sha256"
"""Stands in the place of a name where there is none."""


def new_key(name: str = NAMELESS) -> tuple[str, str]:
    """A random key of 256 bits, and its line for the file.

    Raises:
        ValueError: the name can't stand in the file.
    """
    key = "gan_" + secrets.token_urlsafe(32)
    line = f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"
    if not LINE.fullmatch(line):
        raise ValueError(f"{name!r} can't be a key's name: 1 to 64 letters, digits, '.', '_' or '-'")
    return key, line


def main(arguments: list[str]) -> int:
    """Print a new key's line, and the key itself where it doesn't get into the file."""
    program = "python -m gan_serving.keys"
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(f"usage: {program} [NAME]", file=sys.stderr)
        return 2
    try:
        key, line = new_key(*arguments)
    except ValueError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    print(line)
    print(
        f"{program}: the key is {key} and shown only now; the line is for the file of GAN_API_KEYS_FILE",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
