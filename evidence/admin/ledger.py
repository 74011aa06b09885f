"""The ledger as one page: how large, under which root, signed by whom, and how to check it without us."""

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from evidence.admin.forms import page as admin_page
from evidence.admin_base import has_role
from evidence.api.permissions import INSIDE
from evidence.ledger import reader
from evidence.models import SigningKey
from evidence.tlog import b64
from evidence.tlog.checkpoint import parse_checkpoint
from evidence.tlog.note import parse_note


def page(request: HttpRequest) -> HttpResponse:
    if not has_role(request, (*INSIDE, "auditor")):
        raise PermissionDenied
    note = reader.latest_note()
    checkpoint = parse_checkpoint(parse_note(note.text).text) if note else None
    keys = list(SigningKey.objects.order_by("purpose", "from_size"))
    in_force = [key for key in keys if key.purpose == "log" and key.to_size is None]
    return admin_page(
        request,
        "evidence/ledger.html",
        title="Ledger",
        note=note,
        checkpoint=checkpoint,
        root=b64.encode(checkpoint.root) if checkpoint else "",
        keys=keys,
        newest=in_force[-1] if in_force else None,
        url=settings.PROOFTRAIL_URL,
    )
