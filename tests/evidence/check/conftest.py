from typing import Any

import pytest

from evidence.models import Release
from tests.evidence.check.tampering import small_ledger


@pytest.fixture
def release(ledger: Any) -> Release:
    """Nine entries; see `small_ledger`."""
    return small_ledger()
