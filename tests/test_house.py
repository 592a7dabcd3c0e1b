"""Rules of the code that no reader should have to check: who imports whom, and which file owns what."""

import ast
import re
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "nst_jax"
PATHS = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in PATHS.items()}

FLOORS = """
errors typing architecture files
settings
native
losses solvers
networks
images
samples films motion
config pretrained
transfer
runs
studio notebook
cli
"""
"""Imports point upwards here: to lines before the room's own; to `errors` and `typing` from anywhere."""

FLOOR = {room: number for number, line in enumerate(FLOORS.split("\n")) for room in line.split()}
TOP = ("__init__.py", "__main__.py")
"""The package itself: it may import any room, and no room imports it."""

ARRAY_ROOMS = {"losses", "native", "networks", "solvers", "transfer"}
FILE_ROOMS = {"config", "runs", "cli"}

LONGEST = 450
TOO_LONG: set[str] = set()
"""May hold what is on its way to be split."""

MOST_PARAMETERS = {"transfer/stylize.py:stylize": 12}
"""Of other functions: 10."""

LINES_WITH_ANY = 60

EVERYWHERE = {"jax", "numpy"}
OWNERS = {
    "IPython": "notebook.py",
    "PIL": "images/",
    "argparse": "cli/",
    "cv2": "motion/",
    "filelock": "files.py",
    "imageio_ffmpeg": "films/program.py",
    "flax": "networks/vgg.py",
    "h5py": "pretrained/",
    "jaxopt": "solvers/",
    "optax": "solvers/",
    "platformdirs": "files.py",
    "pooch": "pretrained/downloads.py",
    "psutil": "transfer/machine.py",
    "ray": "runs/ray/",
    "rich": "cli/terminal.py",
    "safetensors": "pretrained/containers.py",
    "scipy": ("solvers/scipy_lbfgsb.py", "motion/"),  # a solver; what samples and filters between pixels
    "skimage": "motion/",
    "submitit": "runs/slurm.py",
    "tifffile": "images/",
    "yaml": "config/text.py",
}
"""The one room or file that imports each library; a collection as large as SciPy may have several."""

TESTED_ELSEWHERE = {
    "__main__.py": "cli/test_process.py",
    "cli/animate.py": "runs/test_animate.py",
    "cli/arguments.py": "cli/test_transfer.py",
    "cli/cluster.py": "runs/test_ray.py",
    "cli/figures.py": "runs/test_figures.py",
    "cli/films.py": "runs/test_film.py",
    "cli/video.py": "runs/test_film.py",
    "cli/weights.py": "pretrained/test_normalisation.py",
    "cli/live.py": "cli/test_studio.py",
    "config/text.py": "config/test_loading.py",
    "config/values.py": "config/test_loading.py",
    "errors.py": "config/test_loading.py",
    "films/codecs.py": "films/test_ffmpeg.py",
    "films/film.py": "films/test_opened.py",
    "films/program.py": "films/test_ffmpeg.py",
    "films/streams.py": "films/test_ffmpeg.py",
    "images/decoding.py": "images/test_reading.py",
    "images/deep.py": "images/test_reading.py",
    "images/labels.py": "images/test_maps.py",
    "images/lettering.py": "images/test_sheet.py",
    "images/pictures.py": "images/test_reading.py",
    "images/profiles.py": "images/test_reading.py",
    "runs/batch_files.py": "runs/test_batch.py",
    "runs/batch_work.py": "runs/test_batch.py",
    "runs/claims.py": "runs/test_shared_folder.py",
    "runs/frames.py": "runs/test_animate.py",
    "runs/painting.py": "runs/test_sweep.py",
    "runs/sweep_folder.py": "runs/test_sweep.py",
    "settings/checks.py": "settings/test_settings.py",
    "settings/outputs.py": "settings/test_settings.py",
    "settings/section.py": "settings/test_settings.py",
    "settings/sections.py": "settings/test_settings.py",
    "studio/answers.py": "studio/test_server.py",
    "studio/board.py": "studio/test_desk.py",
    "studio/canvas.py": "studio/test_desk.py",
    "studio/compilations.py": "studio/test_desk.py",
    "studio/grid.py": "studio/test_desk.py",
    "transfer/alike.py": "transfer/test_batch.py",
    "transfer/checks.py": "transfer/test_problem.py",
    "transfer/looks.py": "transfer/test_loop.py",
    "transfer/plan.py": "transfer/test_batch.py",
    "typing.py": "test_house.py",
}
"""Every other file has its test at the same place under tests; the files of a folder in a room share one."""

TESTS_OF_THE_WHOLE = {
    "test_api.py",
    "test_benchmarks.py",
    "test_convert_caffe_vgg.py",
    "test_docs.py",
    "test_examples.py",
    "test_robustness.py",
    "studio/test_page.py",
}


def module_of(name):
    parts = ("nst_jax", *Path(name).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(name): name for name in PATHS}


