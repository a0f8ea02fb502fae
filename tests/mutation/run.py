"""Run the tests against mutants of the package, and list the mutants that survive.

Cosmic Ray makes the mutants. They are not run by it, with a process and an import of everything for each: this
process imports NumPy, Numba and the tests' oracle once, draws the networks that the tests use, and forks. A child
puts the mutant in the place of its module, imports the package anew, and runs the tests until one fails.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import random
import re
import resource
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

import pytest
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from tests.mutation.operators import OURS

ROOT = Path(__file__).parents[2]
KEPT = ("tests.mutation", "tests.analytic", "tests.bounds", "tests.checkers", "tests.integers", "tests.networks")
KEPT += ("tests.oracle", "tests.pairwise", "tests.primitives", "tests.statistic", "tests.textbook")
"""Modules of the tests that hold nothing of the package but its name: what they have drawn serves every mutant."""
MEMORY = 8 << 30  # bytes of address space; a mutant that asks for more gets MemoryError


@dataclass(frozen=True)
class Mutant:
    """A module's source with one change.

    Attributes
    ----------
    path : str
    operator : str
    before, after : str
        The source as it is, and changed.
    """

    path: str
    operator: str
    before: str
    after: str

    def describe(self) -> str:
        """Return the place of the change and what it changes."""
        old, new = self.before.splitlines(), self.after.splitlines()
        start = next((i for i, (x, y) in enumerate(zip(old, new, strict=False)) if x != y), 0)
        end = next((i for i, (x, y) in enumerate(zip(old[::-1], new[::-1], strict=False)) if x != y), 0)
        lines = [" ".join(line.strip() for line in part[start : len(part) - end]) for part in (old, new)]
        return f"{self.path}:{start + 1} [{self.operator}] {lines[0]} → {lines[1]}"


# ---- making mutants


class _Bare(ast.NodeTransformer):
    """Takes away what is not executed: annotations, docstrings, and which parameters are for keywords only."""

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        self.generic_visit(node)
        node.args = node.posonlyargs + node.args + node.kwonlyargs
        node.defaults += [default for default in node.kw_defaults if default]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = ast.Constant(None)
        self.generic_visit(node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        return ast.Expr(ast.Constant(None)) if isinstance(node.value, ast.Constant) else node


def _meaning(source: str) -> str:
    """Return what two sources that do the same have in common."""
    return ast.dump(_Bare().visit(ast.parse(source)))


def _operators(exclude: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name in plugins.operator_names():
        kind = plugins.get_operator(name)
        if not kind.arguments() and not any(re.search(f"{pattern}$", name) for pattern in exclude):
            yield name.removeprefix("core/"), kind()
    for kind in OURS:
        yield kind.__name__, kind()


Place = tuple[str, str, Any, int]
"""A module's path, an operator's name, the operator, and the number of the place in the module that it changes."""


def places(paths: Sequence[str], exclude: Sequence[str]) -> list[Place]:
    """Return every change that could be made to the modules."""
    operators, found = list(_operators(exclude)), []
    for path in paths:
        nodes = list(ast_nodes(get_ast((ROOT / path).read_text())))
        for name, operator in operators:
            n = sum(1 for node in nodes for _ in operator.mutation_positions(node))
            found += [(path, name, operator, occurrence) for occurrence in range(n)]
    return found


def make_mutants(chosen: Sequence[Place]) -> Iterator[Mutant]:
    """Yield the mutants of these places, without those that do what the module does, and none twice."""
    sources = {path: (ROOT / path).read_text() for path in {place[0] for place in chosen}}
    seen = {(path, _meaning(source)) for path, source in sources.items()}
    for path, name, operator, occurrence in chosen:
        after = mutate_code(sources[path], operator, occurrence)
        try:
            key = (path, _meaning(after))
        except SyntaxError:
            continue
        if key not in seen:
            seen.add(key)
            yield Mutant(path, name, sources[path], after)


# ---- running one


class _Loader(SourceFileLoader):
    """Loads a mutant as if it stood in the file."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> Any:
        return compile(self._source, self.get_filename(fullname), "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    """Finds the mutant where its module is asked for."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = mutant.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self._mutant = mutant

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if fullname != self._name:
            return None
        file = str(ROOT / self._mutant.path)
        loader = _Loader(fullname, file, self._mutant.after)
        return importlib.util.spec_from_file_location(fullname, file, loader=loader)


def _forget_package() -> None:
    """Forget the package and all test modules but those that are kept; these get the new package when it is there."""
    for name in list(sys.modules):
        top = name.partition(".")[0]
        if top == "fastmlp" or (name.startswith("tests.") and not name.startswith(KEPT)):
            del sys.modules[name]


def _rebind_package() -> None:
    package = importlib.import_module("fastmlp")
    for name in KEPT:
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "fastmlp"):
            module.fastmlp = package  # type: ignore[attr-defined]


