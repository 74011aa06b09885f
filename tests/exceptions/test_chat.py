"""Chat channels: set up by a liaison, posted to once for each step, signed, and never a way into the own network."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from config.errors import ForbiddenError, InvalidError
from evidence.ledger import reader
from evidence.models import Circuit, Record, System, User
from evidence.outbox import RefusedError
from exceptions import chat
from exceptions.channels import save_channel
from exceptions.models import ChatChannel, Reminder
from tests.cast import PASSWORD, Cast
from tests.exceptions.conftest import Request, actor, in_days, round_at
from tests.exceptions.webhooks import PATH, Webhook, serving
from tests.smtp import Mailbox

BASE = "/admin/exceptions/chatchannel/"
LONG_AGO = {"effective_from": in_days(-25)}


@pytest.fixture
def webhook(settings: Settings) -> Iterator[Webhook]:
    with serving() as found:
        settings.CHAT_PRIVATE_ORIGINS = [found.origin]
        yield found


@pytest.fixture
def sign_in(cast: Cast) -> Callable[[User], Client]:
    def client(user: User) -> Client:
        found = Client()
        assert found.login(email=user.email, password=PASSWORD)
        return found

    return client


def now() -> datetime:
    return datetime.now(UTC)


def test_it_signs_as_the_specification_does() -> None:
    """The vector that the reference libraries are tested with."""
    at = datetime.fromtimestamp(1614265330, UTC)
    secret, name = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    headers = chat.signed(secret, name, at, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == (name, "1614265330")


def set_up(lea: Client, webhook: Webhook, system: System) -> tuple[ChatChannel, str]:
    """A channel, and its secret as the page shows it once."""
    fields = {"name": "#security", "url": webhook.url, "systems": [system.pk]}
    page = lea.post(BASE + "add/", fields).content.decode()
    (secret,) = re.findall(r"whsec_[A-Za-z0-9+/=]{44}", page)
    return ChatChannel.objects.get(), secret


def test_a_liaison_sets_up_a_channel_and_tries_it_out(
    cast: Cast, webhook: Webhook, sign_in: Callable[[User], Client], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lea = sign_in(cast.lea)
    channel, secret = set_up(lea, webhook, cast.trading)
    for user in (cast.alice, cast.ada, cast.max):
        assert sign_in(user).get(f"{BASE}{channel.pk}/change/").status_code == 403
    assert lea.post(f"{BASE}{channel.pk}/test/", follow=True).context["messages"]
    assert lea.get(f"{BASE}{channel.pk}/test/").status_code == 405
    (greeting,) = webhook.received
    assert greeting.is_signed_with(secret)
    webhook.status = 404
    assert "answered 404" in lea.post(f"{BASE}{channel.pk}/test/", follow=True).content.decode()
    webhook.status = 200
    tests = Record.objects.filter(kind="config.chat_test").order_by("index")
    assert [(row.outcome, row.principal) for row in tests] == [("delivered", cast.lea.uid), ("failed", cast.lea.uid)]
    tried, failed = (reader.get(row.index).recorded.body for row in tests)
    assert tried["message"] == webhook.received[0].headers["webhook-id"]
    assert failed["error"] == f"{webhook.origin} answered 404"

    shown = "".join(lea.get(url).content.decode() for url in (BASE, f"{BASE}{channel.pk}/change/"))
    recorded = [reader.get(row.index).recorded.body for row in Record.objects.filter(kind="config.chat_channel")]
    for text in (shown, json.dumps(recorded), caplog.text, bytes(channel.sealed_url).decode()):
        assert "as-good-as-a-password" not in text
        assert secret not in text
    assert {body["name"] for body in recorded} == {"#security"}
    assert {body["origin"] for body in recorded} == {webhook.origin}


def test_a_channel_hears_each_step_once(
    cast: Cast, approved: Request, smtp: Mailbox, webhook: Webhook, sign_in: Callable[[User], Client]
) -> None:
    channel, secret = set_up(sign_in(cast.lea), webhook, cast.trading)
    save_channel(actor=actor(cast.lea), name="other", url=webhook.url, systems=[cast.billing.pk])
    titles = ["<!channel> & *Old* TLS <https://evil.example|here>", "Second"]
    found = [approved(**LONG_AGO, expires_at=in_days(6), title=title) for title in titles]
    for _ in range(3):
        round_at(now())
    posts = webhook.received
    assert len(posts) == 2
    assert all(post.is_signed_with(secret) and post.path == PATH for post in posts)
    assert len({post.headers["webhook-id"] for post in posts}) == 2
    assert "." not in posts[0].headers["webhook-id"]
    told = json.dumps(posts[0].body)
    assert "&lt;!channel&gt; &amp; *Old* TLS &lt;https://evil.example|here&gt;" in told
    assert f"<http://testserver/admin/exceptions/securityexception/{found[0].pk}/change/|{found[0].pk}>" in told
    assert f"until {found[0].expires_at:%Y-%m-%d %H:%M:%S} UTC. From then on the gate asks for" in told
    rows = Record.objects.filter(kind="exception.reminded").order_by("index")
    bodies = [reader.get(row.index).recorded.body for row in rows]
    of_chat = [body for body in bodies if body["channel"] == "chat"]
    assert {body["recipient"] for body in of_chat} == {f"chat:{channel.pk}"}
    assert {body["message"] for body in of_chat} == {post.headers["webhook-id"] for post in posts}
    assert len(bodies) == 2 + 4  # and two mails of two


def test_a_new_secret_takes_the_old_ones_place_and_a_channel_is_switched_off(
    cast: Cast, webhook: Webhook, sign_in: Callable[[User], Client]
) -> None:
    lea = sign_in(cast.lea)
    channel, secret = set_up(lea, webhook, cast.trading)
    once = re.findall(r'name="once" value="([^"]+)"', lea.get(f"{BASE}{channel.pk}/secret/").content.decode())[0]
    lea.post(f"{BASE}{channel.pk}/secret/", {"once": once})
    lea.post(f"{BASE}{channel.pk}/test/")
    assert not webhook.received[-1].is_signed_with(secret)
    assert webhook.received[-1].path == PATH
    lea.post(f"{BASE}{channel.pk}/change/", {"name": "#security", "url": "", "systems": []})  # is_active not ticked
    channel.refresh_from_db()
    assert (channel.is_active, channel.systems) == (False, [])


def test_a_channel_that_is_away_costs_one_attempt_per_pause_and_loses_nothing(
    cast: Cast, approved: Request, smtp: Mailbox, webhook: Webhook
) -> None:
    channel = save_channel(actor=actor(cast.lea), name="#security", url=webhook.url).channel
    for _ in range(4):
        approved(**LONG_AGO, expires_at=in_days(6))
    webhook.status, moment = 503, now()
    for minute in range(60):
        round_at(moment + timedelta(minutes=minute))
    assert len(webhook.received) == 6  # at 0, 1, 6, 21, 36 and 51 minutes
    assert len(smtp.messages) == 2  # mail is another destination
    assert Circuit.objects.get().failures == 6
    webhook.status, webhook.received = 200, []
    assert round_at(moment + timedelta(minutes=66)) == 4
    assert sorted(body["attempts"] for body in chat_records()) == [2, 2, 3, 3]  # each in its turn
    assert Circuit.objects.get().failures == 0

    later = in_days(4)
    webhook.status, webhook.received = 400, []  # it does not want these messages
    round_at(later)
    assert len(webhook.received) == 4
    save_channel(actor=actor(cast.root), name="#security", channel=channel, active=False)
    webhook.received = []
    round_at(later + timedelta(hours=1))
    assert webhook.received == []
    assert not Reminder.objects.filter(state="waiting").exists()
    assert [body["outcome"] for body in chat_records()].count("failed") == 4


def chat_records() -> list[dict[str, Any]]:
    rows = Record.objects.filter(kind="exception.reminded")
    bodies = [reader.get(row.index).recorded.body for row in rows]
    return [body for body in bodies if body["channel"] == "chat"]


def test_many_at_once_are_one_post(cast: Cast, approved: Request, smtp: Mailbox, webhook: Webhook) -> None:
    save_channel(actor=actor(cast.lea), name="#security", url=webhook.url)
    for _ in range(11):
        approved(**LONG_AGO, expires_at=in_days(6))
    assert round_at(now()) == 33
    assert webhook.texts() == ["11 exceptions: the next expires in 6 days"]
    assert {body["digest"] for body in chat_records()} == {11}


def test_it_posts_nowhere_inside_and_follows_nobody(cast: Cast, webhook: Webhook, settings: Settings) -> None:
    def save(url: str) -> ChatChannel:
        return save_channel(actor=actor(cast.root), name="c", url=url).channel

    own = f"http://localhost:{webhook.port}/x"  # which is another origin than the one that is listed
    for url in (own, "http://hooks.slack.com/x", "ftp://a/b", "https://u:p@a/b", "x", ""):
        with pytest.raises(InvalidError) as refused:
            save(url)
        assert refused.value.code == "channel_url"
    channel = save(webhook.url)
    webhook.status, webhook.headers = 307, {"Location": f"{webhook.origin}/inside"}
    with pytest.raises(chat.AwayError, match="answered 307"):
        chat.greeting(channel).send()
    assert [one.path for one in webhook.received] == [PATH]
    webhook.status = 413
    with pytest.raises(RefusedError, match="answered 413"):
        chat.greeting(channel).send()
    settings.CHAT_PRIVATE_ORIGINS = []  # judged anew at each post
    with pytest.raises(chat.AwayError):
        chat.greeting(channel).send()
    for host in ("127.0.0.1", "169.254.169.254", "[::1]", "localhost"):
        save_channel(actor=actor(cast.root), name="c", url=f"https://{host}/secret", channel=channel)
        with pytest.raises(chat.AwayError, match="not public") as away:
            chat.greeting(ChatChannel.objects.get()).send()
        assert "secret" not in str(away.value)
    settings.SECRET_KEY = "another" * 10
    with pytest.raises(chat.AwayError, match="enter the URL of c again"):
        chat.greeting(channel).send()


def test_who_sees_some_systems_sets_up_channels_about_those(cast: Cast, webhook: Webhook) -> None:
    cast.lea.systems.set([cast.billing])
    everything = save_channel(actor=actor(cast.root), name="all", url=webhook.url).channel
    refused = [
        (cast.lea, "x", [], None),
        (cast.lea, "x", [cast.trading.pk], None),
        (cast.lea, "all", [cast.billing.pk], everything),
        (cast.alice, "x", [], None),
    ]
    for user, name, systems, channel in refused:
        with pytest.raises(ForbiddenError):
            save_channel(actor=actor(user), name=name, url=webhook.url, systems=systems, channel=channel)
    assert save_channel(actor=actor(cast.lea), name="x", url=webhook.url, systems=[cast.billing.pk]).secret
