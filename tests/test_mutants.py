"""One short pass over everything that the reference and the NumPy backend compute, and what only a mutant would show.

The mutation run (`tests/mutation`) begins with this file. The first tests go through a small part of the covers that
other tests go through whole; the others hold down lines that a mutation run found nobody watching.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
import pytest

from fastmlp import MLP, SGD, Adam, AdamW, Optimizer, RMSprop
from fastmlp.activations import (
    ACTIVATIONS,
    HIDDEN_ACTIVATIONS,
    OUTPUT_ACTIVATIONS,
    POSITIVE_OUTPUTS,
    SELU_ALPHA,
    SELU_SCALE,
    Activation,
)
from fastmlp.backends import make_backend
from fastmlp.backends.naive import Layer
from fastmlp.backends.numpy.activations import THROUGH
from fastmlp.backends.numpy.calls import now
from fastmlp.backends.numpy.workspace import _ONE_HOT_TABLE, Scratch, Views, Workspace, WorkspacePool
from fastmlp.losses import LOSSES, Loss
from fastmlp.optimizers import Rule
from fastmlp.spec import NetworkSpec
from tests import bounds, checkers, integers, networks
from tests.networks import Case

MODES = [("numpy", False), ("numpy", True), ("naive", True)]


def judge(cases: Iterable[Case], backend: str, *, strict: bool) -> list[str]:
    """Return what is wrong with these cases on a backend."""
    return [line for case in cases for line in checkers.conformance(case, case.build(backend, strict=strict))]


@pytest.mark.parametrize(("backend", "strict"), MODES)
def test_a_few_networks_meet_the_oracle(backend: str, *, strict: bool) -> None:
    assert not judge(networks.cover()[::16], backend, strict=strict)


@pytest.mark.parametrize("backend", ["numpy", "naive"])
def test_a_few_integers_give_the_exact_result(backend: str) -> None:
    found = [line for case in integers.cover()[::11] for line in checkers.exact(case, case.build(backend))]
    assert not found


def test_the_reference_and_numpy_have_the_same_bits() -> None:
    found = []
    for case in networks.cover()[::24]:
        digests = {name: checkers.strict_digest(case, case.build(name, strict=True)) for name in ("naive", "numpy")}
        found += [f"{line} {case}" for line in checkers.same_bits(digests)]
    assert not found


@pytest.mark.parametrize("strict", [False, True])
def test_more_networks_meet_the_oracle(*, strict: bool) -> None:
    assert not judge(networks.cover()[1::5], "numpy", strict=strict)


# --- lines that nobody watched ---


def test_the_tables_promises() -> None:
    """What users and other modules read in the tables."""
    ulps = {name: row.ulp for name, row in ACTIVATIONS.items()}
    assert ulps == {
        "identity": 0,
        "sigmoid": 3,
        "tanh": 3,
        "relu": 0,
        "leaky_relu": 1,
        "elu": 2,
        "selu": 5,
        "softplus": 3,
        "gelu": 2500,
        "silu": 4,
        "mish": 4,
        "exp": 1,
    }
    assert set(OUTPUT_ACTIVATIONS) - set(HIDDEN_ACTIVATIONS) == {"exp", "softmax"}
    assert set(POSITIVE_OUTPUTS) == {"sigmoid", "softplus", "exp", "softmax"}
    rectifiers = {name for name, row in ACTIVATIONS.items() if row.rectifier}
    assert rectifiers == {"relu", "leaky_relu", "elu", "softplus", "gelu", "silu", "mish"}
    assert {name for name, row in LOSSES.items() if row.averaged} == {"mse", "mae", "huber", "quantile"}
    assert {name: row.domain for name, row in LOSSES.items() if row.domain != "real"} == {
        "cross_entropy": "distribution",
        "binary_cross_entropy": "unit",
        "poisson": "nonnegative",
    }


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"relu", "leaky_relu", "elu", "selu"}))
def test_a_derivative_at_nan_is_nan(name: str) -> None:
    """The rectifiers' derivatives are those of a unit that is off: their NaN comes through the forward pass."""
    assert math.isnan(ACTIVATIONS[name].forward(math.nan))
    assert math.isnan(ACTIVATIONS[name].derivative(math.nan, math.nan))


@pytest.mark.parametrize(
    ("name", "slope"), [("relu", 0.0), ("leaky_relu", 0.01), ("elu", 1.0), ("selu", SELU_SCALE * SELU_ALPHA)]
)
def test_the_slope_at_a_kink_is_the_left_one(name: str, slope: float) -> None:
    assert ACTIVATIONS[name].derivative(0.0, 0.0) == slope


