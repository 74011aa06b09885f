"""Registers that come as the file of a multipart form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import RequestDataTooBig, TooManyFilesSent
from django.core.files.uploadedfile import UploadedFile
from django.http.multipartparser import MultiPartParserError
from rest_framework.request import Request

from config.errors import InvalidError
from evidence.api.parsers import parse_json
from exceptions.importing.archive import too_large

#: What a form holds beside its file.
_REST = 1024 * 1024


@dataclass(frozen=True)
class Upload:
    """A file and what the form says of it. Of one that is too long `data` has a byte more than is taken."""

    filename: str
    data: bytes
    #: The mapping as it was parsed; None where the form has none.
    said: Any
    fields: Mapping[str, Any]

    def flag(self, name: str) -> bool:
        """``true`` or ``false``, which is meant where nothing is said."""
        text = self.fields.get(name, "false")
        if text not in ("true", "false"):
            raise InvalidError(f"{name} is true or false.", code="invalid", where=f"$.{name}")
        return bool(text == "true")


def upload(request: Request, most: int) -> Upload:
    """The `file` of the form, at most so many bytes, and its `mapping`.

    Raises TooLargeError ``sheet_too_large`` before the body is read; InvalidError ``form_malformed``,
    ``file_missing``, and what `parse_json` raises of a mapping.
    """
    if int(request.META.get("CONTENT_LENGTH") or 0) > most + _REST:
        raise too_large(most)
    try:
        fields: Any = request.data
        file = request.FILES.get("file")
    except (MultiPartParserError, TooManyFilesSent, RequestDataTooBig) as error:
        raise InvalidError(f"The form cannot be read: {error}", code="form_malformed") from None
    if not isinstance(file, UploadedFile):
        raise InvalidError("Send the register as `file` of a multipart form.", code="file_missing", where="$.file")
    said = str(fields.get("mapping") or "")
    return Upload(file.name or "", file.read(most + 1), parse_json(said.encode()) if said else None, fields)
