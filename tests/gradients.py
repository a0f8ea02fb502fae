"""Gradients to show to `check_gradients`: of the generated networks, right ones and wrong ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastmlp.gradcheck import GradientReport, check_gradients
from tests.networks import Case
from tests.textbook import Textbook

# The weight that is 0 is not the last one's, or leaving that sample out would be right.
WIDE = Case(
    (9, 11, 10, 5),
    ("tanh", "sigmoid"),
    "sigmoid",
    "squared_error",
    l2=0.125,
    weighted=True,
    n_samples=7,
    seed=1,
)
SCALED = replace(WIDE, input_scale=True)
PIECES = Case((9, 11, 10, 5), ("relu", "elu"), "identity", "mse", n_samples=7)


def check(case: Case, gradient: object = None, **options: Any) -> GradientReport:
    """Check a gradient of a case, by default the NumPy backend's."""
    data = case.data
    return check_gradients(case.build("numpy"), data.X, data.Y, sample_weight=data.w, gradient=gradient, **options)


def wrong_gradient(bug: type[Textbook], case: Case) -> np.ndarray:
    """Return what a wrong implementation computes for a case."""
    return bug(case.network, case.data.flat, case.dtype).loss_and_gradient(*case.data[1:])[1].flat
