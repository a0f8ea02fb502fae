"""Numbers at the end of their range: training that diverges says so and steps back, and large logits do no harm."""

from __future__ import annotations

import math
import pickle
from typing import Any

import mpmath
import numpy as np
import pytest

from fastmlp import MLP, SGD, Adam, DivergedError, EpochInfo
from tests import bounds, checkers

# --- divergence ---

LR = 1e6
HUGE = 1e308


def line(backend: str, dtype: str = "float64", **options: Any) -> MLP:
    """y = w x + b, beginning at w = 2, b = 1."""
    net = MLP((1, 1), loss="squared_error", backend=backend, dtype=dtype, seed=0, **options)
    net.parameters.flat[...] = [2.0, 1.0]
    return net


def diverging_steps(xs: list[float], lr: float, largest: float) -> tuple[int, int]:
    """Return in which steps of descent to 0, from w = 2 and b = 1, the loss and the parameters get too large."""
    w, b = 2.0, 1.0
    loss_step = None
    for step in range(10**6):
        x = xs[step % len(xs)]
        error = w * x + b
        if loss_step is None and not 0.5 * error * error <= largest:
            loss_step = step
        w, b = w - lr * error * x, b - lr * error
        if not max(abs(w), abs(b)) <= largest:
            return (step if loss_step is None else loss_step), step
    raise AssertionError("it does not diverge")


def watched(net: MLP, X: Any, Y: Any, **options: Any) -> tuple[DivergedError, list[np.ndarray]]:
    """Fit until it diverges; return the error, and the parameters before the fit and after each epoch."""
    seen = [net.parameters.flat.copy()]

    def look(net: MLP, _: EpochInfo) -> None:
        seen.append(net.parameters.flat.copy())

    with pytest.raises(DivergedError) as caught:
        net.fit(X, Y, shuffle=False, callbacks=[look], **options)
    return caught.value, seen


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_rate_that_is_too_high_is_told_in_the_step_in_which_it_shows(
    dtype: str, backend: str, *, strict: bool
) -> None:
    """Every step multiplies the error by some -lr (x^2 + 1), so which one overflows is plain arithmetic.

    The loss of a network in float32 may be computed in float64, and is then large but finite for a while.
    """
    xs = [1.0, -0.5, 2.0]
    at_loss, at_parameters = diverging_steps(xs, LR, float(np.finfo(dtype).max))
    net = line(backend, dtype, strict=strict)
    error, seen = watched(net, [[x] for x in xs], [0.0] * 3, optimizer=SGD(LR), epochs=100, batch_size=1)
    told = 3 * error.epoch + error.batch
    assert told == at_loss if dtype == "float64" else at_loss <= told <= at_parameters + 1
    assert error.epoch > 0
    np.testing.assert_array_equal(net.parameters.flat, seen[-1])
    assert np.isfinite(seen[-1]).all()
    assert len(net.history.loss) == error.epoch
    assert (net.history.stopped, net.history.state) == ("interrupted", None)


@pytest.mark.parametrize("optimizer", [SGD(LR), SGD(LR, momentum=0.9), Adam(LR)])
def test_huge_inputs_diverge_in_their_batch(optimizer: Any, backend: str) -> None:
    """The first two batches train; what they did is taken back with the rest of the epoch."""
    X = np.full((7, 3), 1e-4)
    X[5] = HUGE
    net = MLP((3, 4, 2), "identity", backend=backend, dtype="float64", init="uniform", seed=0)
    for W in net.weights:
        W[...] = 1.0
    error, seen = watched(net, X, np.zeros((7, 2)), optimizer=optimizer, epochs=5, batch_size=2)
    assert (error.epoch, error.batch) == (0, 2)
    np.testing.assert_array_equal(net.parameters.flat, seen[0])


def test_the_layer_is_the_first_that_overflows(backend: str) -> None:
    """Layer 1 multiplies what is still finite after layer 0."""
    net = MLP((1, 1, 1, 1), "identity", backend=backend, dtype="float64", seed=0)
    for layer, factor in enumerate((1e100, 1e300, 1.0)):
        net.weights[layer][...] = factor
    error, _ = watched(net, [[1.0]], [0.0], optimizer=SGD(1e-3), epochs=1)
    assert (error.epoch, error.batch, error.layer) == (0, 0, 1)


def test_a_loss_that_overflows_alone_has_no_layer(backend: str) -> None:
    """The output, 1e200, is finite and its square is not."""
    net = line(backend)
    error, _ = watched(net, [[1e200]], [0.0], optimizer=SGD(1e-3), epochs=1)
    assert (error.epoch, error.batch, error.layer) == (0, 0, None)
    assert "the loss is no longer finite" in str(error)


def test_a_parameter_that_overflows_in_the_last_step_is_found(backend: str) -> None:
    """The loss before the update is finite, and no step comes after it."""
    net = line(backend)
    error, seen = watched(net, [[1e150]], [0.0], optimizer=SGD(1e100), epochs=1)
    assert (error.epoch, error.batch, error.layer) == (0, 0, 0)
    np.testing.assert_array_equal(net.parameters.flat, seen[0])


def test_a_network_that_has_nan_already_diverges_at_once(backend: str) -> None:
    net = MLP((2, 3, 1), backend=backend, seed=0)
    net.weights[1][0] = math.nan
    error, _ = watched(net, [[1.0, 2.0]], [0.0], epochs=3)
    assert (error.epoch, error.batch, error.layer) == (0, 0, 1)


