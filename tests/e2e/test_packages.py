"""The house: who imports whom, and what is pinned."""

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
WINGS = {
    "gan_training": ROOT / "training" / "gan_training",
    "gan_export": ROOT / "export" / "gan_export",
    "gan_serving": ROOT / "serving" / "gan_serving",
    "gan_client": ROOT / "clients" / "gan_client",
}
ARROWS = {
    "gan_training": (),
    "gan_export": ("gan_training",),
    "gan_serving": ("gan_export.artifact", "gan_client.types"),
    "gan_client": (),
}
ARTIFACT_ARROWS = ("gan_export.artifact",)
ROOF = {"gan_training": ("__main__",), "gan_export": ("__main__",), "gan_serving": ("service", "gateway", "preflight")}
"""Files that stand on a wing's rooms, and that no room may import."""


def is_module(name: str) -> bool:
    wing, *parts = name.split(".")
    path = WINGS[wing].joinpath(*parts) if wing in WINGS else None
    return path is not None and (path.is_dir() or path.with_suffix(".py").is_file())


def imported_modules(file: Path, package: str) -> set[str]:
    """Absolute names of everything a source file imports, relative imports resolved."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import digits` names a module, `from .digits import load` what is in one.
            found |= {f"{module}.{a.name}" if is_module(f"{module}.{a.name}") else module for a in node.names}
    return found


def package_of(file: Path, wing: str) -> str:
    return ".".join([wing, *file.relative_to(WINGS[wing]).parent.parts])


@pytest.mark.parametrize("wing", WINGS)
def test_arrows_between_the_wings(wing: str) -> None:
    files = sorted(WINGS[wing].rglob("*.py"))
    assert files
    for file in files:
        for module in imported_modules(file, package_of(file, wing)):
            if module.split(".")[0] in WINGS and module.split(".")[0] != wing:
                allowed = any(module == arrow or module.startswith(f"{arrow}.") for arrow in ARROWS[wing])
                assert allowed, f"{file.relative_to(ROOT)} imports {module}"


def test_the_artifact_package_needs_neither_torch_nor_the_rest_of_the_export() -> None:
    files = sorted((WINGS["gan_export"] / "artifact").rglob("*.py"))
    assert files
    for file in files:
        for module in imported_modules(file, package_of(file, "gan_export")):
            assert module.split(".")[0] not in ("torch", "onnx", "gan_training"), f"{file.name} imports {module}"
            inside = module.split(".")[0] != "gan_export" or module.startswith(ARTIFACT_ARROWS)
            assert inside, f"{file.name} imports {module}"


def imports_of_all_files() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for wing, folder in WINGS.items():
        for file in folder.rglob("*.py"):
            package = package_of(file, wing)
            name = package if file.stem == "__init__" else f"{package}.{file.stem}"
            graph[name] = imported_modules(file, package) - {name}
    assert len(graph) > 100
    return {name: imports & set(graph) for name, imports in graph.items()}


def room_of(module: str) -> str:
    """A wing's folder, with all in it, or a file beside its folders."""
    return ".".join(module.split(".")[:2])


def test_no_files_import_each_other_in_a_circle() -> None:
    TopologicalSorter(imports_of_all_files()).prepare()  # or CycleError


def test_no_folders_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, imports in imports_of_all_files().items():
        graph.setdefault(room_of(name), set()).update({room_of(one) for one in imports} - {room_of(name)})
    assert "gan_export.package" in graph["gan_export.cli"]
    TopologicalSorter(graph).prepare()  # or CycleError


def section_on(wing: str) -> str:
    """Of docs/design.md."""
    title = wing.removeprefix("gan_").title()
    _, _, section = (ROOT / "docs" / "design.md").read_text().partition(f"\n### {title}\n")
    return section.partition("\n### ")[0]


@pytest.mark.parametrize("wing", ROOF)
def test_the_page_on_the_design_says_what_each_file_beside_the_rooms_is_for(wing: str) -> None:
    files = {file.name for file in WINGS[wing].glob("*.py")} - {"__init__.py", "__main__.py"}
    assert files
    assert files <= set(re.findall(r"`(\w+\.py)`", section_on(wing)))


@pytest.mark.parametrize("wing", ROOF)
def test_arrows_between_the_rooms_of_a_wing(wing: str) -> None:
    folder = WINGS[wing]
    rooms = {file.parent.name for file in folder.glob("*/__init__.py")}
    arrows: dict[str, set[str]] = {}
    for room in rooms:
        arrows[room] = set()
        for file in (folder / room).rglob("*.py"):
            for module in imported_modules(file, package_of(file, wing)):
                if module.startswith(f"{wing}.") and module.split(".")[1] != room:
                    part = module.split(".")[1]
                    assert part not in ROOF[wing], f"{room}/{file.name} imports {module}"
                    arrows[room] |= {part} & rooms
    TopologicalSorter(arrows).prepare()  # or CycleError
    rows = re.findall(r"^\| `(\w+)/` \| (.*?) ?\|", section_on(wing), re.MULTILINE)
    assert arrows == {room: set(re.findall(r"`(\w+)`", imports)) for room, imports in rows if room != "ui"}


def test_the_loop_does_not_know_the_types() -> None:
    text = (WINGS["gan_training"] / "loop.py").read_text()
    for word in ("dcgan", "cgan", "acgan", "wgan", ".type =="):
        assert word not in text.lower().replace("device.type ==", "")


def test_the_bento_pins_what_the_checkout_pins() -> None:
    pins = set((ROOT / "constraints.txt").read_text().split())
    packages = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]
    assert packages
    assert set(packages) <= pins


def test_make_setup_brings_what_bentoml_build_runs_and_does_not_ask_for() -> None:
    """Where uv is missing, BentoML has pip install the newest, whatever is pinned; offline it ends there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {Requirement(line).name for line in [*extras["dev"], *(requires("bentoml") or [])]}
    assert "uv" in asked
    assert re.search("^uv==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
