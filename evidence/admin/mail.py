"""What was mailed, on a machine without a mail server. Only names that the folder lists are ever opened."""

import email
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage, Message
from email.policy import default
from email.utils import parsedate_to_datetime
from pathlib import Path

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from evidence.admin.forms import page
from evidence.admin.navigation import mail_is_kept
from evidence.admin_base import has_role

PAGE = 50
#: A shown message loads nothing and runs nothing, whatever it says.
_CLOSED = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"


@dataclass(frozen=True)
class Mail:
    name: str
    message: EmailMessage

    @property
    def subject(self) -> str:
        return str(self.message["subject"] or "(no subject)")

    @property
    def to(self) -> str:
        return str(self.message["to"] or "")

    @property
    def sender(self) -> str:
        return str(self.message["from"] or "")

    @property
    def sent(self) -> datetime | None:
        try:
            return parsedate_to_datetime(str(self.message["date"]))
        except (TypeError, ValueError):
            return None

    def part(self, kind: str) -> str | None:
        """The body as ``plain`` or ``html``."""
        body = self.message.get_body((kind,))
        return str(body.get_content()) if body is not None else None

    @property
    def attachments(self) -> list[tuple[str, str, bytes]]:
        """(name, media type, content) of each."""
        return [
            (part.get_filename() or "attachment", part.get_content_type(), _bytes(part))
            for part in self.message.iter_attachments()
        ]


def _bytes(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else part.as_bytes()


def _files() -> list[Path]:
    """Newest first: names begin with the time."""
    return sorted(Path(settings.EMAIL_FILE_PATH).glob("*.eml"), reverse=True)


def _open(path: Path) -> Mail:
    message = email.message_from_bytes(path.read_bytes(), policy=default)
    return Mail(path.name, message)


def _allowed(request: HttpRequest) -> None:
    if not has_role(request, ()):
        raise PermissionDenied
    if not mail_is_kept():
        raise Http404("mail is sent from here, not kept")


def _named(name: str) -> Mail:
    found = next((path for path in _files() if path.name == name), None)
    if found is None:
        raise Http404(f"there is no mail {name}")
    return _open(found)


def index(request: HttpRequest) -> HttpResponse:
    _allowed(request)
    shown = Paginator(_files(), PAGE).get_page(request.GET.get("p"))
    return page(request, "evidence/mail.html", title="Mail", mails=[_open(path) for path in shown], shown=shown)


def message(request: HttpRequest, name: str) -> HttpResponse:
    _allowed(request)
    mail = _named(name)
    html = mail.part("html")
    return page(
        request,
        "evidence/mail_message.html",
        title=mail.subject,
        crumbs=[(reverse("admin:mail"), "Mail")],
        mail=mail,
        text=mail.part("plain"),
        html=_CLOSED + html if html else None,
    )


def attachment(request: HttpRequest, name: str, number: int) -> HttpResponse:
    _allowed(request)
    attachments = _named(name).attachments
    if number >= len(attachments):
        raise Http404("there is no such attachment")
    filename, media_type, content = attachments[number]
    response = HttpResponse(content, content_type=media_type)
    safe = "".join(c if c.isalnum() or c in "._- " else "_" for c in filename)
    response["Content-Disposition"] = f'attachment; filename="{safe}"'
    return response
