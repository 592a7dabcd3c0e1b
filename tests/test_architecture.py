"""Rules of the code that no reader should have to check: who imports whom, and which module owns what."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "nst_jax"
FILES = {
    path.stem: sorted(path.rglob("*.py")) if path.is_dir() else [path]
    for path in sorted(PACKAGE.iterdir())
    if (path.suffix == ".py" and not path.stem.startswith("__")) or (path / "__init__.py").exists()
}
"""The files of each module; a package within the package counts as one module."""

MODULES = list(FILES)
SOURCES = [path for files in FILES.values() for path in files]

LEVELS = [
    {"errors", "conventions", "losses", "patches", "solver", "lbfgsb", "report", "memory", "strips"},
    {"files", "layers", "winograd", "works"},
    {"convolution"},
    {"config", "images", "brush", "caffe", "vgg", "checkpoints"},
    {"maps", "objective", "paintings", "portraits", "riverside", "weights", "records"},
    {"samples", "downloads", "gallery", "lacking", "normalisation"},
    {"dictionary"},
    {"encoder"},
    {"program"},
    {"inputs", "tasks"},
    {"fitting", "pyramid"},
    {"transfer"},
    {"lanes", "run"},
    {"sweep"},
    {"slurm", "figures"},
    {"cli"},
]
"""Imports point from later to earlier levels, or within one level where no cycle comes of it."""

OWNERS = {
    "PIL": {"images"},
    "h5py": {"weights"},
    "safetensors": {"weights"},
    "pooch": {"downloads"},
    "requests": set(),  # comes with pooch, which is asked instead
    "yaml": {"config"},
    "pydantic": {"config"},
    "jaxopt": {"solver"},
    "optax": {"solver"},
    "scipy": {"lbfgsb"},
    "flax": {"vgg"},
    "argparse": {"cli"},
    "rich": {"cli"},
    "tifffile": {"images"},
    "platformdirs": {"files"},
    "psutil": {"memory"},
    "filelock": {"sweep"},
    "submitit": {"slurm"},
}


def imports(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module == "nst_jax":
                found |= {f"nst_jax.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    return found


def used_by(module):
    """Return which other modules of the package any of its files imports."""
    names = set().union(*map(imports, FILES[module]))
    return {name.split(".")[1] for name in names if name.startswith("nst_jax.")} - {module}


def name_of(path):
    return str(path.relative_to(PACKAGE))


def test_every_module_has_its_level_and_its_test():
    assert set(MODULES) == set().union(*LEVELS)
    for module in MODULES:
        if module not in ("errors",):  # its texts are tested where they are raised
            assert (ROOT / "tests" / f"test_{module}.py").exists(), module


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    level = next(i for i, names in enumerate(LEVELS) if module in names)
    allowed = set().union(*LEVELS[: level + 1])
    assert used_by(module) <= allowed


@pytest.mark.parametrize("module", MODULES)
def test_parts_of_a_package_are_its_own_affair(module):
    inside = {name for path in FILES[module] for name in imports(path) if name.count(".") > 1}
    assert {name.split(".")[1] for name in inside if name.startswith("nst_jax.")} <= {module}


def test_no_cycles():
    graph = {module: used_by(module) & set(MODULES) for module in MODULES}
    while graph:
        free = [m for m, used in graph.items() if not used & set(graph)]
        assert free, f"a cycle among {sorted(graph)}"
        graph = {m: used for m, used in graph.items() if m not in free}


@pytest.mark.parametrize("library", OWNERS)
def test_one_module_owns_each_library(library):
    users = {m for m in MODULES for p in FILES[m] if library in {name.split(".")[0] for name in imports(p)}}
    assert users == OWNERS[library]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_modules_are_small_and_documented(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    assert len(path.read_text().splitlines()) <= 450
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert node.returns is not None, node.name


def test_only_the_command_line_prints():
    for path in SOURCES:
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        prints = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        assert name_of(path).startswith("cli/") or not prints, path
