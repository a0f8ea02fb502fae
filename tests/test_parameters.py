"""Parameters: one vector and its views, and the values that a network begins with."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

from fastmlp import MLP, NetworkSpec, Parameters
from fastmlp.activations import HIDDEN_ACTIVATIONS
from fastmlp.parameters import initialise
from tests import bounds

SIZES = (3, 4, 2)
N_PARAMS = (3 * 4 + 4) + (4 * 2 + 2)


def counting() -> Parameters:
    return Parameters(SIZES, np.arange(N_PARAMS, dtype=np.float64))


# --- the vector and its views ---


def test_views_lie_one_after_the_other() -> None:
    """W of the first layer in C order, its b, W of the second layer, its b."""
    parameters = counting()
    assert [W.tolist() for W in parameters.weights] == [
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]],
        [[16, 17], [18, 19], [20, 21], [22, 23]],
    ]
    assert [b.tolist() for b in parameters.biases] == [[12, 13, 14, 15], [24, 25]]


def test_an_input_scale_lies_behind_the_layers() -> None:
    flat = np.arange(N_PARAMS + 3, dtype=np.float64)
    parameters = Parameters(SIZES, flat)
    assert parameters.input_scale is not None
    assert parameters.input_scale.tolist() == [26, 27, 28]
    parameters.input_scale[1] = -1.0
    assert flat[27] == -1.0
    assert [b.tolist() for b in parameters.biases] == [b.tolist() for b in counting().biases]
    assert counting().input_scale is None


def test_writing_to_a_view_writes_to_the_vector() -> None:
    parameters = counting()
    parameters.weights[1][2, 1] = -1.0
    parameters.biases[0][...] = -2.0
    assert parameters.flat[21] == -1.0
    assert parameters.flat[12:16].tolist() == [-2.0] * 4


def test_writing_to_the_vector_shows_in_the_views() -> None:
    parameters = counting()
    parameters.flat[...] = 7.0
    assert all((view == 7.0).all() for view in (*parameters.weights, *parameters.biases))


def test_the_vector_is_held_not_copied() -> None:
    flat = np.zeros(N_PARAMS)
    assert Parameters(SIZES, flat).flat is flat


def test_empty_is_zero_in_the_networks_dtype() -> None:
    for dtype in ("float32", "float64"):
        parameters = Parameters.empty(NetworkSpec(SIZES, ("relu",), dtype=dtype))
        assert parameters.flat.dtype == dtype
        assert parameters.flat.tolist() == [0.0] * N_PARAMS


def twins() -> dict[str, Parameters]:
    original = counting()
    return {
        "copy": original.copy(),
        "deepcopy": copy.deepcopy(original),
        "pickle": pickle.loads(pickle.dumps(original)),  # noqa: S301  our own bytes
    }


@pytest.mark.parametrize("way", twins())
def test_a_copy_has_memory_of_its_own_and_views_of_it(way: str) -> None:
    original, twin = counting(), twins()[way]
    assert twin.layer_sizes == SIZES
    np.testing.assert_array_equal(twin.flat, original.flat)
    twin.weights[0][...] = -1.0
    assert twin.flat[0] == -1.0
    assert original.flat[0] == 0.0


def test_deep_copies_do_not_write_through() -> None:
    original = counting()
    copy.deepcopy(original).flat[...] = -1.0
    original.copy().biases[0][...] = -1.0
    np.testing.assert_array_equal(original.flat, np.arange(N_PARAMS))


def test_repr_tells_sizes_and_dtype() -> None:
    assert repr(counting()) == "Parameters(3-4-2, 26 values, float64)"


# --- the values that a network begins with ---

WIDE = (60, 90, 70, 80)
"""Weights enough that their mean square shows which variance they were drawn with."""


def start(init: str, activation: str = "tanh", seed: int = 0, **options: Any) -> Parameters:
    spec = NetworkSpec(WIDE, (activation,) * 2, dtype="float64", **options)
    return initialise(spec, init, np.random.default_rng(seed))


VARIANCES = {
    "he": lambda fan_in, _: 2.0 / fan_in,
    "glorot": lambda fan_in, fan_out: 2.0 / (fan_in + fan_out),
    "lecun": lambda fan_in, _: 1.0 / fan_in,
    "uniform": lambda _, __: 1.0 / 3.0,
}


def is_drawn_with(W: np.ndarray, variance: float) -> bool:
    """Tell whether W looks like uniform draws from (-L, L) with this variance, L**2 / 3.

    Their mean has the standard deviation sqrt(variance / n). A square has the mean L**2 / 3 and the variance
    L**4 / 5 - L**4 / 9, 4/5 of the mean's square: so the mean of n of them deviates by variance * sqrt(0.8 / n).
    """
    limit = math.sqrt(3.0 * variance)
    return (
        np.max(np.abs(W)) <= limit
        and abs(np.mean(W)) <= bounds.DEVIATIONS * math.sqrt(variance / W.size)
        and abs(np.mean(W * W) - variance) <= bounds.DEVIATIONS * variance * math.sqrt(0.8 / W.size)
    )


@pytest.mark.parametrize("init", VARIANCES)
def test_weights_are_uniform_with_the_variance_of_the_scheme(init: str) -> None:
    for W in start(init).weights:
        assert is_drawn_with(W, VARIANCES[init](*W.shape))


@pytest.mark.parametrize("init", VARIANCES)
def test_the_schemes_can_be_told_apart(init: str) -> None:
    """The statistic refuses each other scheme, so it would see a wrong one."""
    W = start(init).weights[0]
    others = {VARIANCES[name](*W.shape) for name in VARIANCES if name != init}
    assert not any(is_drawn_with(W, variance) for variance in others)


@pytest.mark.parametrize("init", ["auto", "he", "glorot", "lecun"])
def test_biases_begin_at_zero(init: str) -> None:
    assert all((b == 0.0).all() for b in start(init).biases)


def test_uniform_draws_the_biases_too() -> None:
    biases = np.concatenate(start("uniform").biases)
    assert is_drawn_with(biases, VARIANCES["uniform"](0, 0))


RECTIFIERS = ("relu", "leaky_relu", "elu", "softplus", "gelu", "silu", "mish")
"""Near a constant on one side and near z on the other, which halves the variance: He's scheme makes up for it."""


