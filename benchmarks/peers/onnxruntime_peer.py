"""ONNX Runtime: a session on one thread over a model of Gemm nodes, built here with the package onnx."""

from __future__ import annotations

import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from benchmarks.cases import Array
from benchmarks.peers.base import Predict, Problem
from fastmlp.parameters import Parameters

# None: no node at all.
_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "identity": None}
_LINKS = {"mse": None, "cross_entropy": "Softmax"}
_TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
# Old enough for every ONNX Runtime in the extra's range, new enough for all operators used.
_OPSET, _IR_VERSION = 17, 8


def predictor(problem: Problem) -> Predict:
    """Return a session's `run`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = problem.threads
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    model = _model(problem).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def predict(X: Array) -> Array:
        return session.run(None, {"X": X})[0]  # type: ignore[no-any-return]

    return predict


def _model(problem: Problem) -> ModelProto:
    """Return the network as a model from X, of any number of rows, to its outputs."""
    case = problem.case
    ours = Parameters(case.layer_sizes, problem.start)
    nodes, initializers, value = [], [], "X"
    last = len(ours.weights) - 1
    for layer, (W, b) in enumerate(zip(ours.weights, ours.biases, strict=True)):
        initializers += [numpy_helper.from_array(W, f"W{layer}"), numpy_helper.from_array(b, f"b{layer}")]
        nodes.append(helper.make_node("Gemm", [value, f"W{layer}", f"b{layer}"], [f"Z{layer}"]))
        value = f"Z{layer}"
        finish = _LINKS[case.loss] if layer == last else _ACTIVATIONS[case.activation]
        if finish is not None:
            nodes.append(helper.make_node(finish, [value], [f"A{layer}"]))
            value = f"A{layer}"
    kind, (n_in, *_, n_out) = _TYPES[case.dtype], case.layer_sizes
    inputs = [helper.make_tensor_value_info("X", kind, ["n", n_in])]
    outputs = [helper.make_tensor_value_info(value, kind, ["n", n_out])]
    graph = helper.make_graph(nodes, "mlp", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
