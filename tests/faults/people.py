"""People of a site, with tokens of their own, and mail that reaches them."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from tests.e2e.scenario.stage import Stage, answered
from tests.faults.site import Site


def hire(site: Site, **roles: str) -> Stage:
    """The site as these people (name to role) use it."""
    people = {}
    for name, role in roles.items():
        email = f"{name}@example.com"
        made = site.manage("create_user", name.title(), "--email", email, "--role", role, "--json")
        people[name] = {"email": email, "password": json.loads(made)["password"]}
    stage = Stage(site.url, site.data_dir, {"people": people, "tokens": {}})
    stage.state["tokens"] = {name: _token(stage, name) for name in people}
    return stage


def _token(stage: Stage, name: str) -> str:
    with closing(stage.browser(name)) as browser:
        headers = {"X-CSRFToken": browser.cookies["csrftoken"], "Referer": stage.url}
        made = browser.post("/api/v1/tokens", json={"label": "faults", "days": 7}, headers=headers)
    return str(answered(made, 201)["token"])


class MailServer:
    """An SMTP server that comes and goes on one port, and keeps what it took."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.messages: list[EmailMessage] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        controller = Controller(self, hostname="127.0.0.1", port=self.port)
        controller.start()
        try:
            yield
        finally:
            controller.stop()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 -- aiosmtpd's hook
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        return "250 OK"

    def subjects(self, containing: str) -> list[str]:
        return [subject for one in self.messages if containing in (subject := str(one["Subject"]))]
