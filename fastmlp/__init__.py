"""A multilayer perceptron computed three ways, per-neuron Python loops, NumPy and Numba, behind one interface."""

from fastmlp import schedules
from fastmlp.backends import available_backends
from fastmlp.errors import DivergedError
from fastmlp.gradcheck import check_gradients, compare_backends
from fastmlp.history import EarlyStopping, EpochInfo, History
from fastmlp.network import MLP
from fastmlp.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from fastmlp.parameters import Parameters
from fastmlp.predictor import Predictor
from fastmlp.spec import NetworkSpec
from fastmlp.training import TrainingState

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
    "NetworkSpec",
    "Optimizer",
    "Parameters",
    "Predictor",
    "RMSprop",
    "TrainingState",
    "available_backends",
    "check_gradients",
    "compare_backends",
    "schedules",
]
