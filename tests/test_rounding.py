"""The noise model that the library derives its bounds from: large enough for rounding, and no larger than it must be.

It is held against real float32 arithmetic, against the tests' own noise model, and, where a derivative jumps, against
the networks on either side of the jump.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import fastmlp
from fastmlp.activations import OUTPUT_ACTIVATIONS
from fastmlp.data import make_batch
from fastmlp.gradcheck import rounding
from fastmlp.gradcheck.passes import Passes
from fastmlp.losses import LOSSES
from fastmlp.parameters import Parameters
from tests import bounds, networks, oracle, statistic, textbook


def noise_of(case: networks.Case, dtype: str | None = None) -> rounding.GradientNoise:
    net, data = case.build("numpy"), case.data
    return rounding.batch_noise(net.spec, net.parameters, make_batch(net.spec, data.X, data.Y, data.w), dtype)


# --- the size of the noise ---------------------------------------------------------------------------------------


def test_the_constants_are_those_of_the_contract() -> None:
    assert (rounding.RERUNS, rounding.SIGMAS) == (bounds.RERUNS, bounds.SIGMAS)


def test_without_noise_the_reruns_are_the_gradient() -> None:
    for case in networks.cover(1)[::4]:
        found = statistic.tensors(case.sizes, noise_of(case).gradient.flat)
        for name, truth in statistic.tensors(case.sizes, oracle.gradient(case.network, *case.data)).items():
            assert np.max(np.abs(found[name] - truth)) <= bounds.GRADIENT * np.max(np.abs(truth)), (name, case)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigma_is_of_the_size_that_an_independent_model_finds(dtype: str) -> None:
    """Both are estimates from six reruns, of models that differ in detail: the bound, 16, leaves room for that."""
    for case in networks.cover()[::4]:
        theirs = statistic.sigmas(case.network, case.data, dtype)
        noise = noise_of(case, dtype)
        ours = dict(zip(statistic.tensors(case.sizes, case.data.flat), noise.sigma, strict=True))
        for name, sigma in {**ours, "loss": noise.loss_sigma}.items():
            assert theirs[name] / bounds.SIGMAS <= sigma <= theirs[name] * bounds.SIGMAS, (name, case)


def test_the_arithmetic_of_float32_stays_within_the_bound() -> None:
    for case in networks.cover(1)[::2]:
        if case.dtype == "float32":
            found = textbook.Textbook(case.network, case.data.flat, "float32").loss_and_gradient(*case.data[1:])
            noise = noise_of(case)
            differences = np.abs(found[1].flat - oracle.gradient(case.network, *case.data))
            assert np.all(differences <= noise.bound), case
            assert abs(found[0] - noise.loss) <= bounds.SIGMAS * noise.loss_sigma, case


@pytest.mark.parametrize("target", [-50.0, 50.0])
@pytest.mark.parametrize("loss", ["squared_error", "mae"])
def test_running_sums_over_many_samples_stay_within_the_bound(loss: str, target: float) -> None:
    """Sums of float32 that are all of one sign, row after row: their error grows with the number of rows.

    With mae the addends of the bias are all the same, and every step rounds the same way.
    """
    generator = np.random.default_rng(0)
    net = fastmlp.MLP((3, 2), dtype="float32", loss=loss, seed=0, backend="numpy")
    X = generator.uniform(1.0, 2.0, (20_000, 3)).astype("float32")
    Y = np.full((20_000, 2), target, "float32")
    noise = rounding.gradient_noise(net, X, Y)
    error = net.predict(X) - Y
    delta = (np.sign(error) / np.float32(2.0) if loss == "mae" else error) / np.float32(len(X))
    found = Parameters(net.spec.layer_sizes, np.empty(net.spec.n_params, "float32"))
    found.weights[0][...] = np.add.accumulate(X[:, :, None] * delta[:, None, :], axis=0)[-1]
    found.biases[0][...] = np.add.accumulate(delta, axis=0)[-1]
    differences = np.abs(found.flat - noise.gradient.flat)
    assert np.all(differences <= noise.bound)
    # Noise of the size of one rounding alone would not do.
    terms = np.concatenate([np.abs(X.T).astype(float) @ np.abs(delta), np.abs(delta).sum(axis=0)[None]]).ravel()
    assert np.any(differences > bounds.SIGMAS * bounds.UNIT_ROUNDOFF["float32"] * terms)


def test_it_is_deterministic() -> None:
    case = networks.cover()[7]
    first, second = noise_of(case), noise_of(case)
    assert first.sigma == second.sigma
    assert first.loss_sigma == second.loss_sigma


def test_noise_scales_with_the_dtype() -> None:
    case = networks.Case((3, 4, 2), ("tanh",), "identity", "mse", n_samples=4)
    coarse, fine = noise_of(case, "float32"), noise_of(case, "float64")
    ratio = bounds.UNIT_ROUNDOFF["float32"] / bounds.UNIT_ROUNDOFF["float64"]
    assert all(
        s / bounds.SIGMAS <= t * ratio <= s * bounds.SIGMAS for s, t in zip(coarse.sigma, fine.sigma, strict=True)
    )


# --- where nothing rounds ----------------------------------------------------------------------------------------


def test_tensors_in_which_nothing_rounds_have_no_noise() -> None:
    """With inputs of 0 the first dW is exactly 0, whatever the deltas are; behind dead units so is everything."""
    net = fastmlp.MLP((3, 4, 4, 2), "relu", dtype="float32", seed=0, backend="numpy")
    net.biases[1][...] = -1e3
    noise = rounding.gradient_noise(net, np.zeros((5, 3)), np.ones((5, 2)))
    assert noise.sigma[:5] == (0.0,) * 5
    assert noise.sigma[5] > 0.0
    assert not noise.bound[: -net.spec.n_outputs].any()


def test_what_underflows_may_be_lost() -> None:
    """A gradient below the smallest normal number of float32 may come out as anything down to 0."""
    net = fastmlp.MLP((1, 1), output_activation="sigmoid", loss="squared_error", dtype="float32", seed=0)
    net.parameters.flat[...] = [0.0, -95.0]
    noise = rounding.gradient_noise(net, [[1.0]], [[1.0]])
    assert 0.0 < np.max(np.abs(noise.gradient.flat)) < bounds.SMALLEST_NORMAL["float32"]
    assert np.all(np.abs(noise.gradient.flat) <= noise.bound)


def test_what_overflows_has_no_bound_and_warns_of_nothing() -> None:
    net = fastmlp.MLP((1, 1), output_activation="exp", loss="mse", dtype="float64", seed=0)
    net.parameters.flat[...] = [0.0, 1e3]
    assert not np.isfinite(rounding.gradient_noise(net, [[1.0]], [[1.0]]).bound).any()


# --- where a derivative jumps ------------------------------------------------------------------------------------


def jump_sizes(output: str, loss: str) -> list[float]:
    """Return the jumps of an output activation and of a loss."""
    net = fastmlp.MLP((1, 2), output_activation=output, loss=loss, seed=0, backend="numpy")
    return Passes(net.spec, net.parameters, make_batch(net.spec, [[1.0]], [[0.5, 0.5]]), "float64").jump_sizes


def test_the_jumps_are_known() -> None:
    assert {name for name in OUTPUT_ACTIVATIONS if jump_sizes(name, "squared_error")[0]} == set(networks.KINKED)
    assert {loss for loss in LOSSES if jump_sizes(LOSSES[loss].outputs[0], loss)[1]} == {"mae", "quantile"}
    assert jump_sizes("relu", "mae") == [1.0, 2.0]


def on_the_verge(activation: str, output: str, loss: str) -> fastmlp.MLP:
    """Two layers of units whose input is 0 but for rounding: 0.1 * 3 - 0.3, and what the first leave behind."""
    net = fastmlp.MLP((1, 2, 2, 3), activation, output, loss, dtype="float64", seed=3, backend="numpy")
    net.weights[0][...] = [[0.1, 0.7]]
    net.biases[0][...] = [-0.1 * 3, 0.25]
    net.weights[1][0] = [0.5, -0.75]
    net.biases[1][...] = -(net.hidden_activations([[3.0]])[0][0, 1] * net.weights[1][1])
    net.biases[1][1] += 1.0
    return net


@pytest.mark.parametrize("activation", networks.KINKED)
@pytest.mark.parametrize(
    ("output", "loss"),
    [("identity", "squared_error"), ("sigmoid", "mae"), ("softmax", "mse"), ("softmax", "cross_entropy")],
)
def test_either_side_of_a_jump_is_within_the_bound(activation: str, output: str, loss: str) -> None:
    net = on_the_verge(activation, output, loss)
    X, Y = np.array([[3.0], [1.0]]), np.array([[0.0, 1.0, 0.0], [0.5, 0.25, 0.25]])
    noise = rounding.gradient_noise(net, X, Y)
    assert noise.n_undecided == 1
    assert "1 of 2 samples" in noise.undecided_note
    kept = [b.copy() for b in net.biases]
    gradients = []
    for first, second in product((-1.0, 1.0), repeat=2):
        nudge = bounds.SIGMAS * bounds.UNIT_ROUNDOFF["float64"]
        net.biases[0][0] = kept[0][0] + first * nudge
        net.biases[1][0] = kept[1][0] + second * nudge
        gradients.append(net.loss_and_gradient(X, Y)[1].flat)
    apart = np.max([np.abs(one - other) for one, other in product(gradients, repeat=2)], axis=0)
    assert np.all(apart <= noise.bound)
    smooth = bounds.SIGMAS * np.repeat(noise.sigma, [tensor.size for tensor in rounding.tensors(noise.gradient)])
    assert np.any(apart > smooth)  # so it is the jumps that allow for it
    untouched = noise.jumps == 0.0
    assert untouched[-3:].all()  # the output's bias does not depend on the side
    assert not untouched.all()


def test_either_sign_of_an_error_of_mae_is_within_the_bound() -> None:
    net = fastmlp.MLP((1, 1), loss="mae", dtype="float64", seed=0, backend="numpy")
    net.parameters.flat[...] = [0.1, 0.0]
    X, Y = [[3.0], [1.0]], [[0.3], [5.0]]  # 0.1 * 3 is 0.3 but for rounding
    noise = rounding.gradient_noise(net, X, Y)
    assert noise.n_undecided == 1
    found = net.loss_and_gradient(X, Y)[1].flat
    net.biases[0][...] = -bounds.SIGMAS * bounds.UNIT_ROUNDOFF["float64"]
    other = net.loss_and_gradient(X, Y)[1].flat
    assert np.any(found != other)
    assert np.all(np.abs(found - other) <= noise.bound)


def test_an_exact_zero_is_decided() -> None:
    """Without bias and input, Z is 0 in any arithmetic."""
    net = fastmlp.MLP((2, 3, 1), "relu", seed=0, backend="numpy")
    assert rounding.gradient_noise(net, [[0.0, 0.0], [1.0, 2.0]], [[1.0], [0.0]]).n_undecided == 0


def test_it_takes_a_spec_with_parameters_too() -> None:
    net = fastmlp.MLP((2, 3, 1), "tanh", seed=0, backend="numpy")
    X, Y = [[0.0, 1.0]], [[1.0]]
    pair = rounding.gradient_noise((net.spec, net.parameters), X, Y)
    assert pair.sigma == rounding.gradient_noise(net, X, Y).sigma
