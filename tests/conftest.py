"""Fixtures for all tests. Engines are real and start when first asked for; pure tests start none.

- ``ledger``: a migrated, empty database of its own for the test, with the broker beside it; the service
  connects as its runtime role. ``db`` is the same. Its value is a `Clone`: ``ledger.owner_url``,
  ``ledger.superuser()`` (a psycopg connection for tampering), ``ledger.environment`` (for a subprocess).
- ``superuser``, ``owner``: autocommit psycopg connections to that database under those roles.
- ``own_key_files``: the signing keys in files of the test's own, which it may change.
- ``s3``: a boto3 client that may do everything; ``settings.S3_*`` point at its bucket (Object Lock on),
  ``settings.S3_BUCKET``, with the service's own narrow credentials.
- ``anchors``: the same client; ``settings.S3_ANCHOR_*`` point at a folder of the test's own in the bucket of anchors.
- ``broker``: Valkey's URL, emptied for the test.
- ``mailbox``: the folder where the test's mails are written, one ``.eml`` each.
- ``smtp``: a mail server that the service sends through instead, and what it was handed.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
import redis
from pytest_django import DjangoDbBlocker, Settings

from config.stack import postgres
from config.stack.valkey import DATABASES as VALKEY_DATABASES
from tests import engines
from tests.smtp import Mailbox, serving

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def pytest_unconfigure(config: pytest.Config) -> None:
    engines.end_run()


@dataclass(frozen=True)
class Clone:
    """One test's database."""

    name: str
    broker_url: str

    @property
    def runtime_url(self) -> str:
        return engines.url(postgres.RUNTIME, self.name)

    @property
    def owner_url(self) -> str:
        return engines.url(postgres.OWNER, self.name)

    @property
    def environment(self) -> dict[str, str]:
        """What a process of the service needs to work on this database."""
        return {"DATABASE_URL": self.runtime_url, "BROKER_URL": self.broker_url}

    def superuser(self) -> psycopg.Connection[Any]:
        """A connection that no role stops: tests tamper through it."""
        return engines.server().connect(self.name)


@pytest.fixture
def ledger(settings: Settings, broker: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Clone]:
    with cloned(broker, django_db_blocker) as clone:
        yield clone


@contextmanager
def cloned(broker: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Clone]:
    """An installation of its own; inside another one, that one is there again afterwards."""
    from django.db import connections

    _stop_appender()  # a test that loaded the web application left its process grouping commits and counting replays
    clone = Clone(f"test_{uuid4().hex}", broker)
    postgres.ensure_database(engines.server(), clone.name, template=engines.template())
    at = connections.settings["default"]  # the dict from which every thread's connection is made
    before = {key: at[key] for key in ("NAME", "HOST", "PORT", "USER", "PASSWORD")}
    dsn = psycopg.conninfo.conninfo_to_dict(clone.runtime_url)
    connections.close_all()
    at.update(NAME=clone.name, HOST=dsn["host"], PORT=dsn["port"], USER=dsn["user"], PASSWORD=dsn["password"])
    try:
        with django_db_blocker.unblock():
            yield clone
            _stop_appender()
            connections.close_all()
    finally:
        at.update(before)
        with engines.server().connect() as connection:
            connection.execute(f"DROP DATABASE {clone.name} WITH (FORCE)")


@pytest.fixture
def own_key_files(ledger: Clone, settings: Settings, tmp_path: Path) -> None:
    for name in ("LOG_KEY_FILE", "RECORD_KEY_FILE"):
        copy = tmp_path / f"{name.lower()}.pem"
        shutil.copy(getattr(settings, name), copy)
        setattr(settings, name, str(copy))


def _stop_appender() -> None:
    from evidence import authority, repeats
    from evidence.ledger import appender, head, loop

    appender.stop()
    loop.stop()
    repeats.stop()
    authority.forget()
    head.forget()  # the next test's log starts over


@pytest.fixture
def db(ledger: Clone) -> Clone:
    """pytest-django's own `db` would flush, which the ledger refuses: a test's database is a clone."""
    return ledger


@pytest.fixture
def superuser(ledger: Clone) -> Iterator[psycopg.Connection[Any]]:
    with ledger.superuser() as connection:
        yield connection


@pytest.fixture
def owner(ledger: Clone) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(ledger.owner_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def broker(settings: Settings, worker_id: str) -> str:
    number = int(worker_id.removeprefix("gw")) % VALKEY_DATABASES if worker_id != "master" else 0
    url = engines.valkey(number)
    with redis.Redis.from_url(url) as connection:
        connection.flushdb()
    settings.CELERY_BROKER_URL = url
    from config.celery import app

    app.conf.broker_url = app.conf.broker_write_url = app.conf.broker_read_url = url
    return url


@pytest.fixture
def s3(settings: Settings) -> "S3Client":
    store = engines.seaweed()
    settings.S3_ENDPOINT_URL = store.url
    settings.S3_BUCKET = engines.BUCKET
    settings.S3_REGION = store.region
    settings.S3_ACCESS_KEY_ID = store.credentials.service.access_key
    settings.S3_SECRET_ACCESS_KEY = store.credentials.service.secret_key
    return store.client()


@pytest.fixture
def anchors(s3: "S3Client", settings: Settings) -> "S3Client":
    credential = engines.seaweed().credentials.anchors
    settings.S3_ANCHOR_BUCKET = engines.ANCHOR_BUCKET
    settings.S3_ANCHOR_PREFIX = f"{uuid4().hex}/"
    settings.S3_ANCHOR_ACCESS_KEY_ID = credential.access_key
    settings.S3_ANCHOR_SECRET_ACCESS_KEY = credential.secret_key
    return s3


@pytest.fixture
def mailbox(settings: Settings, tmp_path: Path) -> Path:
    settings.EMAIL_BACKEND = "config.mail.FileBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")
    return tmp_path / "mail"


@pytest.fixture
def smtp(settings: Settings) -> Iterator[Mailbox]:
    mailbox = Mailbox()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with serving(mailbox) as port:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
        yield mailbox
