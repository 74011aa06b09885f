"""CI jobs sign in: an id-token for an access token."""

from drf_spectacular.utils import extend_schema, extend_schema_serializer, inline_serializer
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api.strict import StrictSerializer
from evidence.api.actors import check_key
from evidence.api.parsers import raw_body
from evidence.oidc import exchange, idtokens


class OidcExchange(APIView):
    """The one call that needs no credential: the id-token is one."""

    authentication_classes = ()
    permission_classes = [AllowAny]

    @extend_schema_serializer(component_name="OidcIn")
    class Input(StrictSerializer):
        id_token = serializers.CharField(max_length=idtokens.MAX_LENGTH, trim_whitespace=False)
        pipeline = serializers.CharField(max_length=80, required=False)

    @extend_schema(
        operation_id="auth_oidc",
        tags=["auth"],
        auth=[],
        request=Input,
        responses={
            201: inline_serializer(
                "OidcOut",
                {
                    "access_token": serializers.CharField(),
                    "token_type": serializers.CharField(),
                    "expires_in": serializers.IntegerField(),
                    "expires_at": serializers.DateTimeField(),
                    "pipeline": serializers.DictField(child=serializers.CharField()),
                    "policy": serializers.CharField(),
                    "claims": serializers.DictField(child=serializers.CharField()),
                },
            )
        },
    )
    def post(self, request: Request) -> Response:
        """A CI job's id-token (GitHub, GitLab, any issuer with a trust policy) for a 15-minute access token.

        Each id-token is good for one access token; a retry with the same Idempotency-Key gets the first answer.
        """
        key = request._request.META.get("HTTP_IDEMPOTENCY_KEY")
        if key is not None:
            check_key(key)
        data = self.Input(data=request.data)
        data.is_valid(raise_exception=True)
        found = exchange.exchange(
            data.validated_data["id_token"],
            pipeline=data.validated_data.get("pipeline"),
            key=key,
            body=raw_body(request._request),
        )
        pipeline = found.policy.pipeline
        headers = {"Cache-Control": "no-store"} | ({"Idempotency-Replayed": "true"} if found.replayed else {})
        return Response(
            {
                "access_token": found.new.text,
                "token_type": "Bearer",
                "expires_in": int(exchange.LIFE.total_seconds()),
                "expires_at": found.new.token.expires_at.isoformat(),
                "pipeline": {"id": pipeline.uid, "name": pipeline.name},
                "policy": found.policy.name,
                "claims": found.claims,
            },
            status=200 if found.replayed else 201,
            headers=headers,
        )
