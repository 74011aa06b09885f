"""Mail as it was delivered: one file each in the data folder's mail folder."""

import os
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from tests.e2e.scenario.stage import Stage


def messages_to(stage: Stage, address: str) -> list[EmailMessage]:
    """Messages to an address, oldest first."""
    folder = Path(os.environ.get("MAIL_FOLDER", stage.data_dir / "mail"))
    parsed = [message_from_bytes(path.read_bytes(), policy=default) for path in sorted(folder.glob("*.eml"))]
    return [mail for mail in parsed if isinstance(mail, EmailMessage) and address in str(mail["To"])]
