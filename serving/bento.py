"""What bentofile.yaml names: finds the stage folders beside it, in the checkout as in a built bento, and hands over."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A bento's root is on sys.path, the stage folders inside it are not.
sys.path[:0] = [str(ROOT / stage) for stage in ("clients", "export", "serving")]
os.environ.setdefault("GAN_MODELS", f"{ROOT / 'models'}?:zoo")

from gan_serving.service import GanService  # noqa: E402

__all__ = ["GanService"]
