"""The naive backend, an MLP neuron by neuron in plain Python: this file defines what the others compute.

A sample runs through the layers (`forward`), its error runs back (`backward`), and a weight's gradient is the
sum, over the batch, of what entered the weight times the delta of the neuron that it leads to (`_fill`).
Arrays become lists of floats on the way in; no NumPy arithmetic is in the loops. Python's floats are
binary64; `_Rounding` brings a row to the network's dtype, and so this backend is always strict.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastmlp import dropout as masks
from fastmlp.activations import ACTIVATIONS, SOFTMAX
from fastmlp.backends.base import (
    Batch,
    Dropout,
    PlainTraining,
    Responder,
    Run,
    answer_by_predicting,
    check_single_thread,
    dense_rows,
    train_by_batches,
)
from fastmlp.elementary import exp, log
from fastmlp.losses import LOSSES
from fastmlp.optimizers import N_COEFFICIENTS, RULES
from fastmlp.parameters import Array, Parameters
from fastmlp.spec import NetworkSpec

Row = list[float]
Rounding = Callable[[Row], Row]


def _to_float32(row: Row) -> Row:
    return array("f", row).tolist()


def _to_float64(row: Row) -> Row:
    return row


def dot(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return the sum of products, added in ascending index; the builtin `sum` would compensate its rounding."""
    total = 0.0
    for x, y in zip(xs, ys, strict=True):
        total += x * y
    return total


def total_of(values: Sequence[float]) -> float:
    """Return the sum, added in ascending index."""
    total = 0.0
    for value in values:
        total += value
    return total


@dataclass(frozen=True)
class Layer:
    """One layer's parameters as lists.

    Attributes
    ----------
    incoming : list of lists
        For each neuron, the weights that lead to it: the columns of W.
    outgoing : list of lists
        For each input, the weights that lead away from it: the rows of W.
    biases : list
        One a neuron.
    activation : str
    """

    incoming: list[Row]
    outgoing: list[Row]
    biases: Row
    activation: str


@dataclass
class Trace:
    """What a sample leaves behind in one layer on its way forward: its input, Z, A, and the dropout factors."""

    inputs: Row
    Z: Row
    A: Row
    factors: Row | None = None


def _activate(name: str, Z: Row) -> Row:
    if name == SOFTMAX:  # the only one that needs the whole row
        return _softmax(Z)
    forward = ACTIVATIONS[name].forward
    return [forward(z) for z in Z]


def _softmax(Z: Row) -> Row:
    top = max(Z)
    powers = [exp(z - top) for z in Z]
    total = total_of(powers)
    return [power / total for power in powers]


def _log_softmax(Z: Row) -> Row:
    top = max(Z)
    log_total = log(total_of([exp(z - top) for z in Z]))
    return [(z - top) - log_total for z in Z]


