"""Compiled kernels are kept between processes; whatever is wrong with that costs one warning, never the result.

Each case runs in processes of its own, with a folder of its own. Compiling the library's kernels takes long, so two
small ones stand for them, but where it is about the real ones; those come from the cache of this process.
Root may write where it likes: what cannot be written is a file in the place of a folder, a name that is too long, or
a file system that a hook has made read-only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from fastmlp import MLP
from fastmlp.backends.numba import entry, store, warming
from tests import bounds, processes, small_kernels

COMPILED = {"right": True, "loaded": 0, "compiled": 4, "warnings": []}
LOADED = {"right": True, "loaded": 4, "compiled": 0, "warnings": []}


def use_kernels_in(folder: Path | str) -> dict[str, Any]:
    return processes.call(small_kernels.use_all, FASTMLP_CACHE_DIR=str(folder))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder with entries of both kernels; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("cache") / "filled"
    assert use_kernels_in(folder) == COMPILED
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return Path(shutil.copytree(filled, tmp_path / "cache"))


def inner(folder: Path) -> Path:
    """Return the one folder of kernels in a cache folder."""
    (kernels_of_this_version,) = folder.iterdir()
    return kernels_of_this_version


# --- what it is for ---


def test_a_second_process_loads_and_does_not_compile(folder: Path) -> None:
    assert use_kernels_in(folder) == LOADED


@pytest.mark.parametrize("strict", [True, False])
def test_the_librarys_kernels_are_loaded_in_a_second_process(tmp_path: Path, strict: bool) -> None:
    assert compute_with_the_library(strict)["right"]
    shutil.copytree(store.cache_folder(), tmp_path / store.cache_folder().name)
    answer = processes.call(compute_with_the_library, strict, FASTMLP_CACHE_DIR=str(tmp_path))
    assert answer == {"right": True, "loaded": 2 if strict else 3, "compiled": 0}  # leaves are apart


def compute_with_the_library(strict: bool) -> dict[str, Any]:
    """Predict and fit; return whether it is right, and how much was loaded and compiled."""
    X, Y = np.eye(8)[:, :3], np.ones((8, 2))
    net = MLP((3, 4, 2), backend="numba", strict=strict, seed=0)
    difference = np.abs(net.predict(X) - net.with_backend("naive").predict(X)).max()
    net.fit(X, Y, epochs=1)
    done = list(store.journal.values())
    return {
        "right": bool(difference <= bounds.gamma(8, "float32")),
        "loaded": done.count(False),
        "compiled": done.count(True),
    }


def test_the_folder_is_for_its_owner_alone(filled: Path) -> None:
    assert inner(filled).stat().st_mode & 0o777 == 0o700


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if sys.platform in {"win32", "darwin"}:
        pytest.skip("other systems have other places")
    monkeypatch.delenv("FASTMLP_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable, place in (("", tmp_path / ".cache" / "fastmlp"), ("/somewhere", Path("/somewhere/fastmlp"))):
        monkeypatch.setenv("XDG_CACHE_HOME", variable)
        assert store.cache_folder.__wrapped__().parent == place
    monkeypatch.setenv("FASTMLP_CACHE_DIR", "/elsewhere")
    assert store.cache_folder.__wrapped__().parent == Path("/elsewhere")


def test_others_can_compile_after_kernels_were_loaded() -> None:
    """Loading leaves out what Numba does before it compiles: then it does it when it has to."""
    assert processes.call(load_and_compile) == [6.0, True]
    assert processes.call(load_and_compile) == [6.0, True]


def load_and_compile() -> list[Any]:
    """Fit, then compile something that needs Numba's own functions, and fit again."""
    net = MLP((3, 4, 2), backend="numba", seed=0)
    net.fit(np.eye(3), np.ones((3, 2)), epochs=1)
    total = numba.njit(lambda x: np.sort(np.concatenate((x, x))).sum())(np.arange(3.0))
    difference = np.abs(net.predict(np.eye(3)) - net.with_backend("naive").predict(np.eye(3))).max()
    return [total, bool(difference <= bounds.gamma(8, "float32"))]


@pytest.mark.parametrize("strict", [True, False])
def test_after_a_warm_up_nothing_is_compiled_or_loaded_any_more(strict: bool) -> None:
    assert processes.call(use_all_after_a_warm_up, strict) == {"before": True, "more": []}


