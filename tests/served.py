"""The product's web server as `make run` starts it, over a test's own database, store and broker."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from config.stack import ports, services
from config.stack.processes import Child
from tests.config.stack.running import clean_environment
from tests.conftest import Clone


@contextmanager
def served(ledger: Clone, folder: Path, **variables: str) -> Iterator[str]:
    """Its address, while it answers."""
    with server(ledger, folder, **variables) as (url, _):
        yield url


@contextmanager
def server(ledger: Clone, folder: Path, **variables: str) -> Iterator[tuple[str, Child]]:
    """Its address and its process."""
    (port,) = ports.choose(1)
    url = f"http://127.0.0.1:{port}"
    env = clean_environment(PYTHONUNBUFFERED="1", DJANGO_SETTINGS_MODULE="config.settings") | ledger.environment
    env |= {
        name: str(getattr(settings, name))
        for name in (
            "SECRET_KEY",
            "LOG_KEY_FILE",
            "RECORD_KEY_FILE",
            *(n for n in dir(settings) if n.startswith("S3_")),
        )
        if getattr(settings, name)
    }
    env |= {"PROOFTRAIL_URL": url, "DATA_DIR": str(folder), "EMAIL_URL": "filemail://"} | variables
    child = services.start_web(env, port=port, logs=folder / "logs")
    try:
        services.wait_for_web(child, port=port)
        yield url, child
    finally:
        child.stop()