@pytest.mark.parametrize("name", ["gelu", "silu", "mish"])
def test_gates_are_open_or_shut_far_out(name: str) -> None:
    """A cube of the argument would overflow, and infinity times the gate's zero is NaN."""
    row = ACTIVATIONS[name]
    for z in (1e20, 1e200):
        assert (row.forward(z), row.derivative(z, z)) == (z, 1.0)
        assert (row.forward(-z), row.derivative(-z, 0.0)) == (0.0, 0.0)


def test_losses_at_their_edges() -> None:
    """Targets that are met, targets of zero beside an output of zero, and errors of just delta."""
    for name, p in (("mae", 0.0), ("quantile", 0.25)):
        value, slope = LOSSES[name].value, LOSSES[name].slope
        assert (value(1.0, 1.0, 1.0, p), slope(1.0, 1.0, p)) == (0.0, 0.0)
        assert math.isnan(slope(math.nan, 1.0, p))
    assert [LOSSES["quantile"].slope(a, 0.5, 0.25) for a in (-1.5, 1.5)] == [-0.25, 0.75]
    assert [LOSSES["quantile"].value(a, a, 0.5, 0.25) for a in (-1.5, 1.5)] == [0.5, 0.75]
    assert [LOSSES["huber"].slope(a, 0.5, 0.0) for a in (-9.0, -0.5, 0.5, 1.5, 9.0)] == [-1.0, -1.0, 0.0, 1.0, 1.0]
    assert [LOSSES["huber"].value(a, a, 0.5, 0.0) for a in (-1.5, -0.5, 0.5, 1.0, 2.5)] == [1.5, 0.5, 0.0, 0.125, 1.5]
    assert LOSSES["cross_entropy"].link_value(-math.inf, 0.0, 0.0, 0.0) == 0.0
    assert LOSSES["poisson"].value(0.0, 0.0, 0.0, 0.0) == 0.0
    slopes = [LOSSES["poisson"].slope(a, y, 0.0) for a, y in ((0.0, 0.0), (0.0, 2.0), (4.0, 2.0))]
    assert slopes == [1.0, -math.inf, 0.5]


def test_a_loss_of_its_link_alone_has_no_other_value() -> None:
    for name in ("cross_entropy", "binary_cross_entropy"):
        for function in (LOSSES[name].value, LOSSES[name].slope):
            with pytest.raises(TypeError, match="natural link"):
                function(0.0, 0.0)


def test_running_means_of_any_length() -> None:
    """Decay rates below one half tell 1 - rate from the remainder of a division by it."""
    rates = np.array([0.5, 0.5])
    rows, powers = Adam(beta1=0.25, beta2=0.375).coefficients(rates, (1.0, 1.0))
    assert rows[0, 2:].tolist() == [0.25, 0.75, 0.375, 0.625]
    assert rows[0, 0] == 0.5 * math.sqrt(0.625) / 0.75
    assert rows[0, 1] == Adam().eps * math.sqrt(0.625)
    assert powers == (0.25**2, 0.375**2)
    assert RMSprop(rho=0.25, eps=0.5).coefficients(rates, (1.0, 1.0))[0][0].tolist() == [0.5, 0.5, 0.0, 1.0, 0.25, 0.75]


def test_no_step_leaves_the_running_products() -> None:
    for optimizer in (SGD(), Adam(), RMSprop()):
        rows, powers = optimizer.coefficients(np.empty(0), (0.5, 0.25))
        assert (rows.shape, powers) == ((0, 6), (0.5, 0.25))


def test_the_reference_refuses_threads() -> None:
    spec = NetworkSpec((2, 1), ())
    with pytest.raises(ValueError, match="the naive backend computes on one"):
        make_backend("naive", spec, strict=False, threads=2)


def test_a_workspace_keeps_the_views_of_a_few_sizes() -> None:
    workspace = Workspace(NetworkSpec((2, 3, 1), ("tanh",)), 40)
    first, second = workspace.views(5), workspace.views(6)
    assert workspace.views(5) is first
    assert workspace.views(6) is second
    for n_rows in range(1, 41):
        assert workspace.views(n_rows).A[0].shape == (n_rows, 3)
        assert len(workspace._views) <= 8


def test_a_workspace_is_used_again_by_one_call_at_a_time() -> None:
    pool = WorkspacePool(NetworkSpec((2, 3, 1), ("tanh",)))
    with pool.take(4) as first:
        assert first.capacity == 4
        with pool.take(2) as second:
            assert second is not first
    with pool.take(4) as again:
        assert again is first
    with pool.take(9) as larger:
        assert larger.capacity == 9
    with pool.take(8) as kept:
        assert kept is larger


