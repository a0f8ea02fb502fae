"""Memory next to a page that may not be touched: what reads or writes past an array's end, or before it, crashes.

For POSIX. What is here runs in a process of its own (`tests.processes`), for it may not survive.
"""

from __future__ import annotations

import ctypes
import faulthandler
import itertools
import mmap
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastmlp.backends.base import Batch, Dropout, Run
from fastmlp.backends.numba import calls, entry, fast
from fastmlp.backends.numba.fast import FastBackend, layout, program, room
from fastmlp.backends.numba.simd import library
from fastmlp.backends.numba.simd.leaf import LEAVES, Code, Leaf
from fastmlp.optimizers import N_COEFFICIENTS, RULES
from fastmlp.parameters import Parameters
from fastmlp.spec import NetworkSpec
from tests import checkers
from tests.compressed import Compressed

Place = Callable[[np.ndarray], np.ndarray]

PAGE = mmap.PAGESIZE
_NO_ACCESS = 0  # PROT_NONE of mprotect(2)
_REGIONS: list[mmap.mmap] = []  # never given back: addresses would be used again


def _region(n_bytes: int, *, protected_after: bool) -> tuple[mmap.mmap, int]:
    """Return memory, and where in it so many bytes begin that end at a protected page, or begin after one."""
    pages = -(-n_bytes // PAGE)
    region = mmap.mmap(-1, (pages + 1) * PAGE)
    _REGIONS.append(region)
    start = ctypes.addressof(ctypes.c_char.from_buffer(region))
    protected = start + pages * PAGE if protected_after else start
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(protected), ctypes.c_size_t(PAGE), _NO_ACCESS):
        raise OSError(ctypes.get_errno(), "mprotect")
    return region, pages * PAGE - n_bytes if protected_after else PAGE


def _placed(array: np.ndarray, *, protected_after: bool) -> np.ndarray:
    array = np.asarray(array)
    region, start = _region(array.nbytes, protected_after=protected_after)
    copy = np.frombuffer(region, array.dtype, array.size, start).reshape(array.shape)
    copy[...] = array
    return copy


def before_a_protected_page(array: np.ndarray) -> np.ndarray:
    """Return a copy whose last byte is the last that may be read."""
    return _placed(array, protected_after=True)


def after_a_protected_page(array: np.ndarray) -> np.ndarray:
    """Return a copy whose first byte is the first that may be read."""
    return _placed(array, protected_after=False)


PLACES: dict[str, Place] = {"anywhere": np.array, "before": before_a_protected_page, "after": after_a_protected_page}


