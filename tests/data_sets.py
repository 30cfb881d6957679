"""`gan-client dataset` as a process, and what it wrote."""

import csv
import hashlib
import subprocess
import sys

COMMAND = [sys.executable, "-m", "gan_client", "dataset"]


def start(service, *arguments, cwd, **options):
    """A process of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--url", service.url],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def hashes(folder):
    """Every file below `folder` by its hash."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def table(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