class NaiveBackend(PlainTraining):
    """The reference. See `fastmlp.backends.base.Backend` for what the methods take and return."""

    name = "naive"

    def __init__(self, spec: NetworkSpec, *, strict: bool = False, threads: int | None = None) -> None:
        check_single_thread(self.name, threads)
        self.spec = spec
        self.strict = strict  # always kept, wanted or not
        self._loss = LOSSES[spec.loss]
        self.round: Rounding = _to_float32 if spec.dtype == "float32" else _to_float64

    # ---- forward

    def forward(self, layers: list[Layer], sample: Row, row: int = 0, dropout: Dropout | None = None) -> list[Trace]:
        """Run one sample through all layers; `row` is its position in the batch, for dropout."""
        traces = []
        inputs = sample
        for index, layer in enumerate(layers):
            Z = self.round([dot(inputs, weights) + b for weights, b in zip(layer.incoming, layer.biases, strict=True)])
            A = self.round(_activate(layer.activation, Z))
            trace = Trace(inputs, Z, A)
            traces.append(trace)
            inputs = A
            if dropout is not None and index < len(layers) - 1:
                trace.factors = self._dropout_factors(dropout, index, row, len(A))
                inputs = self.round([a * factor for a, factor in zip(A, trace.factors, strict=True)])
        return traces

    def _dropout_factors(self, dropout: Dropout, layer: int, row: int, n_units: int) -> Row:
        """Return 0 for a dropped unit, 1 / (1 - p) for one that stays, so that the mean stays."""
        key = masks.layer_key(dropout.seed, dropout.step, layer)
        below = masks.threshold(self.spec.dropout)
        kept = self.round([1.0 / (1.0 - self.spec.dropout)])[0]
        return [kept if masks.unit_hash(key, row, unit) >= below else 0.0 for unit in range(n_units)]

    # ---- loss and output delta

    def sample_loss(self, output: Trace, y: Row) -> float:
        """Return the loss of one sample."""
        Z = _log_softmax(output.Z) if self.spec.output_activation == SOFTMAX else output.Z
        value = self._loss.value_with(self.spec.output_activation)
        total = total_of(list(map(value, Z, output.A, y, self.spec.loss_numbers)))
        return total / len(y) if self._loss.averaged else total

    def output_delta(self, output: Trace, y: Row, share: float) -> Row:
        """Return d loss / d Z of the last layer, for a sample that is `share` of the batch."""
        A = output.A
        if self.spec.is_linked:
            mass = total_of(y) if self.spec.output_activation == SOFTMAX else 1.0
            slopes = [a * mass - t for a, t in zip(A, y, strict=True)]
        else:
            slopes = self._slopes_through_output(output, y)
        if self._loss.averaged:
            share /= len(y)
        return self.round([share * slope for slope in slopes])

    def _slopes_through_output(self, output: Trace, y: Row) -> Row:
        slopes = list(map(self._loss.slope, output.A, y, self.spec.loss_numbers))
        if self.spec.output_activation == SOFTMAX:
            mean = dot(output.A, slopes)
            return [a * (s - mean) for a, s in zip(output.A, slopes, strict=True)]
        derivative = ACTIVATIONS[self.spec.output_activation].derivative
        return [s * derivative(z, a) for s, z, a in zip(slopes, output.Z, output.A, strict=True)]

    # ---- backward

    def backward(self, layers: list[Layer], traces: list[Trace], delta: Row) -> list[Row]:
        """Return the delta of every layer, from that of the last."""
        deltas = [delta]
        for index in range(len(layers) - 1, 0, -1):
            trace, derivative = traces[index - 1], ACTIVATIONS[layers[index - 1].activation].derivative
            slopes = self.round([dot(delta, weights) for weights in layers[index].outgoing])  # d loss / d A
            if trace.factors is not None:
                slopes = self.round([s * factor for s, factor in zip(slopes, trace.factors, strict=True)])
            # Adding +0.0 makes the delta of a unit that is off +0.0, whatever the sign of its slope.
            delta = self.round([s * derivative(z, a) + 0.0 for s, z, a in zip(slopes, trace.Z, trace.A, strict=True)])
            deltas.append(delta)
        return deltas[::-1]

    def _slopes_of_inputs(self, first: Layer, delta: Row) -> Row:
        """Return the derivative of a sample's loss with respect to what enters the first layer."""
        return self.round([dot(delta, weights) for weights in first.outgoing])

    def _fill_scale(self, gradient: Array, first: Layer, X: Array, deltas: list[list[Row]]) -> None:
        """Sum the gradient of the input scale over the batch: a feature times the derivative by what is made of it."""
        slopes = [self._slopes_of_inputs(first, delta[0]) for delta in deltas]
        by_feature = zip(zip(*X.tolist(), strict=True), zip(*slopes, strict=True), strict=True)
        gradient[...] = self.round([dot(features, by_scaled) for features, by_scaled in by_feature])

    def _fill(
        self,
        gradient: Parameters,
        parameters: Parameters,
        traces: list[list[Trace]],
        deltas: list[list[Row]],
        l2: float,
    ) -> None:
        """Sum each parameter's gradient over the batch: input times delta for a weight, delta for a bias."""
        for index in range(self.spec.n_layers):
            by_input = list(zip(*(trace[index].inputs for trace in traces), strict=True))
            by_neuron = list(zip(*(delta[index] for delta in deltas), strict=True))
            rows = [self.round([dot(inputs, delta) for delta in by_neuron]) for inputs in by_input]
            if l2:
                W = parameters.weights[index].tolist()
                rows = [
                    self.round([g + l2 * w for g, w in zip(*pair, strict=True)]) for pair in zip(rows, W, strict=True)
                ]
            gradient.weights[index][...] = rows
            gradient.biases[index][...] = self.round([total_of(delta) for delta in by_neuron])

    # ---- the contract

    def predict(self, parameters: Parameters, X: Array) -> Array:
        """Return the outputs."""
        layers = self._layers(parameters)
        rows = [self.forward(layers, sample)[-1].A for sample in self._inputs(parameters, X)]
        return np.array(rows, self.spec.dtype).reshape(len(rows), self.spec.n_outputs)

    def answer(self, parameters: Parameters, X: Array, out: Array) -> bool:
        """Write the outputs and return whether all of X is finite."""
        return answer_by_predicting(self, parameters, X, out)

    def responder(self, parameters: Parameters, n_rows: int) -> Responder:  # noqa: ARG002  it takes any number
        """Return what answers for some rows."""
        return partial(self.answer, parameters)

    def hidden_activations(self, parameters: Parameters, X: Array) -> list[Array]:
        """Return the activations of every hidden layer."""
        layers = self._layers(parameters)
        traces = [self.forward(layers, sample) for sample in self._inputs(parameters, X)]
        return [np.array([trace[i].A for trace in traces], self.spec.dtype) for i in range(self.spec.n_layers - 1)]

    def loss(self, parameters: Parameters, batch: Batch) -> float:
        """Return the loss, l2 included."""
        layers = self._layers(parameters)
        outputs = [self.forward(layers, sample)[-1] for sample in self._inputs(parameters, batch.X)]
        return self._mean_loss(batch, outputs, self._targets(batch)) + self._penalty(parameters, batch.l2)

    def loss_and_gradient(
        self, parameters: Parameters, batch: Batch, gradient: Parameters, dropout: Dropout | None = None
    ) -> float:
        """Write the gradient and return the loss."""
        return sum(self.losses_and_gradient(parameters, batch, gradient, dropout))

    def losses_and_gradient(
        self, parameters: Parameters, batch: Batch, gradient: Parameters, dropout: Dropout | None = None
    ) -> tuple[float, float]:
        """Write the gradient and return the loss without the penalty, and the penalty."""
        traces, deltas, targets = self._pass(parameters, batch, dropout)
        self._fill(gradient, parameters, traces, deltas, batch.l2)
        if gradient.input_scale is not None:
            self._fill_scale(gradient.input_scale, self._layers(parameters)[0], batch.X, deltas)
        return self._mean_loss(batch, [trace[-1] for trace in traces], targets), self._penalty(parameters, batch.l2)

    def input_gradient(self, parameters: Parameters, batch: Batch) -> Array:
        """Return the derivative of the loss with respect to X."""
        _, deltas, _ = self._pass(parameters, batch, None)
        first = self._layers(parameters)[0]
        rows = [self._scaled(parameters, self._slopes_of_inputs(first, delta[0])) for delta in deltas]
        return np.array(rows, self.spec.dtype)

    def train(self, run: Run, start: int, stop: int) -> int:
        """Do the steps from `start` up to `stop` and return where it ended."""
        return train_by_batches(_Trainer(self, run), run, start, stop)

    # ---- between arrays and lists

    def _layers(self, parameters: Parameters) -> list[Layer]:
        layers = []
        for W, b, name in zip(parameters.weights, parameters.biases, self.spec.all_activations, strict=True):
            rows = W.tolist()
            columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
            layers.append(Layer(columns, rows, b.tolist(), name))
        return layers

    def _inputs(self, parameters: Parameters, X: Array) -> list[Row]:
        """Return what enters the first layer."""
        return [self._scaled(parameters, sample) for sample in X.tolist()]

    def _scaled(self, parameters: Parameters, row: Row) -> Row:
        """Return a row times the input scale, if there is one."""
        if parameters.input_scale is None:
            return row
        return self.round([x * s for x, s in zip(row, parameters.input_scale.tolist(), strict=True)])

    def _targets(self, batch: Batch) -> list[Row]:
        rows = np.empty((len(batch.X), self.spec.n_outputs), self.spec.dtype)
        targets: list[Row] = dense_rows(batch.Y, slice(None), rows).tolist()
        return targets

    def _pass(
        self, parameters: Parameters, batch: Batch, dropout: Dropout | None
    ) -> tuple[list[list[Trace]], list[list[Row]], list[Row]]:
        """Run the batch forward and back; return traces, deltas and targets, one a sample."""
        layers, inputs, targets = self._layers(parameters), self._inputs(parameters, batch.X), self._targets(batch)
        weights = [1.0] * len(targets) if batch.weights is None else batch.weights.tolist()
        traces, deltas = [], []
        for row, (sample, y, weight) in enumerate(zip(inputs, targets, weights, strict=True)):
            trace = self.forward(layers, sample, row, dropout)
            traces.append(trace)
            deltas.append(self.backward(layers, trace, self.output_delta(trace[-1], y, weight / batch.total)))
        return traces, deltas, targets

    def _mean_loss(self, batch: Batch, outputs: list[Trace], targets: list[Row]) -> float:
        losses = [self.sample_loss(output, y) for output, y in zip(outputs, targets, strict=True)]
        if batch.weights is not None:
            losses = [loss * weight for loss, weight in zip(losses, batch.weights.tolist(), strict=True)]
        return total_of(losses) / batch.total

    def _penalty(self, parameters: Parameters, l2: float) -> float:
        """Return what l2 adds to the loss."""
        if not l2:
            return 0.0
        squares = [total_of([w * w for w in W.ravel().tolist()]) for W in parameters.weights]
        return 0.5 * l2 * total_of(squares)


