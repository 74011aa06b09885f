"""GET kinds: what may be recorded here, with schemas and versions."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.errors import MissingError
from evidence import kinds
from evidence.api.permissions import INSIDE, opens_to
from evidence.kinds import Kind


def described(kind: Kind) -> dict[str, Any]:
    """A version of a kind, as its YAML says it."""
    return {
        "kind": kind.name,
        "version": kind.version,
        "title": kind.title,
        "description": kind.description,
        "predicate_type": kind.predicate_types[0],
        "predicate_types": kind.predicate_types,
        "retention": kind.retention,
        "posted_by": sorted(kind.posted_by),
        "retired": kind.retired,
        "needs_release": kind.needs_release,
        "needs_artifact": kind.needs_artifact,
        "outcome": kind.own.outcome,
        "outcomes": sorted(set(kind.outcomes())),
        "time": kind.own.time,
        "facts": kind.own.facts,
        "schema": kind.schema,
    }


class KindList(APIView):
    """The evidence kinds of this installation with their JSON Schemas, each in the version in force."""

    permission_classes = [opens_to(*INSIDE, "auditor", pipelines=True)]

    @extend_schema(operation_id="kinds_list", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        loaded = kinds.load()
        shown = [described(kind) for kind in (*loaded.by_name.values(), *loaded.families.values())]
        return Response({"revision": loaded.revision, "kinds": shown})


class KindDetail(APIView):
    """One evidence kind: the version in force, and all that there are."""

    permission_classes = [opens_to(*INSIDE, "auditor", pipelines=True)]

    @extend_schema(operation_id="kinds_retrieve", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, name: str) -> Response:
        loaded = kinds.load()
        kind = loaded.find(name)
        if kind is None:
            raise MissingError(f"There is no evidence kind {name!r}. Known: GET /api/v1/kinds.", code="kind_unknown")
        versions = loaded.versions(name) or [kind]
        return Response(described(kind) | {"versions": [described(version) for version in versions]})