def imports(tree, modules=FILES):
    """Return the dotted names of the modules that a file imports, at its top or later."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & set(modules)
            if not names <= set(modules):
                found.add(node.module)
    return found


def room_of(module):
    """Return the room of a module of the package, '' for the package itself."""
    return module.partition(".")[2].partition(".")[0]


OURS = {name: {m for m in imports(tree) if m.split(".")[0] == "nst_jax"} for name, tree in TREES.items()}
LIBRARIES = {
    name: {m.split(".")[0] for m in imports(tree)} - {"nst_jax"} - EVERYWHERE for name, tree in TREES.items()
}
INSIDE = [name for name in PATHS if name not in TOP]


def test_every_room_has_its_floor():
    assert {room_of(module_of(name)) for name in INSIDE} <= FLOOR.keys()
    assert len(set(FLOOR.values())) <= 13  # the studio shows runs, and the command line opens it


@pytest.mark.parametrize("name", INSIDE)
def test_imports_point_down(name):
    room = room_of(module_of(name))
    others = {room_of(module) for module in OURS[name]} - {room, "errors", "typing"}
    assert [other for other in others if other not in FLOOR or FLOOR[other] >= FLOOR[room]] == []


def test_array_rooms_know_nothing_of_configs_and_flags():
    array_files = [name for name in INSIDE if room_of(module_of(name)) in ARRAY_ROOMS]
    found = {name for name in array_files if {room_of(module) for module in OURS[name]} & FILE_ROOMS}
    assert found == set()


def test_no_cycles_among_files():
    graph = {name: {FILES[m] for m in OURS[name] if m in FILES} - {name} for name in PATHS}
    while graph:
        free = [name for name, used in graph.items() if not used & graph.keys()]
        assert free, f"a cycle among {sorted(graph)}"
        graph = {name: used for name, used in graph.items() if name not in free}


def test_every_library_has_its_owner():
    assert set().union(*LIBRARIES.values()) - sys.stdlib_module_names <= OWNERS.keys()


@pytest.mark.parametrize("library", OWNERS)
def test_one_room_or_file_owns_each_library(library):
    users = [name for name in PATHS if library in LIBRARIES[name]]
    assert users
    assert [name for name in users if not name.startswith(OWNERS[library])] == []


def test_files_are_short():
    lengths = {name: len(path.read_text().splitlines()) for name, path in PATHS.items()}
    assert {name for name, length in lengths.items() if length > LONGEST} <= TOO_LONG


@pytest.mark.parametrize("name", PATHS)
def test_functions_have_few_parameters(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            arguments = node.args
            count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
            own = getattr(node, "name", "lambda")
            assert count <= MOST_PARAMETERS.get(f"{name}:{own}", 10), f"{own}: {count} parameters"


def test_few_lines_have_any_type():
    lines = [line for path in PATHS.values() for line in path.read_text().splitlines()]
    assert sum(bool(re.search(r"\bAny\b", line)) for line in lines) <= LINES_WITH_ANY


@pytest.mark.parametrize("name", PATHS)
def test_files_are_documented_and_typed(name):
    assert ast.get_docstring(TREES[name])
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert node.returns is not None, node.name


@pytest.mark.parametrize("name", [name for name in PATHS if not name.startswith("cli/")])
def test_only_the_command_line_prints(name):
    calls = [node.func for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    assert [f.lineno for f in calls if isinstance(f, ast.Name) and f.id == "print"] == []


def mirrored(name):
    """Return the place of the test of a source file; a folder within a room has one for all of its files."""
    path = Path(name)
    if len(path.parts) > 2:
        path = Path(*path.parts[:2])
    return str(path.with_name(f"test_{path.stem}.py"))


def test_tests_lie_where_their_sources_do():
    wanted = {
        name: mirrored(name) for name in PATHS if Path(name).name != "__init__.py" or name.count("/") > 1
    }
    there = {str(path.relative_to(TESTS)) for path in TESTS.rglob("test_*.py")}
    there = {test for test in there if not test.startswith("tools/")}
    assert {name for name, test in wanted.items() if test not in there} <= TESTED_ELSEWHERE.keys()
    assert set(TESTED_ELSEWHERE.values()) <= there
    assert there - set(wanted.values()) - set(TESTED_ELSEWHERE.values()) == TESTS_OF_THE_WHOLE


def test_tests_import_no_tests():
    for path in TESTS.rglob("*.py"):
        names = {part for name in imports(ast.parse(path.read_text())) for part in name.split(".")}
        assert not {name for name in names if name == "conftest" or name.startswith("test_")}, path


def test_records_of_arrays_are_not_compared_by_value():
    """The truth of ``array == array`` is ambiguous; pytrees are compared by JAX."""
    arrays = re.compile(r"\b(Array|FloatArray|NDArray|Image|Params|Pictures|Problem)\b")
    found = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            decorators = " ".join(map(ast.unparse, getattr(node, "decorator_list", ())))
            if isinstance(node, ast.ClassDef) and "dataclass(" in decorators and "register" not in decorators:
                fields = [
                    ast.unparse(each.annotation) for each in node.body if isinstance(each, ast.AnnAssign)
                ]
                if "eq=False" not in decorators and any(map(arrays.search, fields)):
                    found.append(f"{name}:{node.name}")
    assert found == []
