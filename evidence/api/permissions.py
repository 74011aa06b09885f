"""Closed by default: a view opens itself to roles or pipelines by name."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from evidence.models import Pipeline, Token, User


class Closed(BasePermission):
    """The default: nobody."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return False


def opens_to(*roles: str, pipelines: bool = False) -> type[BasePermission]:
    """People with one of `roles` (administrators always), and pipelines if said so."""

    class Opens(BasePermission):
        message = "Your role does not allow this."

        def has_permission(self, request: Request, view: Any) -> bool:
            if isinstance(request.user, Pipeline):
                return pipelines
            return isinstance(request.user, User) and request.user.has_role("admin", *roles)

    return Opens


#: The roles of everybody who works inside the company: auditors see packs, not the register.
INSIDE = ("liaison", "engineer", "approver", "captain", "executive")


class Writes(BasePermission):
    """A pipeline's token needs the scope records:write; people are limited by their roles."""

    message = "The token's scopes do not include records:write."

    def has_permission(self, request: Request, view: Any) -> bool:
        return token_has_scope(request.auth, "records:write")


PipelineOrPeople = opens_to(*INSIDE, pipelines=True)


def token_has_scope(auth: object, scope: str) -> bool:
    """Whether the credential carries a scope; sessions and people's tokens are limited by role instead."""
    return not isinstance(auth, Token) or auth.user_id is not None or scope in auth.scopes
