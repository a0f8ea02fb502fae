"""A multilayer perceptron computed three ways, per-neuron Python loops, NumPy and Numba, behind one interface."""

from typing import TYPE_CHECKING

from fastmlp import schedules
from fastmlp.backends import available_backends
from fastmlp.errors import DivergedError
from fastmlp.gradcheck import check_gradients, compare_backends
from fastmlp.history import EarlyStopping, EpochInfo, History
from fastmlp.network import MLP
from fastmlp.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from fastmlp.parameters import Parameters
from fastmlp.per_layer import PerLayer
from fastmlp.predictor import Predictor
from fastmlp.spec import NetworkSpec
from fastmlp.training_state import TrainingState

if TYPE_CHECKING:
    from fastmlp.estimators import MLPClassifier, MLPRegressor, TabularMLPClassifier, TabularMLPRegressor

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "DivergedError",
    "EarlyStopping",
    "EpochInfo",
    "History",
    "MLPClassifier",
    "MLPRegressor",
    "NetworkSpec",
    "Optimizer",
    "Parameters",
    "PerLayer",
    "Predictor",
    "RMSprop",
    "TabularMLPClassifier",
    "TabularMLPRegressor",
    "TrainingState",
    "available_backends",
    "check_gradients",
    "compare_backends",
    "schedules",
]

# Their import brings in scikit-learn, which is an extra.
_LATER = ("MLPClassifier", "MLPRegressor", "TabularMLPClassifier", "TabularMLPRegressor")

if not TYPE_CHECKING:  # or a checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            msg = f"module 'fastmlp' has no attribute {name!r}"
            raise AttributeError(msg)
        from fastmlp import estimators  # noqa: PLC0415  when it is asked for, and not before

        globals().update({later: getattr(estimators, later) for later in _LATER})
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
