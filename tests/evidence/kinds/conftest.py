from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from evidence import kinds


@pytest.fixture
def declare(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Put documents into the company's folder, as a restart would find it: ``declare(text, …, name=file)``."""
    folder = tmp_path / "kinds"
    folder.mkdir()
    settings.KINDS_PATHS = [folder]
    kinds.load.cache_clear()

    def write(*documents: str, name: str = "company.yaml") -> Path:
        (folder / name).write_text("\n---\n".join(documents))
        kinds.load.cache_clear()
        return folder / name

    yield write
    kinds.load.cache_clear()
