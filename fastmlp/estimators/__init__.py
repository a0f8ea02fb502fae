"""scikit-learn's names over `MLP`: the same constructors, attributes and results, computed by fastmlp's backends.

`base` tells how an estimator is fitted; `classifier` and `regressor` say what their targets are, `columns` how several
columns of classes share an estimator. `descent` and `lbfgs` are the two ways to train, `solvers` the optimizers' forms
that scikit-learn has, `sparse` a matrix, whose batches some backends want dense, `scores` what is watched to end in
time, `engine` the network and its backend.

`tabular` tells how the estimators of a recipe of their own are fitted, `tabular_classifier` and `tabular_regressor`:
`tables` reads tables, `encoding` makes arrays of them, `targets` says what there is to predict.
There is no arithmetic of networks in here.
"""

try:
    import sklearn  # noqa: F401  asked for by its name, so that a missing part of it is not taken for its absence
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ImportError("fastmlp's estimators need scikit-learn: run `pip install 'fastmlp[sklearn]'`") from None

from fastmlp.estimators.classifier import MLPClassifier
from fastmlp.estimators.regressor import MLPRegressor
from fastmlp.estimators.tabular_classifier import TabularMLPClassifier
from fastmlp.estimators.tabular_regressor import TabularMLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "TabularMLPClassifier", "TabularMLPRegressor"]