def test_one_can_go_on_after_a_divergence(backend: str) -> None:
    """From the parameters and the optimizer state of a fresh fit, as if nothing had been."""
    net, fresh = line(backend), line(backend)
    watched(net, [[1.0]], [0.0], optimizer=SGD(HUGE), epochs=1)
    for each in (net, fresh):
        each.fit([[1.0]], [0.0], optimizer=SGD(0.1), epochs=5)
    assert checkers.digest([net.parameters.flat]) == checkers.digest([fresh.parameters.flat])


def test_the_message_says_where_and_what_to_do() -> None:
    error = DivergedError(3, 14, 1)
    assert isinstance(error, ArithmeticError)
    for part in ("epoch 3", "batch 14", "layer 1", "lower the learning rate or scale the data"):
        assert part in str(error)
    twin = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes: workers send it home
    assert (twin.epoch, twin.batch, twin.layer, str(twin)) == (3, 14, 1, str(error))


def test_what_is_not_a_fit_returns_what_it_got(backend: str) -> None:
    """Infinity and NaN come out, without a warning."""
    net = line(backend)
    net.parameters.flat[...] = [HUGE, 0.0]
    assert net.predict([[10.0]])[0, 0] == math.inf
    assert net.loss([[10.0]], [0.0]) == math.inf
    assert not np.isfinite(net.loss_and_gradient([[10.0]], [0.0])[1].flat).all()


# --- large logits ---

PRECISION = 300  # bits
LARGE = [1e4, 800.0, 100.0, 40.0, 20.0, -20.0, -40.0, -100.0, -800.0, -1e4]


def unit(backend: str, dtype: str, output: str, loss: str, n_outputs: int) -> MLP:
    """Logits that are the input: W and b of a network without hidden layer make it so."""
    net = MLP((n_outputs, n_outputs), (), output, loss, backend=backend, dtype=dtype, seed=0)
    net.weights[0][...] = np.eye(n_outputs)
    net.biases[0][...] = 0.0
    return net


def is_close(value: float, truth: Any, size: Any, dtype: str) -> bool:
    """Tell whether a value is true up to a few roundings of terms of a size, or underflows with it."""
    allowed = bounds.gamma(bounds.ROUNDINGS_OF_LOGIT_LOSS, dtype) * size + bounds.SMALLEST_NORMAL[dtype]
    return math.isfinite(value) and bool(abs(mpmath.mpf(float(value)) - truth) <= allowed)


both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@both_dtypes
@pytest.mark.parametrize("z", LARGE)
@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
def test_binary_cross_entropy_of_large_logits(z: float, y: float, dtype: str, backend: str) -> None:
    net = unit(backend, dtype, "sigmoid", "binary_cross_entropy", 1)
    loss, gradient = net.loss_and_gradient([[z]], [y])
    with mpmath.workprec(PRECISION):
        p = 1 / (1 + mpmath.exp(-mpmath.mpf(z)))
        truth = y * mpmath.log1p(mpmath.exp(-z)) + (1 - y) * mpmath.log1p(mpmath.exp(z))
        assert is_close(loss, truth, truth + 1, dtype)
        assert is_close(gradient.biases[0][0], p - y, p + y, dtype)


@both_dtypes
@pytest.mark.parametrize("z", LARGE)
@pytest.mark.parametrize("label", [0, 1, 2])
def test_cross_entropy_of_large_logits(z: float, label: int, dtype: str, backend: str) -> None:
    net = unit(backend, dtype, "softmax", "cross_entropy", 3)
    logits = [z, -z, 0.0]
    loss, gradient = net.loss_and_gradient([logits], [label])
    with mpmath.workprec(PRECISION):
        powers = [mpmath.exp(mpmath.mpf(value)) for value in logits]
        shares = [power / sum(powers) for power in powers]
        truth = mpmath.log(sum(powers)) - logits[label]
        assert is_close(loss, truth, truth + 1, dtype)
        for j, share in enumerate(shares):
            y = 1 if j == label else 0
            assert is_close(gradient.biases[0][j], share - y, share + y, dtype)


@both_dtypes
@pytest.mark.parametrize("z", [100.0, 30.0, 10.0, -10.0, -30.0, -80.0])
def test_a_saturated_sigmoid_has_the_gradient_that_is_left(z: float, dtype: str, backend: str) -> None:
    """On its flat left side s (1 - s) is nearly s, and has all its digits; on the right, those of 1 - s."""
    net = unit(backend, dtype, "sigmoid", "squared_error", 1)
    gradient = net.loss_and_gradient([[z]], [0.5])[1].biases[0][0]
    with mpmath.workprec(PRECISION):
        s = 1 / (1 + mpmath.exp(-mpmath.mpf(z)))
        assert is_close(gradient, (s - 0.5) * s * (1 - s), s, dtype)


@both_dtypes
def test_a_saturated_hidden_layer_stays_finite(dtype: str, backend: str) -> None:
    X = np.array([[1e4], [-1e4], [1e30]])
    for name in ("sigmoid", "tanh", "softplus", "elu", "selu", "gelu", "silu", "mish"):
        net = MLP((1, 4, 1), name, backend=backend, dtype=dtype, seed=0)
        loss, gradient = net.loss_and_gradient(X, [0.0, 1.0, 2.0])
        assert not np.isnan(gradient.flat).any(), name
        assert not math.isnan(loss), name
        assert not np.isnan(net.input_gradient(X, [0.0, 1.0, 2.0])).any(), name