class PlacedNumpy:
    """NumPy for a module, whose new arrays are placed."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __getattr__(self, name: str) -> Any:
        thing = getattr(np, name)
        if name not in {"empty", "empty_like", "zeros", "full", "arange", "array", "concatenate", "ascontiguousarray"}:
            return thing
        return lambda *given, **named: self._place(thing(*given, **named))


def use_place(place: Place) -> None:
    """Place every array that the fast backend makes, its working memory at its exact size."""
    numpy = np if place is np.array else PlacedNumpy(place)
    for module in (calls, fast, layout, program, room):
        module.np = numpy  # type: ignore[attr-defined]
    for name in ("_NO_LABELS", "_NO_NUMBERS", "_NO_COEFFICIENTS"):
        setattr(calls, name, place(getattr(calls, name)))
    layout.Layout.memory = lambda self: layout.Memory(*map(place, _MEMORY(self)))  # type: ignore[method-assign]


_MEMORY = layout.Layout.memory
_LAYOUT = dict(vars(layout))

# ---- what is computed there

SPECS: tuple[tuple[tuple[int, ...], str, str, str, bool], ...] = (
    ((13, 37, 5), "tanh", "softmax", "cross_entropy", True),
    ((1, 1), "identity", "identity", "mse", False),
    ((3, 17, 2), "relu", "sigmoid", "binary_cross_entropy", False),
    ((17, 1, 33), "gelu", "softmax", "mae", True),
    ((8, 16, 64, 3), "elu", "exp", "poisson", True),
    ((71, 5, 2), "relu", "identity", "mse", False),  # inputs that are long, and so read where they are
    ((53, 34, 2), "relu", "identity", "mse", False),
    ((9, 2, 1), "tanh", "identity", "mse", False),  # and others of which a layer fits in a register
    ((3, 2, 2), "gelu", "softmax", "cross_entropy", False),
)
PACKINGS = {"where it pays": (), "everywhere": (("_PANELS_WORTH_PACKING", 1), ("_BYTES_WORTH_PACKING", 0))}
N = 19


def results(spec: NetworkSpec, place: Place) -> str:
    """Return a hash of all that a backend computes from placed data and parameters."""
    generator, backend = np.random.default_rng(1), FastBackend(spec, threads=1)

    def parameters() -> Parameters:
        return Parameters(spec.layer_sizes, place(generator.normal(0.0, 0.125, spec.n_params).astype(spec.dtype)))

    X = place(generator.normal(size=(N, spec.n_inputs)).astype(spec.dtype))
    Y = place(generator.uniform(0.0, 1.0, (N, spec.n_outputs)).astype(spec.dtype))
    if spec.loss == "cross_entropy":
        Y = place(generator.integers(0, spec.n_outputs, N))
    weights, own = place(generator.uniform(0.5, 1.0, N)), parameters()
    few = [place(np.full((n, spec.n_outputs), np.nan, spec.dtype)) for n in range(1, 5)]
    assert all(backend.answer(own, place(X[: len(out)]), out) for out in few)
    found = [*few, backend.predict(own, X), *backend.hidden_activations(own, X)]
    for w in (None, weights):
        batch = Batch(X, Y, w, float(N), spec.l2)
        gradient = parameters()
        losses = [backend.loss(own, batch), backend.loss_and_gradient(own, batch, gradient)]
        found += [np.array(losses), gradient.flat.copy(), backend.input_gradient(own, batch)]
        backend.loss_and_gradient(own, batch, gradient, Dropout(3, 4))
        found.append(gradient.flat.copy())
    for rule, row in RULES.items():
        flat = [np.zeros(spec.n_params if i < row.n_states else 0, spec.dtype) for i in range(2)]
        states = [place(backend.pack_state(state)) for state in flat]
        for own_spec, sizes in ((spec, (7, 7, N - 14)), (replace(spec, l2=0.0, dropout=0.0), (1,) * N)):
            trainer = backend if own_spec is spec else FastBackend(own_spec, threads=1)
            run = run_of(own_spec, rule, (parameters(), *map(place, states)), (X, Y, weights), place, sizes)
            assert trainer.train(run, 0, len(sizes)) == len(sizes)
            found += [run.parameters.flat, *map(backend.unpack_state, run.states), run.losses]
    if not spec.input_scale:
        found += of_compressed(backend, own, Batch(X * (X > 0), Y, weights, float(N), spec.l2), place)
    assert all(np.isfinite(array).all() for array in found)
    return checkers.digest(found)


def of_compressed(backend: FastBackend, own: Parameters, batch: Batch, place: Place) -> list[np.ndarray]:
    """Return what a backend computes from samples whose zeros are left out."""
    batch, gradient = batch._replace(X=Compressed(batch.X, place)), own.copy()  # type: ignore[arg-type]
    losses = [backend.loss(own, batch), backend.loss_and_gradient(own, batch, gradient)]
    return [np.array(losses), gradient.flat, backend.input_gradient(own, batch), backend.predict(own, batch.X)]


def run_of(
    spec: NetworkSpec, rule: str, trained: tuple[Any, Any, Any], data: Any, place: Place, sizes: tuple[int, ...]
) -> Run:
    """Return steps of so many samples each."""
    stops, n = np.cumsum(sizes), len(sizes)
    starts = stops - sizes
    numbers = {
        "order": np.arange(N)[::-1].copy(),
        "starts": starts,
        "stops": stops,
        "totals": (stops - starts).astype(float),
        "coefficients": np.full((n, N_COEFFICIENTS), 2.0**-6),
        "decay": np.full((n, 1), 0.01 if spec.l2 else 0.0),
        "l2": np.full(n, spec.l2),
        "losses": np.zeros(n),
        "penalties": np.zeros(n),
    }
    placed: dict[str, Any] = {name: place(array) for name, array in numbers.items()}
    X, Y, w = data
    own = {"parameters": trained[0], "states": trained[1:], "rule": rule}
    return Run(**own, X=X, Y=Y, weights=w, **placed, seed=11, first_step=2)


def compute(dtypes: list[str], places: list[str]) -> dict[str, list[str]]:
    """Return the hashes of all networks' results, by where their memory is; what reads too far does not return."""
    faulthandler.enable(sys.stderr)
    specs = [
        NetworkSpec(sizes, (activation,) * (len(sizes) - 2), output, loss, dtype, 0.125, 0.25, (), input_scale)
        for sizes, activation, output, loss, input_scale in SPECS
        for dtype in dtypes
    ]
    found: dict[str, list[str]] = {name: [] for name in places}
    for name, packing in itertools.product(places, PACKINGS.values()):
        use_place(PLACES[name])
        for constant, value in packing:
            setattr(layout, constant, value)
        found[name] += [results(spec, PLACES[name]) for spec in specs]
        for constant, _ in packing:
            setattr(layout, constant, _LAYOUT[constant])
    return found