def run_tests(stages: Sequence[Sequence[str]], deselect: str, *, quiet: bool) -> int:
    """Run the stages until one fails, and return its exit code, or 0."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-o", "addopts=", "-k", deselect]
    options += ["--tb=line", "--no-header"] if quiet else ["--durations=12"]
    for stage in stages:
        if code := int(pytest.main([*options, *stage])):
            return code
    return 0


def _child(mutant: Mutant, stages: Sequence[Sequence[str]], config: dict[str, Any], log: Path) -> None:
    """Become the process that judges one mutant; its exit code is 0 if all tests pass."""
    signal.setitimer(signal.ITIMER_PROF, config["timeout"])
    signal.alarm(10 * config["timeout"])  # for one that waits
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    code = 1
    try:
        sys.meta_path.insert(0, _Finder(mutant))
        _forget_package()
        _rebind_package()
        code = run_tests(stages, config["deselect"], quiet=True)
    except BaseException as error:  # noqa: BLE001  a mutant may fail in any way: the import of the package, too
        os.write(1, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)


# ---- running all


Outcome = tuple[Mutant, bool]
"""A mutant, and whether it was killed."""


def judge(mutants: Iterable[Mutant], config: dict[str, Any], jobs: int, seconds: float, logs: Path) -> list[Outcome]:
    """Judge mutants in forked processes, and return those that were judged in time."""
    running: dict[int, Mutant] = {}
    outcomes: list[Outcome] = []
    end = time.monotonic() + seconds
    for index, mutant in enumerate(mutants):
        if time.monotonic() > end:
            break
        if not (child := os.fork()):
            _child(mutant, stages_of(mutant.path, config), config, logs / f"{index}.log")
        running[child] = mutant
        if len(running) >= jobs:
            outcomes.append(_collect(running))
    while running:
        outcomes.append(_collect(running))
    return outcomes


def stages_of(path: str, config: dict[str, Any]) -> list[list[str]]:
    """Return the stages of tests for a module's mutants."""
    first = config["first"].get(path)
    return [first, *config["stages"]] if first else config["stages"]


def _collect(running: dict[int, Mutant]) -> Outcome:
    child, status = os.wait()
    mutant = running.pop(child)
    if not status or os.WIFSIGNALED(status):
        sys.stdout.write(f"{'ENDED BY A SIGNAL' if status else 'SURVIVED'} {mutant.describe()}\n")
    return mutant, status != 0


def report(outcomes: Sequence[Outcome]) -> str:
    """Return a table: module, mutants judged, killed, share."""
    judged = Counter(mutant.path for mutant, _ in outcomes)
    killed = Counter(mutant.path for mutant, is_killed in outcomes if is_killed)
    rows = [(path, judged[path], killed[path]) for path in sorted(judged)]
    rows.append(("all", judged.total(), killed.total()))
    lines = ["| module | mutants | killed | share |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {path} | {n} | {k} | {100 * k / max(n, 1):.1f} % |" for path, n, k in rows])


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.run", description=__doc__)
    parser.add_argument("--module", action="append", help="only this module, such as fastmlp/losses.py")
    parser.add_argument("--sample", type=int, default=0, help="judge this many mutants, drawn evenly (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--only", default="", help="only mutants whose change matches this regular expression")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--minutes", type=float, default=600.0, help="judge no more mutants after that")
    parser.add_argument("--logs", type=Path, default=ROOT / ".mutation", help="where the output of every run goes")
    return parser.parse_args()


def main() -> int:
    """Make the mutants, judge them, and print the survivors and the table."""
    arguments = parse_arguments()
    os.chdir(ROOT)
    sys.stdout.reconfigure(line_buffering=True)  # what is left in a buffer, every child would write again
    sys.path.insert(0, str(ROOT))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the tests chosen use none, and every child would load them
    config = tomllib.loads((Path(__file__).parent / "mutation.toml").read_text())
    modules = arguments.module or config["modules"]
    chosen = places(modules, config["exclude"])
    random.Random(arguments.seed).shuffle(chosen)  # noqa: S311  reproducible
    sys.stdout.write(f"{len(chosen)} changes could be made\n")
    mutants = make_mutants(chosen[: arguments.sample or len(chosen)])
    wanted = (mutant for mutant in mutants if re.search(arguments.only, mutant.describe()))
    needed = {name: None for path in modules for stage in stages_of(path, config) for name in stage}
    if run_tests([list(needed)], config["deselect"], quiet=False):
        sys.stdout.write("The tests fail without a mutant.\n")
        return 1
    arguments.logs.mkdir(exist_ok=True)
    outcomes = judge(wanted, config, arguments.jobs, 60.0 * arguments.minutes, arguments.logs)
    sys.stdout.write(f"{report(outcomes)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
