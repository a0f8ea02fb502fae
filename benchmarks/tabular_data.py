"""Tables to compare estimators on: all that scikit-learn ships, and five that are made from a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn import datasets

SEED = 0
N_MADE = 2000


class Table(NamedTuple):
    """Samples.

    Attributes
    ----------
    X : ndarray or DataFrame of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    """

    X: Any
    y: Any


def mixed() -> Table:
    """Return flats and whether each is let within a week: numbers, categories, and a tenth of all values missing.

    What is asked for a flat depends on its size, age, quarter and kind; whether it is let, on what is asked beside what
    such a flat should cost, on the month, and, for one in ten, on nothing.
    """
    generator = np.random.default_rng(SEED)
    size, age = generator.lognormal(4.0, 0.5, N_MADE), generator.exponential(30.0, N_MADE)
    quarters, kinds, months = (generator.integers(0, n, N_MADE) for n in (12, 3, 4))
    worth = 8.0 * size ** (0.9 - 0.05 * kinds) * generator.uniform(0.7, 1.4, 12)[quarters] * np.exp(-age / 150.0)
    asked = worth * generator.lognormal(0.0, 0.2, N_MADE)
    is_let = asked / worth < 1.0 + 0.1 * (months - 1.5)
    by_chance = generator.random(N_MADE) < 0.1
    y = np.where(by_chance, generator.random(N_MADE) < 0.5, is_let)
    frame = pd.DataFrame(
        {
            "size": size,
            "age": age,
            "asked": asked,
            "quarter": pd.Categorical.from_codes(quarters, [f"quarter {i}" for i in range(12)]),
            "kind": pd.Categorical.from_codes(kinds, ["old", "new", "loft"]),
            "season": pd.Categorical.from_codes(months, ["spring", "summer", "autumn", "winter"]),
        }
    )
    return Table(frame.mask(generator.random(frame.shape) < 0.1), y)


def _shipped(load: Callable[..., Any]) -> Callable[[], Table]:
    return lambda: Table(*load(return_X_y=True))


CLASSES: dict[str, Callable[[], Table]] = {
    "iris": _shipped(datasets.load_iris),
    "wine": _shipped(datasets.load_wine),
    "breast cancer": _shipped(datasets.load_breast_cancer),
    "digits": _shipped(datasets.load_digits),
    "moons": lambda: Table(*datasets.make_moons(N_MADE, noise=0.3, random_state=SEED)),
    "noisy classes": lambda: Table(
        *datasets.make_classification(
            N_MADE, n_features=20, n_informative=8, n_classes=4, flip_y=0.1, random_state=SEED
        )
    ),
    "mixed": mixed,
}
NUMBERS: dict[str, Callable[[], Table]] = {
    "diabetes": _shipped(datasets.load_diabetes),
    "linnerud": _shipped(datasets.load_linnerud),
    "friedman1": lambda: Table(*datasets.make_friedman1(N_MADE, noise=1.0, random_state=SEED)),
    "friedman3": lambda: Table(*datasets.make_friedman3(N_MADE, noise=0.1, random_state=SEED)),
}
