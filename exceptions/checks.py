"""What must hold of the exceptions' rules before the service starts."""

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register

from config.errors import InvalidError
from exceptions import policy, risk_policy
from exceptions.exchange.words import words


@register(Tags.files)
def policy_is_sound(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Read now: rules that cannot be read would stop reminders and refuse every request."""
    try:
        policy.load()
    except InvalidError as error:
        return [Error(error.detail, hint="Correct the member; docs/exceptions.md, Reminders.", id="exceptions.E001")]
    return []


@register(Tags.files)
def risk_scale_is_sound(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Without a scale no risk can be rated."""
    try:
        risk_policy.load()
    except InvalidError as error:
        return [Error(error.detail, hint="Correct the member; docs/risks.md, Scale.", id="exceptions.E002")]
    return []


@register(Tags.files)
def words_are_sound(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """What other tools' registers are understood by."""
    try:
        words()
    except InvalidError as error:
        return [Error(error.detail, hint="Correct the member; docs/risks.md, As a file.", id="exceptions.E003")]
    return []
