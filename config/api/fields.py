"""Serializer fields that take what they say and nothing near it."""

from typing import Any

from rest_framework import serializers


class Text(serializers.RegexField):
    """A string of a pattern. Django REST framework's own would take a number, too, and write it as one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        return text