@pytest.mark.parametrize("activation", HIDDEN_ACTIVATIONS)
def test_auto_is_he_for_rectifiers_and_glorot_for_others(activation: str) -> None:
    """Layer by layer: the last one, with an identity output, is Glorot's."""
    scheme = "he" if activation in RECTIFIERS else "glorot"
    auto = start("auto", activation)
    for layer, expected in enumerate((scheme, scheme, "glorot")):
        np.testing.assert_array_equal(auto.weights[layer], start(expected, activation).weights[layer])


def test_zeros_are_zero_and_warn_that_hidden_units_stay_identical() -> None:
    with pytest.warns(
        UserWarning, match='init="zeros" trains, but the units .* stay identical; use init="auto"'
    ) as seen:
        net = MLP(SIZES, init="zeros")
    assert not net.parameters.flat.any()
    assert [warning.filename for warning in seen] == [__file__]  # it points at the caller


def test_zeros_do_not_warn_without_a_hidden_layer() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not MLP((3, 2), init="zeros").parameters.flat.any()


@pytest.mark.parametrize("init", ["Glorot", "xavier", ""])
def test_unknown_schemes_are_refused(init: str) -> None:
    with pytest.raises(ValueError, match=f"init is '{init}'; expected one of auto, he, glorot, lecun, uniform, zeros"):
        MLP(SIZES, init=init)


def test_a_scheme_is_a_name() -> None:
    with pytest.raises(TypeError, match="init is 1; expected a name"):
        MLP(SIZES, init=1)  # type: ignore[arg-type]


# --- seeds ---


def test_a_seed_gives_the_same_start_on_every_backend(backend: str) -> None:
    np.testing.assert_array_equal(
        MLP(SIZES, seed=7, backend=backend).parameters.flat, MLP(SIZES, seed=7).parameters.flat
    )


def test_other_seeds_give_other_starts() -> None:
    starts = {MLP(SIZES, seed=seed).parameters.flat.tobytes() for seed in range(5)}
    assert len(starts) == 5


def test_no_seed_is_another_start_each_time() -> None:
    assert MLP(SIZES).parameters.flat.tobytes() != MLP(SIZES).parameters.flat.tobytes()


def test_a_seed_may_be_whatever_numpy_takes() -> None:
    generator = np.random.default_rng(7)
    net = MLP(SIZES, seed=generator)
    assert net.generator is generator
    np.testing.assert_array_equal(net.parameters.flat, MLP(SIZES, seed=7).parameters.flat)
    np.testing.assert_array_equal(
        MLP(SIZES, seed=np.random.SeedSequence(7)).parameters.flat, MLP(SIZES, seed=7).parameters.flat
    )


def test_float32_begins_with_the_rounded_values_of_float64() -> None:
    one, other = (MLP(SIZES, seed=7, dtype=dtype).parameters.flat for dtype in ("float32", "float64"))
    np.testing.assert_array_equal(one, other.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_begin_at_a_line_of_the_cache(dtype: str) -> None:
    """Of a copy, too: reading W a register at a time, each would else be on two lines."""
    for n in range(1, 40):
        parameters = MLP((n, 1), dtype=dtype).parameters
        assert all(each.flat.ctypes.data % 64 == 0 for each in (parameters, parameters.copy()))
        assert parameters.copy() is not parameters
        assert (parameters.copy().flat == parameters.flat).all()