# ---- planted bugs


def compute_with_a_bug(bug: str) -> str:
    """Plant a bug, and compute in float32: it should not return."""
    _BUGS[bug]()
    entry.leaves_for = library.compiled  # not from the cache, nor into it
    compute(["float32"], ["before", "after"])
    return "it survived"


def _replace(name: str, change: Callable[[Leaf, Code, Any], Any]) -> None:
    genuine = LEAVES[name]
    LEAVES[name] = Leaf(name, genuine.arguments, genuine.returns, lambda code, *given: change(genuine, code, given))


def _copy_one_more(genuine: Leaf, code: Code, given: Any) -> None:
    """Read one number further."""
    x, out, n = given
    code.builder.store(code.scalar(x, n), out)
    genuine.body(code, x, out, n)


def _copy_one_before(genuine: Leaf, code: Code, given: Any) -> None:
    x, out, n = given
    code.builder.store(code.scalar(x, -1), out)
    genuine.body(code, x, out, n)


def _write_one_more(genuine: Leaf, code: Code, given: Any) -> None:
    x, out, n = given
    code.builder.store(code.scalar(x), code.at(out, n))
    genuine.body(code, x, out, n)


def _gather_one_more(genuine: Leaf, code: Code, given: Any) -> None:
    """Read one number further than the last of the rows that are gathered ends."""
    x, order, size, out, out_row, rows = given
    genuine.body(code, x, order, code.add(size, 1), out, out_row, rows)


def _copy_longer_rows(genuine: Leaf, code: Code, given: Any) -> None:
    x, x_row, out, out_row, rows, n = given
    genuine.body(code, x, x_row, out, out_row, rows, code.add(n, 1))


def _whole_registers(genuine: Leaf, code: Code, given: Any) -> Any:
    """Read the last register of a row without a mask."""
    with_a_mask = Code.load_some
    Code.load_some = lambda self, pointer, offset, there: self.load(pointer, offset)  # type: ignore[method-assign]  # noqa: ARG005
    try:
        return genuine.body(code, *given)
    finally:
        Code.load_some = with_a_mask  # type: ignore[method-assign]


def _too_little_memory() -> None:
    """Make the layout's memory one line of the cache shorter than what is in it."""
    genuine = layout.Layout.__init__

    def shortened(self: layout.Layout, *given: Any, **named: Any) -> None:
        genuine(self, *given, **named)
        self._size -= self._unit

    layout.Layout.__init__ = shortened  # type: ignore[method-assign]


_BUGS: dict[str, Callable[[], None]] = {
    "copy reads one more": lambda: _replace("copy", _copy_one_more),
    "copy reads one before": lambda: _replace("copy", _copy_one_before),
    "copy writes one more": lambda: _replace("copy", _write_one_more),
    "rows that are gathered are one longer": lambda: _replace("gather_rows", _gather_one_more),
    "rows that are copied are one longer": lambda: _replace("copy_rows", _copy_longer_rows),
    "a row of weights is read in whole registers": lambda: _replace("row_product", _whole_registers),
    "targets are read in whole registers": lambda: _replace("row_gradient", _whole_registers),
    "too little memory": _too_little_memory,
}
BUGS = tuple(_BUGS)
