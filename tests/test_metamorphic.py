"""What must not change, or change in a known way, does so on every backend, strict and fast, in both dtypes."""

from __future__ import annotations

import pytest

from tests import metamorphic, networks
from tests.metamorphic import Relation


@pytest.mark.parametrize("relation", metamorphic.RELATIONS, ids=lambda relation: relation.__name__)
def test_relation_holds(backend: str, relation: Relation) -> None:
    for strict in (False, True):
        for dtype in ("float32", "float64"):
            assert not relation(networks.library(backend, strict=strict), dtype)