def use_all_after_a_warm_up(strict: bool) -> dict[str, Any]:
    """Warm up, and return whether all is ready, and what entries all that a network can be asked for needed then."""
    warmth = warming.warm_up("float32", strict=strict)
    known = set(store.journal)
    X = np.eye(8, 3, dtype="float32")
    for loss, Y in (("mse", np.ones((8, 2))), ("cross_entropy", np.arange(8) % 2)):
        output = "softmax" if loss == "cross_entropy" else "identity"
        net = MLP((3, 4, 2), "tanh", output, loss, backend="numba", strict=strict, seed=0, dropout=0.5, l2=0.1)
        for weights in (None, np.ones(8)):
            net.fit(X, Y, epochs=1, sample_weight=weights, validation_data=(X, Y), optimizer="sgd")
            net.loss(X, Y, weights)
            net.loss_and_gradient(X, Y, weights)
            net.input_gradient(X, Y, weights)
        for rows in (X, X[:1], X.tolist()):
            net.predict(rows)
            net.hidden_activations(rows)
        net.learn_one(X[0], Y[0])
        X.flags.writeable = False
        net.predict(X[:1])
    return {"before": not warmth.missing, "more": sorted(set(store.journal) - known)}


# --- which sources an entry depends on ---

SHARED = ("elementary.py", "activations.py", "losses.py", "optimizers.py", "dropout.py")


def test_editing_any_source_of_the_kernels_is_another_folder(tmp_path: Path) -> None:
    """Kernels in one file call functions of others: an entry is as old as the oldest of them."""
    package = shutil.copytree(processes.ROOT / "fastmlp", tmp_path / "fastmlp")
    shutil.copytree(processes.ROOT / "tests", tmp_path / "tests")
    own = [str(path.relative_to(package)) for path in (package / "backends" / "numba").rglob("*.py")]
    assert len(own) > 12
    names = processes.call(names_after_edits, [*SHARED, *own, "network.py"], root=tmp_path)
    assert len(set(names[:-1])) == len(names) - 1
    assert names[-1] == names[-2]  # the last edit was of a file that ends up in no kernel


def test_another_processor_is_another_folder() -> None:
    """In a home that several machines share; NUMBA_CPU_NAME stands for another one. And so is other machine code."""
    environments: list[dict[str, str]] = [{}, {}, {"NUMBA_CPU_NAME": "generic"}, {"NUMBA_BOUNDSCHECK": "1"}]
    names = [processes.call(name_of_folder, **environment) for environment in environments]
    assert names[0] == names[1]
    assert len(set(names)) == 3


def name_of_folder() -> str:
    """Return the folder's name."""
    return store.cache_folder().name


def names_after_edits(files: list[str]) -> list[str]:
    """Append a comment to one file after the other; return the folder's name before and after each."""
    names = [store.cache_folder().name]
    for file in files:
        with (processes.ROOT / "fastmlp" / file).open("a", encoding="utf-8") as stream:
            stream.write("\n# edited\n")
        store.cache_folder.cache_clear()
        names.append(store.cache_folder().name)
    return names


# --- no place to write to ---


def assert_compiled_with_one_warning(answer: dict[str, Any], *parts: str) -> None:
    (warning,) = answer.pop("warnings")
    assert answer == {"right": True, "loaded": 0, "compiled": 4}
    assert warning.startswith("RuntimeWarning: kernels are compiled anew in every process: ")
    assert all(part in warning for part in parts), warning


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("not a folder", encoding="utf-8")
    remedy = "set FASTMLP_CACHE_DIR to a folder that is yours alone"
    assert_compiled_with_one_warning(use_kernels_in(occupied), str(occupied), "cannot be used", remedy)
    assert occupied.read_text(encoding="utf-8") == "not a folder"


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    assert_compiled_with_one_warning(use_kernels_in(tmp_path / ("x" * 300)), "cannot be used")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write to any folder")
def test_a_folder_without_permission_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert_compiled_with_one_warning(use_kernels_in(tmp_path / "cache"), "cannot be used")


def test_a_file_system_that_is_read_only(folder: Path) -> None:
    """The folder is there and is ours, but empty; each file that cannot be opened has another name."""
    for path in inner(folder).iterdir():
        path.unlink()
    answer = processes.call(small_kernels.use_all_on_a_read_only_system, str(folder), FASTMLP_CACHE_DIR=str(folder))
    assert_compiled_with_one_warning(answer, "cannot be used")


def test_a_user_without_a_home() -> None:
    """As in a container that runs under a number without an account."""
    variables = ("HOME", "XDG_CACHE_HOME", "FASTMLP_CACHE_DIR")
    program = f"""
import json, os
os.getuid = lambda: 2**31 - 7
for variable in {variables}:
    os.environ.pop(variable, None)
from tests.small_kernels import use_all
print(json.dumps(use_all()))
"""
    assert_compiled_with_one_warning(json.loads(processes.run(program)))


