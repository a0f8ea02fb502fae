"""One entry for everything: README, CONTRIBUTING and .ci/run have the same commands; the core needs two packages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads(read("pyproject.toml"))


def commands(document: str) -> list[str]:
    """Return the lines of a document's console blocks."""
    return [line for block in re.findall(r"```console\n(.*?)```", document, re.DOTALL) for line in block.splitlines()]


def test_the_readmes_commands_are_one_line_each_and_what_ci_runs() -> None:
    found = commands(read("README.md"))
    assert len(found) == 2
    for command in found:
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -q ")
        assert command in read(".ci/run").splitlines()


def test_what_contributing_names_is_what_ci_runs() -> None:
    document, script = read("CONTRIBUTING.md"), read(".ci/run").splitlines()
    assert set(commands(document)) <= set(script)
    for tool in ("ruff check", "ruff format --check", "mypy"):
        assert f".venv/bin/{tool}" in script
        assert f"`.venv/bin/{tool}`" in document


def test_the_core_needs_numpy_and_numba_alone(settings: dict[str, Any]) -> None:
    names = [re.split("[<>=!~ ]", requirement)[0] for requirement in settings["project"]["dependencies"]]
    assert names == ["numba", "numpy"]


def test_every_ignored_rule_has_its_reason(settings: dict[str, Any]) -> None:
    lint = settings["tool"]["ruff"]["lint"]
    assert lint["select"] == ["ALL"]
    rules = [*lint["ignore"], *(rule for rules in lint["per-file-ignores"].values() for rule in rules)]
    explained = re.findall(r'^  "([A-Z]+[0-9]*)", +# \S.*$', read("pyproject.toml"), re.MULTILINE)
    assert sorted(rules) == sorted(explained)
