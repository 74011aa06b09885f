"""A person's own access tokens."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_serializer, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api.strict import StrictSerializer
from config.errors import ForbiddenError, MissingError
from evidence.api.actors import actor_of, person_of
from evidence.api.permissions import INSIDE, opens_to
from evidence.api.receipts import receipt_of
from evidence.models import Token
from evidence.people import issue_token, revoke_token

_PEOPLE = opens_to(*INSIDE, "auditor")


class TokenList(APIView):
    permission_classes = [_PEOPLE]

    @extend_schema_serializer(component_name="TokenIn")
    class Input(StrictSerializer):
        label = serializers.CharField(max_length=120)  # type: ignore[assignment]  # shadows a field option
        days = serializers.FloatField(min_value=0.01, max_value=90, default=1)

    @extend_schema(
        operation_id="tokens_create",
        request=Input,
        responses={
            201: inline_serializer(
                "TokenOut", {n: serializers.CharField() for n in ("id", "token", "label", "expires_at")}
            )
        },
    )
    def post(self, request: Request) -> Response:
        """A token for the command line, at most 90 days; its text is answered once. Needs a session, not a token."""
        if request.auth is not None:
            raise ForbiddenError("A token does not make tokens: sign in.", code="session_required")
        data = self.Input(data=request.data)
        data.is_valid(raise_exception=True)
        new = issue_token(person_of(request), actor=actor_of(request), scopes=["person"], **data.validated_data)
        return Response(
            {
                "id": new.token.pk,
                "token": new.text,
                "label": new.token.label,
                "expires_at": new.token.expires_at.isoformat(),
            },
            status=201,
        )


class TokenRevoke(APIView):
    permission_classes = [_PEOPLE]

    @extend_schema(operation_id="tokens_revoke", request=None, responses={200: OpenApiTypes.OBJECT})
    def post(self, request: Request, token_id: str) -> Response:
        """End one of your own tokens now."""
        token = Token.objects.filter(pk=token_id, user=person_of(request), revoked_at=None).first()
        if token is None:
            raise MissingError("You have no such token.", code="token_unknown")
        placed = revoke_token(token, actor=actor_of(request), reason="revoked by its owner")
        return Response({"revoked": token.pk, "receipt": receipt_of(placed)})
