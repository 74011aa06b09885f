"""The log as a stranger reads it: checkpoint, keys, consistency."""

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.errors import ForbiddenError, InvalidError, MissingError
from evidence import keylist
from evidence.api.permissions import token_has_scope
from evidence.ledger import reader
from evidence.tlog import b64


class ReadsLog(BasePermission):
    """Everybody where the log is public, else whoever authenticates with the scope ``log:read``."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if settings.LOG_PUBLIC:
            return True
        if request.user is None:
            return False
        if not token_has_scope(request.auth, "log:read"):
            raise ForbiddenError("The token's scopes do not include log:read.", code="scope_missing")
        return True


class LogCheckpoint(APIView):
    permission_classes = [ReadsLog]

    @extend_schema(operation_id="log_checkpoint", responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        """The newest signed checkpoint (C2SP tlog-checkpoint)."""
        note = reader.latest_note()
        if note is None:
            raise MissingError("The log is empty: nothing has been recorded yet.", code="log_empty")
        return HttpResponse(note.text, content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"})


class LogKeys(APIView):
    permission_classes = [ReadsLog]

    @extend_schema(operation_id="log_keys", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        """Every key that ever signed: the log's with the tree sizes they sign, the record keys with their indexes.

        ``introduced`` and ``ended`` are receipts of the records that say so: whoever trusts a key comes by them to
        trust its successor (docs/ledger.md, Keys).
        """
        return Response(keylist.answer())


class LogConsistency(APIView):
    permission_classes = [ReadsLog]

    @extend_schema(
        operation_id="log_consistency",
        parameters=[OpenApiParameter(name, OpenApiTypes.INT, required=True) for name in ("from", "to")],
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request) -> Response:
        """The consistency proof between two tree sizes (RFC 6962 section 2.1.2)."""
        sizes = [request.query_params.get(name, "") for name in ("from", "to")]
        if not all(size.isdecimal() and len(size) <= 18 for size in sizes):
            raise InvalidError("Give from and to as tree sizes.", code="invalid", where="from")
        old, new = (int(size) for size in sizes)
        if not 0 < old <= new <= reader.size():
            raise InvalidError(
                f"Sizes go from 1 to {reader.size()}, from before to.", code="size_unknown", where="from"
            )
        return Response({"from": old, "to": new, "hashes": [b64.encode(h) for h in reader.consistency(old, new)]})
