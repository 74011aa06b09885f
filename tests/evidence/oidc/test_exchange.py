"""POST auth/oidc: whose id-tokens are taken, what the access token may do, and what is refused with which code."""

import base64
import hashlib
import hmac
import json
import time
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.utils import timezone

from config.errors import ForbiddenError
from evidence import authority
from evidence.api.actors import actor_for
from evidence.ledger import reader
from evidence.ledger.check import check
from evidence.models import Record, Token, UsedIdToken
from evidence.models.people import Limits
from evidence.oidc import exchange, issuers
from evidence.oidc.policies import end_policy
from evidence.people import change_pipeline, create_pipeline
from tests.evidence.conftest import RELEASE, Api
from tests.evidence.oidc.issuer import job

DECISION = {
    "kind": "decision",
    "system": "netlify-trading",
    "body": {"title": "A", "decision": "B", "rationale": "C"},
}


def ask(anybody, token, key=None, **more):
    headers = {"Idempotency_Key": key} if key else {}
    return anybody.post("auth/oidc", {"id_token": token} | more, **headers)


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_it_gives_a_job_a_short_access_token_whose_claims_stand_in_each_record(anybody, issuer, trust, cast):
    policy = trust()
    answer = ask(anybody, issuer.token())
    assert answer.status_code == 201, answer.content
    assert "no-store" in answer["Cache-Control"]
    found = answer.json()
    assert (found["token_type"], found["expires_in"], found["pipeline"]["name"]) == ("Bearer", 900, "ci")
    job_api = Api(found["access_token"])
    assert job_api.post("releases", RELEASE).status_code == 201
    index = job_api.post("records", DECISION).json()["index"]
    placed = reader.get(index)
    claims = placed.recorded.context["claims"]
    assert placed.recorded.leaf.by == cast.ci.uid
    assert claims == {
        "iss": issuer.url,
        "aud": policy.audience,
        "jti": claims["jti"],
        "trust_policy": policy.pk,
        **job(),
    }
    created = reader.get(Record.objects.filter(kind="access.token_created").latest("index").index).recorded
    assert (created.body["policy"], created.context["claims"]) == (policy.pk, claims)
    assert found["access_token"].encode() not in b"".join(row.envelope or b"" for row in reader.read(0, reader.size()))
    token = Token.objects.get(policy=policy)
    assert timedelta(minutes=14) < token.expires_at - timezone.now() <= timedelta(minutes=15)
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert job_api.post("records", DECISION).json()["code"] == "token_invalid"
    assert check() == []


def test_it_takes_every_kind_of_key_that_issuers_use(anybody, issuer, trust):
    trust()
    issuer.add("p256", "ES256", ec.generate_private_key(ec.SECP256R1()))
    issuer.add("p384", "ES384", ec.generate_private_key(ec.SECP384R1()))
    issuer.add("ed", "EdDSA", ed25519.Ed25519PrivateKey.generate())
    issuer.add("pss", "PS256", rsa.generate_private_key(65537, 2048))
    for key_id in issuer.keys:
        answer = ask(anybody, issuer.token(key_id=key_id))
        assert answer.status_code == 201, (key_id, answer.content)
    assert issuer.asked.count("/jwks") == 1, "one look at the issuer's keys does for all"


def forged(issuer, header, secret=None):
    """A token of its own making: unsigned, or signed with a shared secret that everybody knows."""
    head, body = encoded(header | {"kid": "rsa", "typ": "JWT"}), issuer.token().split(".")[1]
    signature = hmac.digest(secret, f"{head}.{body}".encode(), hashlib.sha256) if secret else b""
    return f"{head}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def public_pem(issuer):
    key = issuer.keys["rsa"][1].public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def signed_by_a_stranger(issuer):
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    return jwt.encode(claims, rsa.generate_private_key(65537, 2048), algorithm="RS256", headers={"kid": "rsa"})


def with_another_body(issuer):
    head, _, signature = issuer.token().split(".")
    return ".".join([head, issuer.token(repository="acme/web", ref="refs/heads/evil").split(".")[1], signature])


