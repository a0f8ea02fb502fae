"""The oracle itself is right: it agrees with the textbook formulas evaluated with 60 digits.

With 60 digits there is no need for a stable form: every activation and loss stands here as one would write it on a
blackboard, sample by sample and unit by unit, and its derivative is a central difference whose step of 1e-20 leaves
an error of 1e-40. Nothing is shared with the oracle but the order of the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

from tests import analytic, bounds, oracle

DIGITS = 60
STEP = mpf(10) ** -20

BLACKBOARD = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "tanh": mp.tanh,
    "relu": lambda z: max(z, 0),
    "leaky_relu": lambda z: z if z > 0 else mpf(0.01) * z,
    "elu": lambda z: z if z > 0 else mp.exp(z) - 1,
    "selu": lambda z: mpf("1.0507009873554804934") * (z if z > 0 else mpf("1.6732632423543772848") * (mp.exp(z) - 1)),
    "softplus": lambda z: mp.log(1 + mp.exp(z)),
    "gelu": lambda z: z / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (z + mpf("0.044715") * z**3))),
    "silu": lambda z: z / (1 + mp.exp(-z)),
    "mish": lambda z: z * mp.tanh(mp.log(1 + mp.exp(z))),
    "exp": mp.exp,
}


def blackboard_output(name: str, z: list) -> list:
    """Output activation of one sample."""
    if name == "softmax":
        total = sum(mp.exp(t) for t in z)
        return [mp.exp(t) / total for t in z]
    return [BLACKBOARD[name](t) for t in z]


def huber(r: mpf) -> mpf:
    """Huber's loss of one residual."""
    return r * r / 2 if abs(r) <= 1 else abs(r) - mpf(1) / 2


def pinball(a: mpf, y: mpf, q: float) -> mpf:
    """Loss of a quantile of one output."""
    return max(q * (y - a), (1 - q) * (a - y))


BLACKBOARD_LOSS = {
    "mse": lambda a, y: sum((s - t) ** 2 for s, t in zip(a, y, strict=True)) / len(a),
    "squared_error": lambda a, y: sum((s - t) ** 2 for s, t in zip(a, y, strict=True)) / 2,
    "mae": lambda a, y: sum(abs(s - t) for s, t in zip(a, y, strict=True)) / len(a),
    "huber": lambda a, y: sum(huber(s - t) for s, t in zip(a, y, strict=True)) / len(a),
    "quantile": lambda a, y: sum(map(pinball, a, y, analytic.levels(len(a)))) / len(a),
    "cross_entropy": lambda a, y: -sum(t * mp.log(s) for s, t in zip(a, y, strict=True)),
    "binary_cross_entropy": lambda a, y: (
        -sum(t * mp.log(s) + (1 - t) * mp.log(1 - s) for s, t in zip(a, y, strict=True))
    ),
    "poisson": lambda a, y: sum(s - t * mp.log(s) for s, t in zip(a, y, strict=True)),
}


def blackboard_loss(network: oracle.Network, flat: list, X: list, Y: list, w: list) -> mpf:
    """Loss of the network, unit by unit."""
    total, squares = mpf(0), mpf(0)
    for row, target, weight in zip(X, Y, w, strict=True):
        a, parameters, squares = list(row), iter(flat), mpf(0)
        for layer, fan_out in enumerate(network.sizes[1:]):
            W = [[next(parameters) for _ in range(fan_out)] for _ in a]
            b = [next(parameters) for _ in range(fan_out)]
            squares += sum(v * v for W_row in W for v in W_row)
            z = [b[j] + sum(a[i] * W[i][j] for i in range(len(a))) for j in range(fan_out)]
            name = (*network.activations, network.output)[layer]
            a = blackboard_output(name, z)
        total += weight * BLACKBOARD_LOSS[network.loss](a, target)
    return total / sum(w) + mpf(network.l2) / 2 * squares


def blackboard_gradient(network: oracle.Network, flat: list, X: list, Y: list, w: list) -> np.ndarray:
    """Central differences with 60 digits."""

    def shifted(k: int, step: mpf) -> mpf:
        return blackboard_loss(network, [*flat[:k], flat[k] + step, *flat[k + 1 :]], X, Y, w)

    return np.array([float((shifted(k, STEP) - shifted(k, -STEP)) / (2 * STEP)) for k in range(len(flat))])


def exactly(values: np.ndarray) -> list:
    """Nested lists of 60-digit numbers with the very values of an array."""
    if values.ndim:
        return [exactly(row) for row in values]
    return mpf(float(values))


@pytest.fixture(autouse=True)
def _sixty_digits() -> Iterator[None]:
    with mpmath.workdps(DIGITS):
        yield


PAIRS = [
    *[("mse", name) for name in analytic.OUTPUTS],
    ("squared_error", "tanh"),
    ("squared_error", "softmax"),
    ("mae", "identity"),
    ("huber", "identity"),
    ("quantile", "identity"),
    ("cross_entropy", "softmax"),
    ("binary_cross_entropy", "sigmoid"),
    *[("poisson", name) for name in ("exp", "softplus", "sigmoid", "softmax")],
]


def draw_targets(loss: str, n: int, n_outputs: int, rng: np.random.Generator) -> np.ndarray:
    """Rows in the domain of the loss."""
    if loss == "cross_entropy":
        return rng.dirichlet(np.ones(n_outputs), n)
    return (
        rng.uniform(0.0, 1.0, (n, n_outputs)) if loss == "binary_cross_entropy" else rng.uniform(0, 4, (n, n_outputs))
    )


