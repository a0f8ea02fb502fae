"""A single row is answered on a path of its own: with the same answers, refusals and freedom as many are."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fastmlp import MLP
from tests import bounds

GENERATOR = np.random.default_rng(1)
X = GENERATOR.normal(size=(6, 5))


def network(backend: str, **options: str) -> MLP:
    return MLP((5, 7, 4, 3), "tanh", "softmax", "cross_entropy", backend=backend, dtype="float64", seed=0, **options)


def close(answer: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two answers are the same but for the order of sums: probabilities, so their errors are absolute."""
    return bool(np.max(np.abs(answer - other)) <= bounds.gamma(64, "float64"))


def test_one_row_is_answered_as_among_many(backend: str) -> None:
    net = network(backend)
    many = net.predict(X)
    for i in range(len(X)):
        assert close(net.predict(X[i : i + 1]), many[i : i + 1])


def test_what_is_written_to_parameters_counts(backend: str) -> None:
    net = network(backend)
    before = net.predict(X[:1])
    net.biases[-1][...] = [3.0, 0.0, -3.0]
    assert not close(net.predict(X[:1]), before)
    assert close(net.predict(X[:1]), net.predict(X)[:1])
    net.parameters = network(backend, init="lecun").parameters
    assert close(net.predict(X[:1]), net.predict(X)[:1])


def test_each_answer_has_memory_of_its_own(backend: str) -> None:
    net = network(backend)
    first, kept = net.predict(X[:1]), net.predict(X[:1])
    net.predict(X[1:2])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(backend: str, value: float) -> None:
    row = X[:1].copy()
    row[0, 3] = value
    with pytest.raises(ValueError, match=rf"X\[0, 3\] is {value}; expected finite numbers"):
        network(backend).predict(row)


def test_numbers_whose_squares_overflow_are_finite(backend: str) -> None:
    row = np.full((1, 5), 1e200)
    net, out = network(backend), np.full((1, 3), np.nan)
    assert net._backend_for(1).answer(net.parameters, row, out)
    assert close(out, net.predict(np.repeat(row, 6, axis=0))[:1])


def test_many_threads_may_ask_at_once(backend: str) -> None:
    net = network(backend)
    expected = [net.predict(X[i : i + 1]) for i in range(len(X))]
    wrong = []

    def ask(i: int) -> None:
        answers = [net.predict(X[i : i + 1]) for _ in range(200 if backend != "naive" else 5)]
        wrong.extend(i for answer in answers if (answer != expected[i]).any())

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(X))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