REFUSED = {
    "no token": ("id_token_malformed", lambda i: "eyJub25zZW5zZSI6MX0"),
    "not base64": ("id_token_malformed", lambda i: "a.b.c"),
    "a body that is no object": ("id_token_malformed", lambda i: f"{encoded({'alg': 'RS256', 'kid': 'rsa'})}.W10.eA"),
    "not ASCII": ("id_token_malformed", lambda i: issuer_text(i) + "é"),
    "no algorithm": ("id_token_algorithm_refused", lambda i: forged(i, {"alg": "none"})),
    "no algorithm, spelt otherwise": ("id_token_algorithm_refused", lambda i: forged(i, {"alg": "nOnE"})),
    "public key as shared secret": ("id_token_algorithm_refused", lambda i: forged(i, {"alg": "HS256"}, public_pem(i))),
    "key of another kind": ("id_token_algorithm_refused", lambda i: forged(i, {"alg": "ES256"})),
    "another algorithm of the same kind": ("id_token_algorithm_refused", lambda i: forged(i, {"alg": "PS256"})),
    "critical extension": ("id_token_malformed", lambda i: i.token(headers={"crit": ["exp"]})),
    "no key id": ("id_token_malformed", lambda i: i.token(headers={"kid": None})),
    "key nobody knows": ("id_token_key_unknown", lambda i: i.token(headers={"kid": "other"})),
    "key id that is a path": ("id_token_key_unknown", lambda i: i.token(headers={"kid": "../../etc/passwd"})),
    "signature of a stranger": ("id_token_signature_invalid", signed_by_a_stranger),
    "signature of another token": ("id_token_signature_invalid", with_another_body),
    "signature left out": ("id_token_signature_invalid", lambda i: forged(i, {"alg": "RS256"})),
    "issuer without policy": ("id_token_issuer_untrusted", lambda i: i.token(iss="https://issuer.example.com")),
    "issuer with a slash more": ("id_token_issuer_untrusted", lambda i: i.token(iss=i.url + "/")),
    "no issuer": ("id_token_malformed", lambda i: i.token(iss=None)),
    "expired": ("id_token_expired", lambda i: i.token(iat=now(-900), nbf=now(-900), exp=now(-120))),
    "not begun": ("id_token_not_yet_valid", lambda i: i.token(nbf=now(600))),
    "from the future": ("id_token_not_yet_valid", lambda i: i.token(iat=now(600), exp=now(900))),
    "too long a life": ("id_token_lifetime", lambda i: i.token(exp=now(25 * 3600))),
    "no end": ("id_token_malformed", lambda i: i.token(exp=None)),
    "an end that is no time": ("id_token_malformed", lambda i: i.token(exp=float("inf"))),
    "no beginning": ("id_token_malformed", lambda i: i.token(iat=None)),
    "no audience": ("id_token_malformed", lambda i: i.token(aud=None)),
    "another audience": ("id_token_audience", lambda i: i.token(aud="https://elsewhere.example.com")),
    "an audience beside ours": ("id_token_audience", lambda i: i.token(aud=["https://prooftrail.example.com", "x"])),
    "another repository": ("id_token_claims", lambda i: i.token(repository="acme/webshop")),
    "another case": ("id_token_claims", lambda i: i.token(repository="Acme/web")),
    "a claim less": ("id_token_claims", lambda i: i.token(environment=None)),
    "a claim that is a list": ("id_token_claims", lambda i: i.token(environment=["production"])),
}


def issuer_text(issuer):
    return issuer.token()


def now(seconds):
    return int(time.time()) + seconds


def test_it_refuses_every_other_token_with_its_own_code_and_writes_nothing(anybody, issuer, trust):
    trust()
    size = reader.size()
    for defect, (code, make) in REFUSED.items():
        issuers.forget()
        text = make(issuer)
        answer = ask(anybody, text)
        assert answer.json().get("code") == code, (defect, answer.content)
        assert answer.status_code == (403 if code == "id_token_claims" else 401), defect
        assert text not in answer.content.decode(), "it repeats no token"
    assert (reader.size(), UsedIdToken.objects.count()) == (size, 0)
    assert ask(anybody, issuer.token()).status_code == 201, "all of these were refused for their one defect"


def test_it_refuses_what_is_no_request(anybody, issuer, trust):
    texts: list[object] = ["", ["x"], "x" * 20_000, None, {"a": "b"}]
    for body in ({}, [], *({"id_token": text} for text in texts)):
        assert anybody.post("auth/oidc", body).status_code == 422, body
    assert anybody.get("auth/oidc").status_code == 405


def test_it_takes_an_id_token_once_and_answers_a_retry_as_before(anybody, issuer, trust):
    trust()
    first, second = issuer.token(), issuer.token()
    assert ask(anybody, first).status_code == 201
    assert ask(anybody, first).json()["code"] == "id_token_replayed"
    assert ask(anybody, first, key="later").json()["code"] == "id_token_replayed"
    kept = ask(anybody, second, key="k-1")
    again = ask(anybody, second, key="k-1")
    assert (kept.status_code, again.status_code) == (201, 200)
    assert again["Idempotency-Replayed"] == "true"
    assert again.json() == kept.json() | {"expires_at": again.json()["expires_at"]}
    assert Api(again.json()["access_token"]).get("releases").status_code == 200
    assert ask(anybody, second, key="k-2").json()["code"] == "id_token_replayed"
    same_id = jwt.decode(second, options={"verify_signature": False})["jti"]
    assert ask(anybody, issuer.token(jti=same_id)).json()["code"] == "id_token_replayed"
    without = issuer.token(jti=None)
    assert [ask(anybody, without).status_code for _ in range(2)] == [201, 401]