def assert_agrees(actual: np.ndarray, expected: np.ndarray) -> None:
    assert np.max(np.abs(actual - expected)) <= bounds.GRADIENT * np.max(np.abs(expected))


@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_oracle_equals_sixty_digits(loss: str, output: str) -> None:
    rng = np.random.default_rng(len(loss) * 100 + len(output))
    hidden = list(analytic.ACTIVATIONS)
    for k, name in enumerate(hidden):
        network = oracle.Network((2, 2, 2, 2), (name, hidden[k - 3]), output, loss, l2=0.125 * (k % 2))
        flat, X = rng.normal(size=network.n_params), rng.normal(size=(3, 2))
        Y, w = draw_targets(loss, 3, 2, rng), rng.uniform(0.5, 2.0, 3)
        arguments = [exactly(v) for v in (flat, X, Y, w)]
        assert_agrees(oracle.gradient(network, flat, X, Y, w), blackboard_gradient(network, *arguments))
        value = float(blackboard_loss(network, *arguments))
        assert_agrees(oracle.loss(network, flat, X, Y, w), np.array(value))


@pytest.mark.parametrize("name", analytic.OUTPUTS)
def test_activations_over_a_wide_range(name: str) -> None:
    """Value and derivative of each activation, also where a plain formula would cancel.

    At +-100 the slope of tanh is 1e-87: further out they meet the floor that `bounds.COMPLEX_STEP` describes.
    """
    points = np.array([-100.0, -40.0, -3.5, -1e-3, -1e-9, 1e-9, 1e-3, 0.7, 3.5, 40.0, 100.0])
    for z in points:
        result = analytic.OUTPUTS[name](np.array([z + 1j * oracle.H, 0.25]))[0]
        with mpmath.workdps(400):  # 1 - tanh(100) needs 87 digits
            high = [blackboard_output(name, [mpf(float(z)) + s, mpf("0.25")])[0] for s in (-STEP, 0, STEP)]
        assert_agrees(np.array(result.real), np.array(float(high[1])))
        assert_agrees(np.array(result.imag / oracle.H), np.array(float((high[2] - high[0]) / (2 * STEP))))


@pytest.mark.parametrize(("loss", "output"), [(link[0], link[1]) for link in analytic.NATURAL_LINKS][:2])
@pytest.mark.parametrize("logit", [-1e4, -50.0, 50.0, 1e4])
def test_natural_links_at_extreme_logits(loss: str, output: str, logit: float) -> None:
    network = oracle.Network((1, 2), (), output, loss)
    flat, X = np.array([logit, 0.5, 0.0, 0.0]), np.array([[1.0]])
    for Y in (np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])):
        arguments = [exactly(v) for v in (flat, X, Y, np.ones(1))]
        with mpmath.workdps(DIGITS + int(abs(logit) / np.log(10.0))):  # 1 - sigmoid(z) needs z log10(e) digits more
            expected = np.array(float(blackboard_loss(network, *arguments)))
            slopes = blackboard_gradient(network, *arguments)
        assert_agrees(oracle.loss(network, flat, X, Y), expected)
        assert_agrees(oracle.gradient(network, flat, X, Y), slopes)


def test_input_gradient_equals_sixty_digits() -> None:
    rng = np.random.default_rng(3)
    network = oracle.Network((3, 4, 2), ("gelu",), "softmax", "cross_entropy")
    flat, X = rng.normal(size=network.n_params), rng.normal(size=(3, 3))
    Y, w = rng.dirichlet(np.ones(2), 3), rng.uniform(0.5, 2.0, 3)
    high = [exactly(v) for v in (flat, X, Y, w)]
    expected = np.empty_like(X)
    for i, j in np.ndindex(X.shape):
        values = []
        for step in (STEP, -STEP):
            moved = [list(row) for row in high[1]]
            moved[i][j] += step
            values.append(blackboard_loss(network, high[0], moved, *high[2:]))
        expected[i, j] = float((values[0] - values[1]) / (2 * STEP))
    assert_agrees(oracle.input_gradient(network, flat, X, Y, w), expected)


def test_masks_act_like_scaled_outgoing_weights() -> None:
    """One mask for all rows is the same as scaling the rows of the next weight matrix."""
    rng = np.random.default_rng(4)
    network = oracle.Network((3, 4, 2), ("tanh",), "identity", "mse")
    flat, X, Y = rng.normal(size=network.n_params), rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    mask = np.array([0.0, 2.0, 2.0, 0.0])
    scaled = flat.copy()
    W1 = next(view for layer, (view, _) in enumerate(oracle.layers(network.sizes, scaled)) if layer == 1)
    W1 *= mask[:, None]
    masked = oracle.loss(network, flat, X, Y, masks=[np.tile(mask, (5, 1))])
    assert_agrees(masked, oracle.loss(network, scaled, X, Y))
    slopes = oracle.gradient(network, flat, X, Y, masks=[np.tile(mask, (5, 1))])
    (W0_slopes, _), (W1_slopes, _) = oracle.layers(network.sizes, slopes)
    assert not W0_slopes[:, mask == 0.0].any()
    assert not W1_slopes[mask == 0.0].any()
    assert W0_slopes[:, mask > 0.0].all()


def test_class_indices_are_one_hot_rows() -> None:
    rng = np.random.default_rng(5)
    network = oracle.Network((3, 4), (), "softmax", "cross_entropy")
    flat, X, labels = rng.normal(size=network.n_params), rng.normal(size=(6, 3)), rng.integers(0, 4, 6)
    by_index = oracle.gradient(network, flat, X, labels)
    assert np.array_equal(by_index, oracle.gradient(network, flat, X, np.eye(4)[labels]))
