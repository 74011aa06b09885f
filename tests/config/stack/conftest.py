from collections.abc import Iterator
from pathlib import Path

import pytest

from config.stack.reset import reset


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """The path for a data folder; what comes to lie there or, for PostgreSQL, elsewhere is removed."""
    folder = tmp_path / "data"
    yield folder
    assert reset([folder], sure=True) == 0