class _Trainer:
    """A run's steps."""

    def __init__(self, backend: NaiveBackend, run: Run) -> None:
        self._backend, self._run, self._gradient = backend, run, Parameters.empty(backend.spec)

    def loss_and_gradient(self, step: int) -> tuple[float, float]:
        run, rows = self._run, self._run.rows(step)
        weights = None if run.weights is None else run.weights[rows]
        batch = Batch(run.X[rows], run.Y[rows], weights, float(run.totals[step]), float(run.l2[step]))
        dropout = run.dropout(step) if self._backend.spec.dropout else None
        return self._backend.losses_and_gradient(run.parameters, batch, self._gradient, dropout)

    def update(self, step: int) -> None:
        run = self._run
        for layer, W in enumerate(run.parameters.weights):
            self._shrink(W, float(run.decay[step, run.groups.of(layer)[0]]))
        for part, group in run.groups.slices(run.parameters):
            first = N_COEFFICIENTS * group
            self._apply_rule(part, run.coefficients[step, first : first + N_COEFFICIENTS].tolist())

    def _shrink(self, W: Array, decay: float) -> None:
        """Take a share of each weight away."""
        if decay:
            W[...] = [self._backend.round([w - decay * w for w in row]) for row in W.tolist()]

    def _apply_rule(self, part: slice, c: Row) -> None:
        """Step with the parameters of a part of the flat vector, by a row of coefficients."""
        run, round_row, rule = self._run, self._backend.round, RULES[self._run.rule]
        g, w = self._gradient.flat[part].tolist(), run.parameters.flat[part].tolist()
        s, t = (state[part].tolist() if state.size else g for state in run.states)
        new = [rule.states(g_i, s_i, t_i, c) for g_i, s_i, t_i in zip(g, s, t, strict=True)]
        s, t = round_row([pair[0] for pair in new]), round_row([pair[1] for pair in new])
        for state, values in zip(run.states, (s, t), strict=True):
            if state.size:
                state[part] = values
        run.parameters.flat[part] = round_row([rule.parameter(*values, c) for values in zip(w, g, s, t, strict=True)])
