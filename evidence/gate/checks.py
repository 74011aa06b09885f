"""System check: a gate policy that is not one must stop the start, not the first release."""

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Error, register

from config.errors import InvalidError
from evidence.gate import policy


@register()
def policy_is_valid(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        policy.load()
    except InvalidError as error:
        hint = "Correct policies/gate.yaml in a folder of PROOFTRAIL_DATA_PATHS (docs/gate.md)."
        return [Error(error.detail, hint=hint, id="evidence.E020")]
    return []
