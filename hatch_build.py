"""What the package index shows: the README without what only works beside the repository's other files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n(\n\*.*\*\n)?\n", re.MULTILINE)
"""A picture of a relative address, with the line in italics below it."""
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]*\)")


class Readme(MetadataHookInterface):
    """Fills in the project's `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Take pictures out, and leave the words of links."""
        text = (Path(self.root) / "README.md").read_text("utf-8")
        shown = LINK.sub(r"\1", PICTURE.sub("", text))
        metadata["readme"] = {"content-type": "text/markdown", "text": shown}
