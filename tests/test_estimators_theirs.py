"""scikit-learn's own tests of its multilayer perceptron, as they are installed, run on our classes.

Their module is executed with the two names exchanged, and its tests are collected from here. What is left out has
its reason.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from sklearn import neural_network

import fastmlp

LEFT_OUT = {
    "test_gradient": "calls _loss_grad_lbfgs, which is private; our gradients have tests of their own",
}
"""Their tests of what users do not see, and why each has nothing to say of ours."""

pytestmark = [  # theirs handle the warnings that they are about
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def their_module() -> ModuleType:
    """Return a copy of their module in which our classes stand for theirs."""
    spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLPClassifier", "MLPRegressor"):
            patch.setattr(neural_network, name, getattr(fastmlp, name))
        spec.loader.exec_module(module)
    return module


THEIRS = their_module()
globals().update(
    (name, thing) for name, thing in vars(THEIRS).items() if name.startswith("test_") and name not in LEFT_OUT
)


@pytest.fixture(autouse=True, params=["numpy", "numba"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let "auto" be each backend in turn."""
    monkeypatch.setenv("FASTMLP_BACKEND", request.param)


@pytest.fixture
def global_random_seed() -> int:
    """Return the seed that some of theirs ask for."""
    return 42


def test_the_names_are_exchanged() -> None:
    assert THEIRS.MLPClassifier is fastmlp.MLPClassifier
    assert THEIRS.MLPRegressor is fastmlp.MLPRegressor
    assert neural_network.MLPClassifier is not fastmlp.MLPClassifier


def test_what_is_left_out_is_there_to_be_left_out() -> None:
    assert set(LEFT_OUT) <= set(vars(THEIRS))
