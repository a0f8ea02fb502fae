"""What an estimator is once it is fitted: coefficients that are a network's own memory, and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp.backends import Work
from fastmlp.estimators.engine import Engine, backend_for
from fastmlp.estimators.picture import layers_as_html
from fastmlp.estimators.scaling import Scaling
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.sparse import SparseRows, as_array, for_rows
from fastmlp.history import History
from fastmlp.network import MLP
from fastmlp.parameters import Array
from fastmlp.spec import NetworkSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Fitted(Settings):
    """A fitted network, as attributes with scikit-learn's names."""

    coefs_: list[Array]
    intercepts_: list[Array]
    loss_curve_: list[float]
    # Each of these is None where early stopping is used, or where it is not.
    best_loss_: Any
    validation_scores_: Any
    best_validation_score_: Any
    _engine: Any

    def _engine_for(self, spec: NetworkSpec, work: Work) -> Engine:
        """Return an engine for a fit of this size, whose network has the coefficients."""
        name = backend_for(self.backend, spec, work, strict=self.strict)
        engine: Engine | None = self.__dict__.get("_engine")
        if engine is None or not engine.serves(spec, name, strict=self.strict, threads=self.threads):
            engine = Engine(spec, name, strict=self.strict, threads=self.threads)
        self._adopt(engine)
        return engine

    def _adopt(self, engine: Engine) -> None:
        """Make the engine's the estimator's own: its coefficients are views of the network's parameters from now on."""
        if not engine.holds(self.coefs_, self.intercepts_):
            engine.fill(self.coefs_, self.intercepts_)
            self.coefs_, self.intercepts_ = list(engine.net.weights), list(engine.net.biases)
        self._engine = engine
        self._made_of = (engine.net.spec, engine.net.backend, engine.net.strict, engine.net.threads)

    def _network(self) -> MLP:
        """Return the fitted network, with the coefficients as they are now, whoever changed them.

        Raises
        ------
        NotFittedError
            If there is none.
        """
        engine: Engine | None = self.__dict__.get("_engine")
        if engine is None or "_made_of" not in self.__dict__:
            check_is_fitted(self, "_made_of")
            spec, backend, strict, threads = self._made_of
            engine = Engine(spec, backend, strict=strict, threads=threads)
        if not engine.holds(self.coefs_, self.intercepts_):
            self._adopt(engine)
        return engine.net

    def _x_scaling(self) -> Scaling | None:
        mean = self.__dict__.get("x_mean_")
        return None if mean is None else Scaling(mean, self.x_scale_)

    def _outputs(self, X: Any) -> Array:  # noqa: ANN401
        """Return the network's outputs, of shape (n_samples, n_outputs)."""
        net, scaling = self._network(), self._x_scaling()
        if type(X) is np.ndarray and X.dtype == net.parameters.flat.dtype and not hasattr(self, "feature_names_in_"):
            try:
                return net.predict(X if scaling is None else scaling.apply(X))
            except ValueError:
                pass  # what is wrong with it is told below, in the words that scikit-learn's users know
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        if issparse(X):
            rows = SparseRows(X, net.spec.dtype, scaling)
            return for_rows(self._engine.backend, rows).predict(net.parameters, as_array(rows))
        return net.predict(X if scaling is None else scaling.apply(X.astype(net.spec.dtype)))

    def plot_history(self, ax: Axes | None = None) -> Axes:
        """Draw the loss of every epoch, and the validation scores on an axis of their own, where there are some.

        Of several columns of classes, those of all.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default in a new figure of pyplot's.

        Returns
        -------
        matplotlib.axes.Axes
            Where the loss is.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no epoch: before a fit, and after one with "lbfgs".
        """
        for member in self._members():
            ax = member._draw_history(ax)  # noqa: SLF001  its own
        return cast("Axes", ax)

    def _members(self) -> list[Any]:
        """Return the estimators that have a network: this one, unless it is made of several."""
        return [self]

    def _draw_history(self, ax: Axes | None) -> Axes:
        check_is_fitted(self, "_made_of")
        scores = self.__dict__.get("validation_scores_") or []
        ax = History(loss=list(self.__dict__.get("loss_curve_", []))).plot(ax)
        if scores:
            first = len(self.loss_curve_) - len(scores) + 1
            beside = ax.twinx()
            epochs = range(first, first + len(scores))
            beside.plot(epochs, scores, color="#d9622b", linewidth=1.8, linestyle="--", label="validation score")
            beside.set_ylabel("validation score")
            beside.spines["top"].set_visible(False)
        return ax

    # ---- for scikit-learn

    def _repr_html_inner(self) -> str:
        return str(super()._repr_html_inner()) + layers_as_html(self)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        if "text/html" in bundle:
            bundle["text/html"] += layers_as_html(self)
        return bundle

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_engine"}

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
