"""What must hold of the exceptions' rules before the service starts."""

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register

from config.errors import InvalidError
from exceptions import policy


@register(Tags.files)
def policy_is_sound(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Read now: rules that cannot be read would stop reminders and refuse every request."""
    try:
        policy.load()
    except InvalidError as error:
        return [Error(error.detail, hint="Correct the member; docs/exceptions.md, Reminders.", id="exceptions.E001")]
    return []
