"""Who asks, where permissions have let only people in."""

from rest_framework.request import Request

from evidence.models import User


def person_of(request: Request) -> User:
    if not isinstance(request.user, User):
        raise TypeError("this view is for people")
    return request.user