# --- a folder that others could have written to ---


def test_nothing_is_loaded_from_a_folder_that_belongs_to_somebody_else(folder: Path) -> None:
    answer = processes.call(small_kernels.use_all_as_another_user, FASTMLP_CACHE_DIR=str(folder))
    assert_compiled_with_one_warning(answer, "belongs to another user or is writable for others")


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_nothing_is_loaded_from_a_folder_that_others_may_write_to(mode: int, folder: Path) -> None:
    inner(folder).chmod(mode)
    before = {path.name: path.read_bytes() for path in inner(folder).iterdir()}
    assert_compiled_with_one_warning(use_kernels_in(folder), "belongs to another user or is writable for others")
    assert {path.name: path.read_bytes() for path in inner(folder).iterdir()} == before


# --- damaged entries ---


def test_a_damaged_entry_is_compiled_again_with_one_warning(folder: Path) -> None:
    answers = processes.call(small_kernels.use_damaged, FASTMLP_CACHE_DIR=str(folder))
    for answer in answers:
        (warning,) = answer.pop("warnings")
        assert warning.startswith("RuntimeWarning: a damaged entry of the kernel cache is compiled again"), answer
        assert answer.pop("again") == {"right": True, "loaded": 1, "compiled": 0, "warnings": []}, answer
        assert answer == {"damage": answer["damage"], "right": True, "loaded": 0, "compiled": 1}
    assert {answer["damage"] for answer in answers} == {"truncated", "garbled", "flipped"}


def entries_of(function: Any, folder: Path) -> list[Path]:
    """Return the entries in which a function's name stands."""
    name = function.__name__.encode()
    return [path for path in inner(folder).iterdir() if name in path.read_bytes()]


def test_an_entry_of_another_dtype_is_not_taken(folder: Path) -> None:
    """Whole, with a good checksum, but under the name of another."""
    first, second = entries_of(small_kernels.halve, folder)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    answer = use_kernels_in(folder)
    (warning,) = answer.pop("warnings")
    assert warning.startswith("RuntimeWarning: a damaged entry of the kernel cache is compiled again")
    assert answer == {"right": True, "loaded": 2, "compiled": 2}
    assert use_kernels_in(folder) == LOADED


def test_an_entry_that_is_gone_is_compiled_again(folder: Path) -> None:
    for path in entries_of(small_kernels.halve, folder):
        path.unlink()
    assert use_kernels_in(folder) == {"right": True, "loaded": 2, "compiled": 2, "warnings": []}


def test_a_folder_that_vanishes_is_made_again(folder: Path) -> None:
    shutil.rmtree(folder)
    assert use_kernels_in(folder) == COMPILED
    assert inner(folder).is_dir()


# --- processes ---


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_forked_while_a_thread_loads_kernels_can_load_them_too() -> None:
    assert processes.call(fork_while_the_lock_is_held) == 0


def fork_while_the_lock_is_held() -> int:
    """Return how a forked process ends that needs kernels, or -1 if it does not."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with entry._lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        MLP((3, 4, 2), backend="numba", seed=0).predict(np.eye(3))
        os._exit(0)
    ended, status, deadline = 0, -1, time.monotonic() + 60.0
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    over.set()
    thread.join()
    if not ended:
        os.kill(child, signal.SIGKILL)
        return -1
    return status


@pytest.mark.parametrize("missing", ["before", "between"])
def test_kernels_that_come_and_go_meanwhile_cost_nothing_but_time(folder: Path, missing: str) -> None:
    """Other processes write and remove files at any time: each is looked at once."""
    answer = processes.call(use_while_files_come_and_go, missing, FASTMLP_CACHE_DIR=str(folder))
    assert answer == {"right": True, "loaded": 0, "compiled": 1, "warnings": []}


def use_while_files_come_and_go(missing: str) -> dict[str, Any]:
    """Use a kernel whose file is gone before it is looked for, or when it is to be read."""
    own = next(path for path in store.cache_folder().iterdir() if path.name.endswith("halve-float64.kernel"))
    if missing == "before":
        own.unlink()
    else:
        genuine = store.check_owner

        def check(folder: Path) -> None:
            genuine(folder)
            own.unlink(missing_ok=True)

        store.check_owner = check
    return small_kernels.use((small_kernels.halve, "float64"))
