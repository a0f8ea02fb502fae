"""The house: what may know of what, read off the sources."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fastmlp

PACKAGE = Path(fastmlp.__file__).parent

ORDER = (
    # words, arithmetic, and what stands alone
    *("_environment", "_names", "_text", "errors", "interrupts", "elementary", "dropout", "datasets"),
    # tables of functions
    *("activations", "losses", "schedules", "groups", "optimizers", "per_layer", "metrics"),
    # a network, without arithmetic
    *("spec", "parameters"),
    # the backends, which know all of the above and not one another
    "backends.base",
    *("backends.numpy.threads", "backends.numpy.workspace", "backends.numpy.calls", "backends.numpy.activations"),
    *("backends.numpy.fast", "backends.numpy.strict", "backends.numpy.passes", "backends.numpy.steps"),
    "backends.numpy.answering",
    *("backends.numpy.__init__", "backends.naive"),
    *("backends.numba.simd.registers", "backends.numba.jit", "backends.numba.calls"),
    *("backends.numba.notice", "backends.numba.store", "backends.numba.loading", "backends.numba.compiler"),
    *("backends.numba.simd.lanes", "backends.numba.simd.leaf"),
    *("backends.numba.simd.formulas", "backends.numba.simd.tiles", "backends.numba.simd.dots"),
    *("backends.numba.simd.passes", "backends.numba.simd.outputs", "backends.numba.simd.threads"),
    *("backends.numba.simd.sparse", "backends.numba.simd.row_gradient", "backends.numba.simd.softmax_loss"),
    *("backends.numba.simd.library", "backends.numba.simd.__init__"),
    *("backends.numba.entry", "backends.numba.overloads"),
    *("backends.numba.strict.layout", "backends.numba.strict.products", "backends.numba.strict.elementwise"),
    *("backends.numba.strict.kernels", "backends.numba.strict.entries", "backends.numba.strict.__init__"),
    *("backends.numba.crew", "backends.numba.fast.codes", "backends.numba.fast.layers"),
    *("backends.numba.fast.layout", "backends.numba.fast.rows"),
    *("backends.numba.fast.chunks", "backends.numba.fast.single_row", "backends.numba.fast.program"),
    *("backends.numba.fast.room", "backends.numba.fast.moving"),
    *("backends.numba.fast.kernels", "backends.numba.fast.entries", "backends.numba.fast.learner"),
    *("backends.numba.fast.__init__", "backends.numba.__init__"),
    "backends.numba.warming",
    "backends.__init__",
    # training, and what a user holds
    *("data", "history", "progress", "epochs", "training_state", "training", "predictor", "online", "network"),
    # checking gradients
    "gradcheck",
    # scikit-learn's names
    "estimators.telling",
    *("estimators.solvers", "estimators.settings", "estimators.picture", "estimators.scores", "estimators.labels"),
    *("estimators.splitting", "estimators.scaling", "estimators.sparse", "estimators.lbfgs", "estimators.engine"),
    *("estimators.descent", "estimators.fitted", "estimators.building", "estimators.base"),
    *("estimators.columns", "estimators.quantiles", "estimators.classifier", "estimators.regressor"),
    *("estimators.tables", "estimators.encoding", "estimators.targets", "estimators.tabular"),
    *("estimators.tabular_classifier", "estimators.tabular_regressor", "estimators.__init__"),
    # what `import fastmlp` gives, and the command over it
    *("__init__", "cli"),
)
"""Every module may import those before it, and only those; a folder that stands here as a whole is one place."""

SOURCES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
"""The file of every module, by its name without the package's."""


def place_of(module: str) -> int:
    """Return where a module, or the folder that it is in, stands in the order."""
    return next(place for place, name in enumerate(ORDER) if module == name or module.startswith(f"{name}."))