def test_a_unit_that_is_off_has_no_negative_zero() -> None:
    """Else the sign of a sum of nothing would depend on whether it began with 0 or with its first term."""
    Z, delta = np.array([[-1.0, 0.0, -1.0]], np.float32), np.array([[-1.0, -0.0, 1.0]], np.float32)
    scratch = Workspace(NetworkSpec((2, 3, 1), ("relu",)), 1).views(1).scratch[0]
    THROUGH["relu"](now, Z, np.zeros_like(Z), delta, scratch)
    assert not np.signbit(delta).any()
    assert not delta.any()


@dataclasses.dataclass(frozen=True)
class Row(Optimizer):
    """The same coefficients in every step."""

    rule: ClassVar[str] = "momentum"
    row: tuple[float, ...] = ()

    def coefficients(self, rates: np.ndarray, powers: tuple[float, float]) -> tuple[np.ndarray, tuple[float, float]]:
        return np.array([self.row] * rates.size), powers


def test_numpy_takes_any_coefficients_of_a_rule() -> None:
    """Powers of two, so that nothing rounds; some of these rows are one number away from those with a short cut."""
    ends = {}
    for backend in ("naive", "numpy"):
        for velocity, ahead in (
            (1.0, 0.0),
            (1.0, 0.5),
            (1.0, -0.5),
            (4.0, 0.0),
            (2.0, 0.0),
            (0.5, 0.0),
            (0.5, 2.0),
            (0.0, 0.0),
        ):
            net = MLP((1, 1), loss="squared_error", backend=backend, dtype="float64")
            net.parameters.flat[...] = [2.0, 1.0]
            net.fit([[1.0]], [0.0], optimizer=Row(row=(0.5, 0.25, velocity, ahead, 0.0, 0.0)), epochs=3)
            ends.setdefault((velocity, ahead), []).append(net.parameters.flat.tolist())
    assert all(naive == numpy for naive, numpy in ends.values())
    assert len({tuple(naive) for naive, _ in ends.values()}) == len(ends)


@pytest.mark.parametrize("dropout", [1.0, 1.5, -0.5, math.nan, math.inf])
def test_a_share_beyond_its_range_is_refused(dropout: float) -> None:
    with pytest.raises(ValueError, match="dropout is"):
        NetworkSpec((2, 3, 1), ("tanh",), dropout=dropout)
    with pytest.raises(ValueError, match="momentum is"):
        SGD(momentum=dropout)


@pytest.mark.parametrize("strict", [False, True])
def test_every_method_computes_for_itself(*, strict: bool) -> None:
    """Each on a network that has computed nothing yet: a workspace may hold the right answer of a call before."""
    case = Case((3, 4, 2), ("tanh",), "softmax", "cross_entropy", weighted=True)
    _, X, Y, w = case.data

    def fresh() -> MLP:
        net = case.build("numpy", strict=strict)
        net.loss_and_gradient(X[::-1] + 1.0, Y, w)
        return net

    net = case.build("numpy", strict=strict)
    assert np.array_equal(fresh().input_gradient(X, Y, w), net.input_gradient(X, Y, w))
    assert np.array_equal(fresh().predict(X), net.predict(X))
    assert np.array_equal(fresh().hidden_activations(X)[0], net.hidden_activations(X)[0])
    assert fresh().loss(X, Y, w) == net.loss(X, Y, w)
    truth = checkers.truth(case)["input gradient"]
    assert np.max(np.abs(fresh().input_gradient(X, Y, w) - truth)) <= bounds.GRADIENT * np.max(np.abs(truth))


@pytest.mark.parametrize("n_outputs", [_ONE_HOT_TABLE, _ONE_HOT_TABLE + 1])
def test_labels_of_many_classes_train_as_rows_do(n_outputs: int) -> None:
    table = Workspace(NetworkSpec((2, n_outputs), (), "softmax", "cross_entropy"), 1).one_hot
    assert (table is not None) == (n_outputs <= _ONE_HOT_TABLE)  # its memory is the square of the outputs
    ends = []
    labels = np.array([0, n_outputs - 1, 1])
    for Y in (labels, np.eye(n_outputs)[labels]):
        net = MLP((2, n_outputs), "tanh", "softmax", "cross_entropy", backend="numpy", strict=True, seed=0)
        net.fit(np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]), Y, epochs=2, batch_size=2)
        ends.append(net.parameters.flat)
    assert np.array_equal(*ends)


