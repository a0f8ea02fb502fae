"""A multilayer perceptron computed three ways, per-neuron Python loops, NumPy and Numba, behind one interface."""

from typing import TYPE_CHECKING

from fastmlp import schedules
from fastmlp.backends import available_backends
from fastmlp.errors import DivergedError
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
    from fastmlp.gradcheck import check_gradients, compare_backends

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

# What is imported when it is asked for, and from where: checking gradients takes longer to import than all else
# together, and the estimators bring in scikit-learn, which is an extra.
_LATER = {
    "gradcheck": "gradcheck",
    "check_gradients": "gradcheck",
    "compare_backends": "gradcheck",
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "TabularMLPClassifier": "estimators",
    "TabularMLPRegressor": "estimators",
}

if not TYPE_CHECKING:  # or a checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            msg = f"module 'fastmlp' has no attribute {name!r}"
            raise AttributeError(msg)
        from importlib import import_module  # noqa: PLC0415  or it would be one of our names

        module = import_module(f"fastmlp.{_LATER[name]}")
        globals()[name] = getattr(module, name, module)
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
