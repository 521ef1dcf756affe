"""The cluster that the tests of a module share."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.nodes import two_nodes


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    yield from two_nodes()
