"""Retention classes of seconds, brought by a company's own data folder: no clock of the product is moved."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from evidence import kinds, people, retention
from evidence.ledger import Actor, append, service_draft
from evidence.models import System
from evidence.models.people import SERVICE
from evidence.setup import ensure_signing_keys
from tests.conftest import Clone

KINDS = """
kind: custom.brief
title: Kept for a blink
retention: blink
posted_by: [pipeline]
facts: {note: /note}
---
kind: custom.file
title: A file kept for a blink
retention: blink
posted_by: [pipeline]
needs_artifact: true
"""
CLASSES = "blink: {title: A second, period: PT1S}\nmoment: {title: Two seconds, period: PT2S}\n"


@pytest.fixture
def company(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """A data folder with a class of one second and kinds that use it."""
    for folder, name, text in [("kinds", "brief.yaml", KINDS), ("policies", "retention.yaml", CLASSES)]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    settings.DATA_PATHS = [tmp_path]
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    kinds.load.cache_clear()
    retention.classes.cache_clear()


@pytest.fixture
def system(ledger: Clone, company: Path) -> System:
    ensure_signing_keys()
    return people.save_system(actor=Actor(SERVICE), name="netlify-trading")


Post = Callable[..., int]


@pytest.fixture
def post(system: System) -> Post:
    """Append a record of the service's and return its index."""

    def append_one(kind: str, body: dict[str, Any], **more: Any) -> int:
        draft = service_draft(kind, body, actor=more.pop("actor", Actor(SERVICE)), systems=[system.id], **more)
        return append(draft).index

    return append_one
