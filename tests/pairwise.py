"""All pairs: a small set of rows in which every pair of values of any two factors occurs.

Most faults need one option or a pair of options to show; a cover of all pairs is some hundreds of rows where the
full product is some hundred thousand. The rows grow one factor at a time, as in Y. Lei and K.-C. Tai, In-Parameter-
Order: A Test Generation Strategy for Pairwise Testing, 1998: every row takes the value that covers most new pairs,
then rows are added for the pairs that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np

Row = dict[str, Any]
Factors = Mapping[str, Sequence[Any]]
Valid = Callable[[Row], bool]


def pairs_of(row: Row) -> set[tuple[str, Any, str, Any]]:
    """Every pair of factors of a row, with their values."""
    return {(f, row[f], g, row[g]) for f, g in combinations(sorted(row), 2)}


def full_product(factors: Factors, valid: Valid) -> Iterator[Row]:
    """Every valid combination."""
    for values in product(*factors.values()):
        row = dict(zip(factors, values, strict=True))
        if valid(row):
            yield row


def all_pairs(factors: Factors, valid: Valid, turn: int = 0) -> list[Row]:
    """Return rows that cover all valid pairs.

    Parameters
    ----------
    factors : mapping of str to sequence
        The values, hashable, of every factor; the rows grow from the longest factors to the shortest.
    valid : callable
        Tells whether a row may be; it is also asked for rows in which factors are missing, and a row of which it
        has said yes must have a completion of which it says yes.
    turn : int
        Another turn gives another cover.
    """
    generator = np.random.default_rng(turn)
    first, second, *others = sorted(factors, key=lambda name: -len(factors[name]))
    known = {first: factors[first], second: factors[second]}
    rows = list(full_product(known, valid))
    for name in others:
        left = open_pairs(name, known, factors[name], valid)
        for row in rows:
            row[name] = best_value(row, name, shuffled(factors[name], generator), valid, left)
            left[row[name]] -= set(row.items())
        known[name] = factors[name]
        for value in factors[name]:
            while left[value]:
                pair = dict([(name, value), min(left[value], key=str)])
                rows.append(completed(pair, known, valid, generator))
                left[value] -= set(rows[-1].items())
    return rows


def shuffled(values: Sequence[Any], generator: np.random.Generator) -> list[Any]:
    """Return the values in another order, so that ties fall differently from row to row and factor to factor."""
    return [values[k] for k in generator.permutation(len(values))]


def open_pairs(name: str, known: Factors, values: Sequence[Any], valid: Valid) -> dict[Any, set[tuple[str, Any]]]:
    """For each value of a factor, the values of the known factors that it may stand with."""
    others = [(other, partner) for other in known for partner in known[other]]
    return {value: {pair for pair in others if valid(dict([(name, value), pair]))} for value in values}


def best_value(row: Row, name: str, values: Sequence[Any], valid: Valid, left: Mapping[Any, set]) -> Any:
    """Return the valid value that covers most pairs that are still open."""
    possible = [value for value in values if valid({**row, name: value})]
    return max(possible, key=lambda value: len(left[value] & set(row.items())))


def completed(row: Row, factors: Factors, valid: Valid, generator: np.random.Generator) -> Row:
    """Fill in the missing factors of a row with valid values."""
    for name in factors:
        if name not in row:
            candidates = ({**row, name: value} for value in shuffled(factors[name], generator))
            row = next(candidate for candidate in candidates if valid(candidate))
    return row
