"""People whose sign-off is missing get one mail with a link: once for each manifest, whatever the worker does."""

import uuid
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from django.contrib.admin.utils import quote
from django.test import Client
from django.utils import timezone

from evidence import sign_offs
from evidence.ledger import Actor, append
from evidence.models import SignOffRequest
from evidence.records import plain_draft
from evidence.tasks import ask_for_sign_offs
from tests.evidence.admin.conftest import MANIFEST, as_, post_manifest, release  # noqa: F401  (fixtures)


def mails(mailbox: Path) -> list[tuple[str, str]]:
    found = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in sorted(mailbox.glob("*.eml"))]
    return sorted((str(mail["To"]), str(mail["Subject"])) for mail in found)


def addresses(mailbox: Path) -> list[str]:
    return [to for to, _ in mails(mailbox)]


ALL = ["bob@example.com", "cora@example.com", "lea@example.com"]


def test_it_asks_everybody_once_for_each_manifest(cast, release, mailbox):  # noqa: F811  (a fixture)
    for _ in range(3):
        ask_for_sign_offs()
    assert mails(mailbox)[0] == (
        "bob@example.com",
        "netlify-trading release-20260312 waits for your sign-off (qa)",
    )
    assert addresses(mailbox) == ALL
    sent = message_from_bytes(next(mailbox.glob("*.eml")).read_bytes(), policy=policy.default)
    text = sent.get_body(("plain",)).get_content()  # type: ignore[union-attr]  # it has a text
    assert f"/admin/evidence/release/{release.pk.replace(':', '_3A')}/approve/" in text
    assert release.manifest_digest in text
    post_manifest(cast, commit="c" * 40)
    ask_for_sign_offs()
    assert addresses(mailbox) == sorted(ALL * 2)


def test_two_workers_send_one_mail(cast, release, mailbox):  # noqa: F811  (a fixture)
    now = timezone.now()
    sign_offs.plan(now)
    rows = list(SignOffRequest.objects.to_send(now))
    sign_offs.plan(now)
    assert SignOffRequest.objects.count() == len(rows) == 3
    other = SignOffRequest.objects.get(pk=rows[0].pk)
    assert rows[0].claim(now, [timedelta(minutes=5)])
    assert not other.claim(now, [timedelta(minutes=5)])
    sign_offs.send_waiting(now)
    assert len(addresses(mailbox)) == 2


@pytest.mark.parametrize(
    ("changes", "asked"),
    [({"author": "bob@example.com"}, ["cora@example.com", "lea@example.com"]), ({"author": "Lea"}, ALL[:2])],
)
def test_it_asks_nobody_who_may_not(cast, release, mailbox, changes, asked):  # noqa: F811  (a fixture)
    post_manifest(cast, **changes)
    ask_for_sign_offs()
    assert addresses(mailbox) == asked


def test_it_does_not_ask_who_has_decided_meanwhile(cast, as_, release, mailbox):  # noqa: F811  (fixtures)
    sign_offs.plan(timezone.now())
    bob: Client = as_("bob")
    data = {"once": str(uuid.uuid4()), "role": "qa", "decision": "approved", "manifest_digest": release.manifest_digest}
    assert bob.post(f"/admin/evidence/release/{quote(release.pk)}/approve/", data).status_code == 302
    sign_offs.send_waiting(timezone.now())
    assert addresses(mailbox) == ALL[1:]
    assert SignOffRequest.objects.filter(state="dropped").count() == 1


def test_a_mail_server_that_is_away_is_tried_again(cast, release, settings, mailbox):  # noqa: F811  (a fixture)
    backend, settings.EMAIL_BACKEND = settings.EMAIL_BACKEND, "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    now = timezone.now()
    sign_offs.plan(now)
    assert sign_offs.send_waiting(now) == 0
    first = SignOffRequest.objects.order_by("pk").first()
    assert first is not None
    assert (first.state, first.attempts) == ("waiting", 1)
    assert first.last_error.startswith("ConnectionRefusedError")
    settings.EMAIL_BACKEND = backend
    assert sign_offs.send_waiting(first.next_attempt_at) == 3
    assert addresses(mailbox) == ALL


