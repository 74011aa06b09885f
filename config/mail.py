"""Mail as files, for a machine without a mail server: one complete message each, to be read by any mail program."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


class FileBackend(BaseEmailBackend):
    """Writes each message to ``EMAIL_FILE_PATH/<time>-<id>.eml``: sorted by name is sorted by time."""

    def __init__(self, fail_silently: bool = False, file_path: str | None = None, **kwargs: Any) -> None:
        super().__init__(fail_silently=fail_silently, **kwargs)
        self.folder = Path(file_path or settings.EMAIL_FILE_PATH)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Written whole or not at all: a reader of the folder never sees half a message."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sent = 0
        for message in email_messages:
            if message.recipients():
                self._write(message.message().as_bytes())
                sent += 1
        return sent

    def _write(self, message: bytes) -> None:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid4().hex[:8]}"
        unfinished = self.folder / f".{name}.unfinished"
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(message)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self.folder / f"{name}.eml")
