"""Four systems' history, after their own documents: ``*.yaml`` here, loaded through the HTTP API (``load.py``).

Everything happened long before it is recorded, and says so (``occurred_at``): pages show it as backfilled.
Their risk register is ``register.yaml``, imported as the file of another tool would be.
"""

from tests.e2e.history.load import HistoryError, Loaded, Service, load, load_register
from tests.e2e.history.reading import SYSTEMS, register

__all__ = ["SYSTEMS", "HistoryError", "Loaded", "Service", "load", "load_register", "register"]
