"""The public names: what `__all__` says is what there is, and every one is documented as it is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import fastmlp
from fastmlp import schedules

NAMES = {
    *("MLP", "NetworkSpec", "Parameters", "Predictor", "DivergedError", "available_backends"),
    *("SGD", "Adam", "AdamW", "RMSprop", "PerLayer", "Optimizer", "schedules"),
    *("EarlyStopping", "EpochInfo", "History", "TrainingState"),
    *("check_gradients", "compare_backends"),
    *("MLPClassifier", "MLPRegressor", "TabularMLPClassifier", "TabularMLPRegressor"),
}


def test_the_names_are_those_promised() -> None:
    assert set(fastmlp.__all__) == NAMES
    assert set(schedules.__all__) >= {"Constant", "Step", "Cosine", "CosLog", "OneCycle", "InverseScaling", "Warmup"}


@pytest.mark.parametrize("module", [fastmlp, schedules])
def test_all_is_what_there_is(module: ModuleType) -> None:
    """Nothing is missing, and nothing that is defined for the public is left out."""
    assert len(module.__all__) == len(set(module.__all__))
    assert all(hasattr(module, name) for name in module.__all__)
    public = {name for name, thing in vars(module).items() if not name.startswith("_") and belongs(thing, module)}
    assert public <= set(module.__all__)


def belongs(thing: object, module: ModuleType) -> bool:
    """Tell whether a module offers something of ours, rather than uses it."""
    if module is fastmlp:
        return inspect.isclass(thing) or inspect.isfunction(thing)
    return getattr(thing, "__module__", None) == module.__name__


def test_all_is_sorted_for_the_reader() -> None:
    """Constants, classes, functions: as linters sort it."""

    def rank(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert fastmlp.__all__ == sorted(fastmlp.__all__, key=rank)


def test_there_is_a_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", fastmlp.__version__)


# --- documentation ---


def documented() -> Iterator[tuple[str, Any]]:
    """Yield every public class and function, and the public methods and properties of the classes."""
    things = {name: getattr(fastmlp, name) for name in fastmlp.__all__}
    things |= {f"schedules.{name}": getattr(schedules, name) for name in schedules.__all__}
    for name, thing in things.items():
        if inspect.ismodule(thing):
            continue
        yield name, thing
        if inspect.isclass(thing):
            for attribute, method in vars(thing).items():
                function = getattr(method, "__func__", method)  # of a class method
                if not attribute.startswith("_") and (inspect.isfunction(function) or isinstance(method, property)):
                    yield f"{name}.{attribute}", function


DOCUMENTED = dict(documented())
SECTION = r"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-{{3,}}\n|\Z)"


def section(docstring: str, title: str) -> str:
    """Return the body of a numpydoc section, or nothing."""
    found = re.search(SECTION.format(title=title), docstring, re.DOTALL | re.MULTILINE)
    return found.group(1) if found else ""


def names_in(docstring: str) -> list[str]:
    """Return the parameters that a docstring describes: of a data class, its attributes may stand for them."""
    body = section(docstring, "Parameters") or section(docstring, "Attributes")
    heads = re.findall(r"^(\w[\w, ]*?)(?: : .*)?$", body, re.MULTILINE)
    return [name for head in heads for name in head.split(", ")]


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """Return the names that a caller may give."""
    names = [name for name in inspect.signature(function).parameters if name not in {"self", "cls"}]
    return [] if names == ["args", "kwargs"] else names


@pytest.mark.parametrize("name", DOCUMENTED)
def test_everything_public_has_a_docstring_in_a_sentence(name: str) -> None:
    docstring = inspect.getdoc(DOCUMENTED[name]) or ""
    first = docstring.partition("\n\n")[0]
    assert first, f"{name} has no docstring"
    assert "\n" not in first
    assert first[0].isupper() or first[0] in "\"'`"
    assert first.endswith((".", "!", "``.")), first


@pytest.mark.parametrize("name", DOCUMENTED)
def test_parameters_are_described_as_they_are(name: str) -> None:
    """Where there is a section of parameters it names each, and no other; a class or function always has one."""
    thing = DOCUMENTED[name]
    if isinstance(thing, property):
        return
    described, actual = names_in(inspect.getdoc(thing) or ""), parameters_of(thing)
    if described or (actual and "." not in name.removeprefix("schedules.") and not is_protocol(thing)):
        assert sorted(described) == sorted(actual)


def is_protocol(thing: Any) -> bool:
    return getattr(thing, "_is_protocol", False)


@pytest.mark.parametrize("name", [name for name, thing in DOCUMENTED.items() if not isinstance(thing, property)])
def test_everything_public_is_typed(name: str) -> None:
    thing = DOCUMENTED[name]
    function = thing.__init__ if inspect.isclass(thing) else thing
    if is_protocol(thing) or not inspect.isfunction(function):
        return
    signature = inspect.signature(function)
    untyped = [
        p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in {"self", "cls"}
    ]
    assert not untyped
    assert signature.return_annotation is not signature.empty


# --- the checks can fail ---


def wrong(first: int, second: int) -> None:
    """Do something.

    Parameters
    ----------
    first : int
    third, fourth : int, optional
        Not there.

    Returns
    -------
    None
    """


def test_a_wrong_docstring_is_seen() -> None:
    assert names_in(inspect.getdoc(wrong) or "") == ["first", "third", "fourth"]
    assert parameters_of(wrong) == ["first", "second"]
