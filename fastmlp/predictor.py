"""Predictor: a network as it was, ready to answer again and again at the least cost, as control loops ask."""

from __future__ import annotations

import numpy as np

from fastmlp.backends.base import Responder
from fastmlp.data import check_X
from fastmlp.parameters import Array
from fastmlp.spec import NetworkSpec


class Predictor:
    """A network's outputs for up to `batch_size` rows at a time; `MLP.predictor` makes one.

    It has a copy of the parameters and memory of its own: what is done to the network later does not reach it, and
    it belongs to one thread at a time.

    Parameters
    ----------
    spec : NetworkSpec
    respond : callable
        What a backend returns for the parameters: see ``fastmlp.backends.base.Responder``.
    batch_size : int
        At least 1.

    Attributes
    ----------
    spec : NetworkSpec
    batch_size : int
    """

    def __init__(self, spec: NetworkSpec, respond: Responder, batch_size: int) -> None:
        self.spec, self.batch_size = spec, batch_size
        self._respond = respond
        self._dtype = np.dtype(spec.dtype)
        self._one, self._one_out = (spec.n_inputs,), (spec.n_outputs,)

    def __call__(self, x: object) -> Array:
        """Return the outputs for a row, or for some.

        Parameters
        ----------
        x : array_like of shape (n_in,) or (n, n_in), n at most `batch_size`

        Returns
        -------
        ndarray of shape (n_out,) or (n, n_out)
            A new one at each call.

        Raises
        ------
        TypeError, ValueError
            If `x` is not such an array of finite numbers.
        """
        rows = self._rows(x)
        out = np.empty((len(rows), *self._one_out), self._dtype)
        self._write(rows, out)
        return out if _is_matrix(x) else out[0]

    def into(self, x: object, out: Array) -> None:
        """Write the outputs to an array; nothing is allocated where `x` is of the network's dtype and contiguous.

        Parameters
        ----------
        x : array_like of shape (n_in,) or (n, n_in)
        out : ndarray of shape (n_out,) or (n, n_out), of the network's dtype, C-contiguous
            Written.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described; `out` then holds what it held, or numbers without meaning where `x`
            is not finite.
        """
        rows = self._rows(x)
        expected = (len(rows), *self._one_out) if _is_matrix(x) else self._one_out
        if type(out) is not np.ndarray or out.dtype != self._dtype or out.shape != expected:
            got = f"shape {out.shape}, {out.dtype}" if isinstance(out, np.ndarray) else f"type {type(out).__name__}"
            msg = f"out has {got}; expected an array of shape {expected}, {self._dtype}"
            raise ValueError(msg)
        if not (out.flags.c_contiguous and out.flags.writeable):
            msg = f"out (shape {out.shape}) is read-only or not C-contiguous; expected one that can be written"
            raise ValueError(msg)
        self._write(rows, out.reshape(len(rows), -1))

    def _rows(self, x: object) -> Array:
        """Return x as rows of the network's dtype."""
        if type(x) is np.ndarray and x.dtype == self._dtype and x.flags.c_contiguous and x.flags.aligned:
            if x.shape == self._one:
                return x.reshape(1, -1)
            rows = x
        else:
            rows = np.asarray(x)
            if rows.shape == self._one:
                rows = rows.reshape(1, -1)
            rows = check_X(self.spec, rows)
        if rows.ndim != 2 or rows.shape[1:] != self._one or not 0 < len(rows) <= self.batch_size:  # noqa: PLR2004
            msg = (
                f"x has shape {rows.shape}; expected {self._one}, or (n, {self.spec.n_inputs}) with n from 1 to "
                f"{self.batch_size} (batch_size)"
            )
            raise ValueError(msg)
        return rows

    def _write(self, rows: Array, out: Array) -> None:
        if not self._respond(rows, out):
            check_X(self.spec, rows)  # raises, and says where


def _is_matrix(x: object) -> bool:
    return (x.ndim if isinstance(x, np.ndarray) else np.ndim(x)) > 1  # type: ignore[arg-type]