def is_for_types_alone(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Walk a module, but not what it says to type checkers alone."""
    for node in tree.body:
        if not is_for_types_alone(node):
            yield from ast.walk(node)


def imports(tree: ast.Module) -> set[str]:
    """Return the full names of all modules that a module imports, at its top or within functions."""
    found = set()
    for node in statements(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their modules in full"
            found |= {imported_module(str(node.module), alias.name) for alias in node.names}
    return found


def imported_module(module: str, name: str) -> str:
    """Return the module that `from module import name` is about: the name itself, where it is one of ours."""
    return f"{module}.{name}" if own_name(f"{module}.{name}") else module


def own_name(full_name: str) -> str | None:
    """Return the name that a module has in `SOURCES`, if it is one of ours."""
    package, _, inner = full_name.partition(".")
    names = (inner, f"{inner}.__init__".lstrip("."))
    return next((name for name in names if name in SOURCES), None) if package == "fastmlp" else None


def own_imports(tree: ast.Module) -> set[str]:
    """Return the modules of ours that a module imports, by their names in `SOURCES`."""
    return {name for name in map(own_name, imports(tree)) if name}


def parsed(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


def test_every_module_has_its_place_and_every_place_a_module() -> None:
    assert {place_of(module) for module in SOURCES} == set(range(len(ORDER)))


def leads_back(module: str, tree: ast.Module) -> set[str]:
    """Return which imports of a module lead to a later one, or to itself."""
    is_folder = module not in ORDER
    return {
        name
        for name in own_imports(tree)
        if place_of(name) > place_of(module) or (place_of(name) == place_of(module) and not is_folder)
    }


@pytest.mark.parametrize("module", SOURCES)
def test_imports_lead_one_way(module: str) -> None:
    assert not leads_back(module, parsed(module))


def test_no_import_needs_itself() -> None:
    """Within folders too, whose modules may know each other: the graph of what is imported at the top has no cycle."""
    at_the_top = {}
    for module in SOURCES:
        tree = parsed(module)
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        at_the_top[module] = own_imports(tree)
    assert set(TopologicalSorter(at_the_top).static_order()) == set(SOURCES)


def backend_of(module: str) -> str | None:
    """Return the backend that a module is a part of."""
    parts = module.split(".")
    return parts[1] if parts[0] == "backends" and parts[1] not in {"base", "__init__"} else None


def strangers(module: str, tree: ast.Module) -> set[str]:
    """Return what a backend's module imports of another backend; of any, for a module outside of them."""
    return {
        name for name in own_imports(tree) if backend_of(name) is not None and backend_of(name) != backend_of(module)
    }


ABOUT_KERNELS = {"cli.reports"}
"""Modules that tell where kernels are kept, and on what they run."""


@pytest.mark.parametrize("module", sorted(set(SOURCES) - ABOUT_KERNELS))
def test_a_backend_is_known_to_nobody_but_the_registry(module: str) -> None:
    assert not strangers(module, parsed(module))


# --- names of backends ---


def names_of_backends(tree: ast.Module) -> list[int]:
    """Return the lines with a string that is a backend's name."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in fastmlp.available_backends()
    ]


NAMES_ARE_PACKAGES = {"cli.reports"}
"""Modules in which "numpy" and "numba" are packages, whose versions are told."""


@pytest.mark.parametrize(
    "module", sorted(name for name in SOURCES if not name.startswith("backends") and name not in NAMES_ARE_PACKAGES)
)
def test_the_registry_alone_knows_backends_by_name(module: str) -> None:
    assert not names_of_backends(parsed(module))


# --- other packages ---

PLACES = {
    "numba": ("backends.numba",),
    "llvmlite": ("backends.numba", "cli.reports"),
    "threadpoolctl": ("backends.numpy.threads", "estimators.lbfgs"),
    "matplotlib": ("history", "cli"),
    "rich": ("progress", "cli"),
    "typer": ("cli",),
    "scipy": ("estimators",),
    "sklearn": ("estimators",),
    "safetensors": ("files",),
}
"""Where a package may be imported; NumPy and the standard library may everywhere."""


def misplaced(module: str, tree: ast.Module) -> set[str]:
    """Return the packages that a module imports and should not."""
    packages = {name.partition(".")[0] for name in imports(tree)}
    return {
        package
        for package in packages & set(PLACES)
        if not any(module == place or module.startswith(f"{place}.") for place in PLACES[package])
    }


@pytest.mark.parametrize("module", SOURCES)
def test_packages_are_imported_in_their_place(module: str) -> None:
    assert not misplaced(module, parsed(module))


@pytest.mark.parametrize("module", SOURCES)
def test_nothing_else_is_imported(module: str) -> None:
    packages = {name.partition(".")[0] for name in imports(parsed(module))}
    assert packages <= {*sys.stdlib_module_names, "numpy", "fastmlp", *PLACES}


# --- the checks can fail ---


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("elementary", "from fastmlp.activations import tanh"),
        ("elementary", "from fastmlp import activations"),
        ("spec", "import fastmlp.network"),
        ("training", "def f():\n    from fastmlp.network import MLP"),
        ("backends.naive", "from fastmlp import MLP"),
        ("backends.numpy.fast", "import fastmlp.backends"),
        ("gradcheck.check", "from fastmlp.cli import reports"),
        ("losses", "from fastmlp import losses"),
    ],
)
def test_a_way_back_is_seen(module: str, line: str) -> None:
    assert leads_back(module, ast.parse(line))


def test_what_is_for_types_alone_is_no_way_back() -> None:
    assert not leads_back("training", ast.parse("if TYPE_CHECKING:\n    from fastmlp.network import MLP"))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("backends.numba.fast.kernels", "from fastmlp.backends.numpy import fast"),
        ("backends.numpy.__init__", "from fastmlp.backends.naive import dot"),
        ("training", "from fastmlp.backends.numba.fast import kernels"),
        ("backends.__init__", "from fastmlp.backends import naive"),
    ],
)
def test_a_stranger_is_seen(module: str, line: str) -> None:
    assert strangers(module, ast.parse(line))


@pytest.mark.parametrize("line", ["if net.backend == 'numba': pass", "x = {'naive': 1}", "choose('numpy')"])
def test_a_name_is_seen(line: str) -> None:
    assert names_of_backends(ast.parse(line)) == [1]


@pytest.mark.parametrize(
    ("module", "line"),
    [("training", "import numba"), ("elementary", "from numba.extending import overload"), ("network", "import rich")],
)
def test_a_misplaced_package_is_seen(module: str, line: str) -> None:
    assert misplaced(module, ast.parse(line))