def test_it_forgets_what_is_past(anybody, issuer, trust, superuser):
    trust()
    for _ in range(2):
        assert ask(anybody, issuer.token()).status_code == 201
    superuser.execute("UPDATE evidence_usedidtoken SET expires_at = now() - interval '1 second'")
    Token.objects.filter(policy__isnull=False).update(expires_at=timezone.now() - timedelta(days=31))
    assert ask(anybody, issuer.token()).status_code == 201
    assert (UsedIdToken.objects.count(), Token.objects.filter(policy__isnull=False).count()) == (1, 1)


def test_it_makes_nobody_forget_what_they_know_of_rights(anybody, issuer, trust, cast):
    policy = trust()
    assert ask(anybody, issuer.token()).status_code == 201
    past = Token.objects.filter(policy=policy)
    past.update(expires_at=timezone.now() - timedelta(days=31))
    before = authority.epoch_now()
    assert ask(anybody, issuer.token()).status_code == 201
    assert past.count() == 1, "the one from before was deleted"
    assert authority.epoch_now() == before
    end_policy(policy, actor=actor_for(cast.root))
    assert authority.epoch_now() > before, "the token was revoked"


def test_it_asks_which_pipeline_is_meant_where_several_are(anybody, issuer, trust, cast):
    trust()
    other, _ = create_pipeline(actor=actor_for(cast.root), name="nightly", systems=[cast.billing])
    trust(name="acme-nightly", pipeline=other, claims={"repository": ["acme/*"]})
    assert ask(anybody, issuer.token()).json()["code"] == "pipeline_ambiguous"
    assert ask(anybody, issuer.token(), pipeline="nightly").json()["pipeline"]["name"] == "nightly"
    assert ask(anybody, issuer.token(environment="staging")).json()["pipeline"]["name"] == "nightly"
    assert ask(anybody, issuer.token(), pipeline="none").json()["code"] == "id_token_claims"


def test_it_narrows_the_token_to_the_policys_systems_and_kinds(anybody, issuer, trust, cast):
    change_pipeline(cast.ci, actor=actor_for(cast.root), systems=[cast.trading, cast.billing], kinds=[], is_active=True)
    trust(limits=Limits(frozenset({cast.trading.pk}), frozenset({"decision", "release.opened"})))
    narrow, wide = Api(ask(anybody, issuer.token()).json()["access_token"]), Api(cast.ci_token)
    assert wide.post("records", DECISION | {"system": "billing"}).status_code == 201
    assert narrow.post("records", DECISION).status_code == 201
    assert narrow.post("records", DECISION | {"system": "billing"}).json()["code"] == "system_unknown"
    unlike = DECISION | {"kind": "drill", "body": {"title": "x"}}
    assert narrow.post("records", unlike).json()["code"] == "kind_not_allowed"
    assert [row["kind"] for row in narrow.get("records?kind=decision").json()["results"]] == ["decision"]
    assert len(wide.get("records?kind=decision").json()["results"]) == 2
    # A token limited to what its owner has lost may do nothing; an empty scope would mean every system.
    change_pipeline(cast.ci, actor=actor_for(cast.root), systems=[cast.billing], kinds=[], is_active=True)
    lost = narrow.post("records", {name: value for name, value in DECISION.items() if name != "system"})
    assert lost.json()["code"] == "scope_missing"


def test_it_ends_access_with_the_policy_and_with_the_pipeline(anybody, issuer, trust, cast):
    policy = trust()
    api = Api(ask(anybody, issuer.token()).json()["access_token"])
    assert api.post("records", DECISION).status_code == 201
    policy = end_policy(policy, actor=actor_for(cast.root))
    assert api.post("records", DECISION).json()["code"] == "token_invalid"
    assert ask(anybody, issuer.token()).json()["code"] == "id_token_issuer_untrusted"
    trust(policy=policy)
    api = Api(ask(anybody, issuer.token()).json()["access_token"])
    assert api.post("records", DECISION).status_code == 201
    trust(policy=policy, claims={"repository": ["acme/web"]})
    assert api.post("records", DECISION).json()["code"] == "token_invalid", "a changed policy is believed anew"
    api = Api(ask(anybody, issuer.token()).json()["access_token"])
    change_pipeline(cast.ci, actor=actor_for(cast.root), systems=[cast.trading], kinds=[], is_active=False)
    assert api.post("records", DECISION).json()["code"] == "token_invalid"
    assert ask(anybody, issuer.token()).json()["code"] == "id_token_issuer_untrusted"


def test_it_looks_at_the_policy_again_under_the_lock(issuer, trust, cast, monkeypatch):
    policy, before = trust(), exchange._policy_for
    meanwhile = [
        lambda: trust(policy=policy, claims={"repository": ["acme/api"]}),
        lambda: end_policy(policy, actor=actor_for(cast.root)),
    ]
    for change in meanwhile:
        trust(policy=policy)

        def overtaken(*args, change=change):
            found = before(*args)
            change()
            return found

        monkeypatch.setattr(exchange, "_policy_for", overtaken)
        with pytest.raises(ForbiddenError) as caught:
            exchange.exchange(issuer.token())
        assert caught.value.code == "id_token_claims"
    assert not Token.objects.filter(policy=policy).exists()