def test_history_asks_nobody(cast, mailbox):
    body = {"system": "netlify-trading", "tag": "r1", "type": "regular", "ticket_id": "T", "captain": "Cora"}
    body["ticket_url"] = "https://tickets.example.com/T"
    append(plain_draft({"kind": "release.opened", "body": body}, principal=cast.cora, actor=Actor(cast.cora.uid)))
    data = {"kind": "deploy.manifest", "release": "netlify-trading:r1", "body": MANIFEST}
    data["occurred_at"] = "2024-03-12T15:00:00Z"
    append(plain_draft(data, principal=cast.ci, actor=Actor(cast.ci.uid)))
    ask_for_sign_offs()
    assert addresses(mailbox) == []


def deploy(cast, release, **data):  # noqa: F811  (no fixture here)
    body = {"environment": "production", "manifest_digest": release.manifest_digest}
    data |= {"kind": "deploy.started", "release": release.pk, "body": body}
    return append(plain_draft(data, principal=cast.ci, actor=Actor(cast.ci.uid))).index


def test_it_asks_once_more_for_what_an_emergency_deploy_owes(cast, as_, release, mailbox):  # noqa: F811  (fixtures)
    ask_for_sign_offs()
    bob: Client = as_("bob")
    page = f"/admin/evidence/release/{quote(release.pk)}/approve/"
    data = {"once": str(uuid.uuid4()), "role": "qa", "decision": "approved", "manifest_digest": release.manifest_digest}
    assert bob.post(page, data).status_code == 302
    index = deploy(cast, release)
    before = set(mailbox.glob("*.eml"))
    post_manifest(cast, commit="c" * 40)  # a newer one asks everybody for itself, and changes nothing of what is owed
    for _ in range(2):
        ask_for_sign_offs()
    new = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in set(mailbox.glob("*.eml")) - before]
    late = {str(mail["To"]): mail for mail in new if "without your approval" in mail["Subject"]}
    assert sorted(late) == ALL[1:], "Bob had approved before the deploy"
    assert len(new) == len(ALL) + len(late)
    assert str(late["lea@example.com"]["Subject"]).startswith(
        "netlify-trading release-20260312 was deployed without your approval ("
    )
    for kind in ("plain", "html"):
        text = late["lea@example.com"].get_body((kind,)).get_content()  # type: ignore[union-attr]  # it has both
        assert "Your decision is due by" in text
        assert f"record #{index}" in text
        assert f"/approve/?manifest={release.manifest_digest}" in text


def test_a_deploy_before_anybody_was_asked_asks_once(cast, release, mailbox):  # noqa: F811  (a fixture)
    deploy(cast, release)
    for _ in range(2):
        ask_for_sign_offs()
    assert addresses(mailbox) == ALL
    assert all("without your approval" in subject for _, subject in mails(mailbox))


def test_it_does_not_ask_afterwards_who_has_decided_since(cast, as_, release, mailbox):  # noqa: F811  (fixtures)
    deploy(cast, release)
    sign_offs.plan(timezone.now())
    bob: Client = as_("bob")
    page = f"/admin/evidence/release/{quote(release.pk)}/approve/?role=qa&manifest={release.manifest_digest}"
    data = {"once": str(uuid.uuid4()), "role": "qa", "decision": "approved", "manifest_digest": release.manifest_digest}
    assert bob.post(page, data).status_code == 302
    sign_offs.send_waiting(timezone.now())
    assert addresses(mailbox) == ALL[1:]


def test_a_deploy_of_long_ago_asks_nobody_afterwards(cast, release, mailbox):  # noqa: F811  (a fixture)
    long_ago = (timezone.now() - timedelta(days=3)).isoformat()
    deploy(cast, release, occurred_at=long_ago)
    ask_for_sign_offs()
    assert not [subject for _, subject in mails(mailbox) if "without your approval" in subject]