@pytest.mark.parametrize(("backend", "strict"), MODES)
def test_names_are_compared_by_their_letters(backend: str, *, strict: bool) -> None:
    """Names that come out of a file are other strings than those in the tables."""
    activation, output, loss, init, dtype = (
        "".join([*word]) for word in ("tanh", "softmax", "cross_entropy", "uniform", "float64")
    )
    X, labels = [[1.0, -2.0], [0.5, 3.0], [-1.0, 1.0]], [0, 2, 1]
    ends = []
    for names in ((activation, output, loss), ("tanh", "softmax", "cross_entropy")):
        net = MLP((2, 3, 3), *names, backend=backend, strict=strict, seed=0, init=init, dtype=dtype, l2=0.5)
        net.fit(X, labels, epochs=1)
        results = [net.parameters.flat, net.predict(X), net.input_gradient(X, labels), np.array(net.loss(X, labels))]
        ends.append(checkers.digest(results))
    assert ends[0] == ends[1]
    with pytest.raises(ValueError, match="softmax over one output"):
        NetworkSpec((2, 1), (), output, loss)


@pytest.mark.parametrize("strict", [False, True])
def test_rows_beyond_a_block_are_like_the_first(monkeypatch: pytest.MonkeyPatch, *, strict: bool) -> None:
    case = Case((3, 4, 2), ("tanh",), "softmax", "cross_entropy", weighted=True, n_samples=8)
    _, X, Y, w = case.data
    net = case.build("numpy", strict=strict)
    outputs, hidden, loss = net.predict(X), net.hidden_activations(X)[0], net.loss(X, Y, w)
    allowed = bounds.SIGMAS * max(checkers.rounding(case).values())
    for rows in (1, 3, 4, 7, 8):
        monkeypatch.setattr("fastmlp.backends.numpy._BLOCK", rows)
        assert np.max(np.abs(net.predict(X) - outputs)) <= allowed
        assert np.max(np.abs(net.hidden_activations(X)[0] - hidden)) <= allowed
        assert abs(net.loss(X, Y, w) - loss) <= allowed


@pytest.mark.parametrize(
    "kind", [Activation, Loss, Rule, NetworkSpec, Layer, Scratch, Views, SGD, Adam, AdamW, RMSprop]
)
def test_what_is_shared_cannot_be_changed(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(object.__new__(kind), dataclasses.fields(kind)[0].name, None)


def test_the_message_counts_hidden_layers() -> None:
    with pytest.raises(ValueError, match=r"activation has 1 names, but .* has 3 hidden layers"):
        NetworkSpec((2, 3, 4, 5, 1), ("tanh",))


@pytest.mark.parametrize(("backend", "strict"), MODES)
@pytest.mark.parametrize("output", ["softplus", "exp", "sigmoid"])
def test_a_count_of_zero_where_zero_is_expected(output: str, backend: str, *, strict: bool) -> None:
    """Output and target underflow together: no 0/0 and no 0 log 0."""
    net = MLP((1, 1), "tanh", output, "poisson", backend=backend, strict=strict)
    net.parameters.flat[...] = [1.0, 0.0]
    loss, gradient = net.loss_and_gradient([[-1e4]], [0.0])
    assert (loss, gradient.flat.tolist()) == (0.0, [0.0, 0.0])


def test_a_count_of_zero_costs_the_output_alone_whatever_was_computed_before() -> None:
    """The logarithm is taken where there is a count: elsewhere the memory must not hold what a call left behind."""
    net = MLP((1, 1), "tanh", "softplus", "poisson", backend="numpy")
    net.parameters.flat[...] = [np.inf, 0.0]
    assert math.isnan(net.loss([[1.0]], [1.0]))
    net.parameters.flat[...] = [0.0, 1.0]
    assert net.loss([[1.0]], [0.0]) == net.predict([[1.0]])[0, 0]


@pytest.mark.parametrize("weight_decay", [-0.5, math.nan, math.inf])
def test_a_decay_that_is_none_is_refused(weight_decay: float) -> None:
    with pytest.raises(ValueError, match="weight_decay is"):
        AdamW(weight_decay=weight_decay)
    with pytest.raises(ValueError, match="beta1 is"):
        AdamW(beta1=1.5)


def test_relu_makes_no_negative_zero() -> None:
    assert math.copysign(1.0, ACTIVATIONS["relu"].forward(-0.0)) == 1.0


def test_an_initialisers_name_is_compared_by_its_letters() -> None:
    for name in ("auto", "zeros", "uniform"):
        ends = [MLP((2, 1), "tanh", seed=0, init=init).parameters.flat for init in (name, "".join([*name]))]
        assert np.array_equal(*ends)
