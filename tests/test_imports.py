"""What importing costs: nothing but NumPy, until something else is asked for."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import fastmlp
from tests import processes

LATER = (
    "numba",
    "llvmlite",
    "scipy",
    "sklearn",
    "joblib",
    "matplotlib",
    "rich",
    "typer",
    "threadpoolctl",
    "safetensors",
)
"""Packages that `import fastmlp` must not bring in: they are slow to import, or extras."""

ANSWER = f"import json, sys; print(json.dumps([name for name in {LATER} if name in sys.modules]))"


def brought_in(program: str) -> list[str]:
    """Return which of those packages a program has imported when it ends."""
    found: list[str] = json.loads(processes.run(f"{program}; {ANSWER}").splitlines()[-1])
    return found


def test_importing_brings_in_numpy_alone() -> None:
    assert brought_in("import fastmlp") == []


def test_looking_around_brings_in_nothing() -> None:
    """Names, schedules and optimizers are there without a backend."""
    assert brought_in("import fastmlp; fastmlp.available_backends(); fastmlp.Adam(fastmlp.schedules.Cosine(0.1))") == []


@pytest.mark.parametrize("backend", ["auto", "naive", "numpy"])
def test_training_without_numba_does_not_import_it(backend: str) -> None:
    program = f"import fastmlp; net = fastmlp.MLP((1, 2, 1), backend='{backend}'); net.fit([[1.0]], [2.0])"
    assert brought_in(program) == []


def test_the_command_does_not_import_numba_before_it_is_needed() -> None:
    assert "numba" not in brought_in("import fastmlp.cli.commands")


@pytest.mark.parametrize("strict", [True, False])
def test_kernels_that_are_loaded_need_no_numba(strict: bool) -> None:
    """Its import takes several times as long as all else."""
    net = f"import fastmlp; net = fastmlp.MLP((1, 2, 1), backend='numba', strict={strict})"
    use = "net.fit([[1.0]], [2.0]); net.predict([[1.0]] * 9); net.predict([[1.0]]); net.learn_one([1.0], [2.0])"
    brought_in(f"{net}; {use}")  # compiles, where nobody has before
    assert brought_in(f"{net}; {use}") == ["llvmlite"]


def test_numbers_are_looked_at_without_what_nobody_has_imported() -> None:
    """A masked array cannot be there before its module is, which takes as long to import as all of the library's."""
    program = "import fastmlp; fastmlp.MLP((1, 2, 1), backend='numpy').fit([[1.0]], [2.0])"
    assert processes.run(f"{program}; import sys; print('numpy.ma' in sys.modules)") == "False\n"


def test_the_check_can_fail() -> None:
    assert brought_in("import fastmlp.backends.numba.fast.kernels")[:2] == ["numba", "llvmlite"]


def test_a_backend_is_imported_when_it_is_first_asked_for() -> None:
    answer = "import sys; print([n for n in sys.modules if n.startswith('fastmlp.backends.')])"
    assert processes.run(f"import fastmlp; {answer}") == "['fastmlp.backends.base']\n"


def test_estimators_bring_in_scikit_learn_when_they_are_touched() -> None:
    assert "sklearn" not in brought_in("import fastmlp; dir(fastmlp); fastmlp.__all__")
    assert "sklearn" in brought_in("import fastmlp; fastmlp.MLPClassifier")
    assert "numba" not in brought_in("from fastmlp import MLPRegressor; MLPRegressor()")


@pytest.mark.parametrize("touch", ["fastmlp.MLPClassifier", "fastmlp.TabularMLPRegressor", "import fastmlp.estimators"])
def test_without_scikit_learn_estimators_say_what_to_install(touch: str) -> None:
    program = f"""
import sys
sys.modules["sklearn"] = None
import fastmlp
try:
    {touch}
except ImportError as error:
    print(type(error).__name__, error, error.__cause__, error.__suppress_context__)
print(fastmlp.MLP.__name__, "MLPClassifier" in dir(fastmlp))
"""
    message = "fastmlp's estimators need scikit-learn: run `pip install 'fastmlp[sklearn]'`"
    assert processes.run(program) == f"ImportError {message} None True\nMLP True\n"


def test_a_part_of_scikit_learn_that_is_missing_is_told_by_its_name() -> None:
    program = """
import sys
sys.modules["threadpoolctl"] = None
import fastmlp
try:
    fastmlp.MLPClassifier
except ImportError as error:
    print(error.name)
"""
    assert processes.run(program) == "threadpoolctl\n"


def test_importing_says_nothing_and_leaves_the_process_alone() -> None:
    """No warning filter, no signal handler, no state of NumPy's errors or random numbers is touched."""
    program = """
import os, random, signal, threading, warnings
import numpy as np
def state():
    seen = (warnings.filters, signal.getsignal(signal.SIGINT), np.geterr(), random.getstate(), dict(os.environ))
    return repr((*seen, np.random.get_state(), threading.active_count(), np.get_printoptions()))
before = state()
import fastmlp
fastmlp.MLP((1, 2, 1), backend="naive", seed=0).fit([[1.0]], [2.0])
print(state() == before)
"""
    assert processes.run(program) == "True\n"


def test_every_module_can_be_the_first_that_is_imported() -> None:
    """No import works only because another came before it."""
    assert processes.call(import_each_first) == []


def import_each_first() -> list[str]:
    """Import every module with none of ours there, but for kernels, which register once, and the command over them."""
    modules = [
        module.name
        for module in walk_packages([str(Path(fastmlp.__file__).parent)], "fastmlp.")
        if not module.name.startswith(("fastmlp.backends.numba", "fastmlp.cli"))
    ]
    failed = []
    for name in modules:
        for loaded in [other for other in sys.modules if other.partition(".")[0] == "fastmlp"]:
            del sys.modules[loaded]
        try:
            import_module(name)
        except ImportError as error:
            failed.append(f"{name}: {error}")
    return failed
