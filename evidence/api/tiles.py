"""The log's tiles and entry bundles (C2SP tlog-tiles): enough for any client to audit the whole log."""

from collections.abc import Sequence

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.views import APIView

from config.errors import MissingError
from evidence.api.log import ReadsLog
from evidence.ledger import reader
from evidence.tlog.errors import MalformedError
from evidence.tlog.tiles import TILE, encode_bundle, parse_entries_path, parse_tile_path

_YEAR = 31_536_000


class LogTile(APIView):
    permission_classes = [ReadsLog]

    def get_authenticators(self) -> Sequence[BaseAuthentication]:  # type: ignore[override]  # any sequence does
        """A public log asks nobody who they are: its tiles are the same for all, and caches may share them."""
        return [] if settings.LOG_PUBLIC else super().get_authenticators()

    @extend_schema(
        operation_id="log_tile",
        parameters=[
            OpenApiParameter(
                "path",
                OpenApiTypes.STR,
                OpenApiParameter.PATH,
                description="`<L>/<N>[.p/<W>]` for hashes, `entries/<N>[.p/<W>]` for leaves",
            )
        ],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, path: str) -> HttpResponse:
        """A tile of 256 hashes or a bundle of 256 leaves; with `.p/<W>` the first W of them, as soon as they exist."""
        content, width = _content(f"tile/{path}")
        headers = {"Cache-Control": _cache_control(width)}
        return HttpResponse(content, content_type="application/octet-stream", headers=headers)


def _content(path: str) -> tuple[bytes, int]:
    """Bytes and width of what lies at `path`. Raises MissingError: not there yet, or never."""
    try:
        if path.startswith("tile/entries/"):
            number, width = parse_entries_path(path)
            return encode_bundle(reader.bundle(number, width)), width
        tile = parse_tile_path(path)
        return reader.tile(tile.level, tile.n, tile.width), tile.width
    except MalformedError as error:
        raise MissingError(
            f"{path} is {error}: write tile/<L>/<N>, N in groups of three digits (x001/x234/067), and .p/<W>, "
            "1 to 255, for a partial one.",
            code="tile_path_malformed",
        ) from None


def _cache_control(width: int) -> str:
    """A full tile never changes. A partial one does not either, but the full one replaces it."""
    if width < TILE:
        return "no-store"
    return f"{'public' if settings.LOG_PUBLIC else 'private'}, max-age={_YEAR}, immutable"
