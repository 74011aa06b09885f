"""Four systems' history, after their own documents: ``*.yaml`` here, loaded through the HTTP API (``load.py``).

Everything happened long before it is recorded, and says so (``occurred_at``): pages show it as backfilled.
"""

from tests.e2e.history.load import HistoryError, Loaded, Service, load
from tests.e2e.history.reading import SYSTEMS

__all__ = ["SYSTEMS", "HistoryError", "Loaded", "Service", "load"]
