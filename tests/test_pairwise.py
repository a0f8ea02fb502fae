"""The cover of all pairs covers all pairs, and nothing that may not be."""

from __future__ import annotations

from itertools import combinations

import pytest

from tests import networks, pairwise


@pytest.mark.parametrize("turn", [0, 1])
def test_every_valid_pair_occurs(turn: int) -> None:
    factors, valid = networks.FACTORS, networks.is_valid
    wanted = {
        (f, a, g, b)
        for f, g in combinations(sorted(factors), 2)
        for a in factors[f]
        for b in factors[g]
        if valid({f: a, g: b})
    }
    rows = pairwise.all_pairs(factors, valid, turn)
    assert set().union(*map(pairwise.pairs_of, rows)) == wanted
    assert all(valid(row) and row.keys() == factors.keys() for row in rows)


def test_cover_is_small_and_turns_differ() -> None:
    largest, second = sorted((len(values) for values in networks.FACTORS.values()), reverse=True)[:2]
    assert len(networks.cover()) <= 1.1 * largest * second
    assert set(networks.cover(0)).isdisjoint(networks.cover(1))


def test_full_product_is_all_that_is_valid() -> None:
    factors = {"a": (1, 2), "b": (1, 2, 3)}
    rows = list(pairwise.full_product(factors, lambda row: row["a"] != row["b"]))
    assert rows == [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 2, "b": 1}, {"a": 2, "b": 3}]
