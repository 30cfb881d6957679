"""What torch-fidelity imports of torchvision, without torchvision."""

import os
from pathlib import Path

FILES = {
    "torchvision/__init__.py": "",
    "torchvision/datasets.py": "class CIFAR10: ...\nclass CIFAR100: ...\nclass STL10: ...\n",
    "torchvision/transforms/__init__.py": "",
    "torchvision/transforms/functional.py": "",
}


def with_torchvision(folder: Path) -> str:
    """PYTHONPATH of a process that is to find it, written into `folder`."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
