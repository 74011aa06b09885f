"""Serializers of what is written: a member that a call does not know is refused, not dropped.

A dropped `aprover` would be a decision that somebody else reads in the answer. As with the bodies of records, the
refusal is 422 ``body_invalid`` and names the member's place.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

CODE = "body_invalid"


class StrictSerializer(serializers.Serializer[Any]):
    """Base of every serializer that reads a request's body."""

    def to_internal_value(self, data: Any) -> Any:
        refuse_unknown(data, self.fields)
        return super().to_internal_value(data)


def refuse_unknown(data: Any, known: Iterable[str]) -> None:
    """Raises ValidationError, with a row for each member of an object that is none of `known`."""
    if not isinstance(data, Mapping):
        return
    names = list(known)
    hint = f"There is no such member here; there are {', '.join(names)}." if names else "There is no such member."
    unknown = sorted(str(name) for name in data if name not in names)
    if unknown:
        raise ValidationError({name: [ErrorDetail(hint, code=CODE)] for name in unknown})


class StrictBoolean(serializers.BooleanField):
    """true or false, in a form as text; no number and no other word for it."""

    def to_internal_value(self, data: Any) -> bool:
        if data in ("true", "false"):
            return bool(data == "true")
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data
