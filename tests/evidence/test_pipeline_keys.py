"""A pipeline's own signatures: three kinds of keys, and several together where that is demanded."""

import pytest

from config.errors import ForbiddenError, InvalidError
from evidence import authority
from evidence.api.actors import actor_for
from evidence.ledger import Idempotency, append, reader
from evidence.ledger.check import check
from evidence.people import add_key, change_pipeline, create_pipeline, revoke_key
from evidence.records import signed_draft
from evidence.tlog import signing
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.statement import Subject, build_statement
from tests.evidence.conftest import Api

DSSE = "application/vnd.dsse.envelope.v1+json"
BODY = {"title": "A", "decision": "B", "rationale": "C"}


def statement(title="A"):
    return build_statement(
        subjects=[Subject("decision", {"sha256": "ab" * 32})],
        predicate_type="urn:prooftrail:predicate:decision:v1",
        predicate=BODY | {"title": title},
    )


@pytest.fixture
def keys(cast):
    made = {algorithm: signing.generate(algorithm) for algorithm in signing.ALGORITHMS}
    for key in made.values():
        add_key(cast.ci, actor=actor_for(cast.root), public_key=signing.dump_public(key.public_key()))
    return made


def demand(cast, required):
    change_pipeline(
        cast.ci,
        actor=actor_for(cast.root),
        systems=[cast.trading],
        kinds=[],
        is_active=True,
        signatures_required=required,
    )


def post(api, *keys, title="A"):
    return api.post("records?system=netlify-trading", sign_envelope(statement(title), *keys), content_type=DSSE)


def test_it_takes_signatures_of_each_kind_of_key(api, keys, cast):
    for algorithm, key in keys.items():
        answer = post(api, key)
        assert answer.status_code == 201, (algorithm, answer.content)
        assert reader.get(answer.json()["index"]).recorded.context["key"] == signing.digest(key.public_key())
    assert post(api, signing.generate(signing.P256)).json()["code"] == "key_unknown"
    assert check() == []


def test_it_wants_as_many_signatures_as_the_pipeline_demands(api, keys, cast, superuser):
    first, second, third = keys.values()
    unsigned = {"kind": "decision", "system": "netlify-trading", "body": BODY}
    assert api.post("records", unsigned).status_code == 201
    demand(cast, 2)
    assert api.post("records", unsigned).json()["code"] == "signature_required"
    for signers in ((first,), (first, first), (first, signing.generate())):
        assert post(api, *signers).json()["code"] == "signatures_missing"
    answer = post(api, signing.generate(), third, second)
    assert answer.status_code == 201, answer.content
    context = reader.get(answer.json()["index"]).recorded.context
    ids = [signing.digest(key.public_key()) for key in (third, second)]
    assert (context["key"], context["verification"]["keys"]) == (ids[0], ids)
    revoke_key(cast.ci.keys.get(pk=ids[1]), actor=actor_for(cast.root), reason="lost")
    assert post(api, second, third, title="B").json()["code"] == "signatures_missing"
    assert check() == [], "what was accepted stays"
    superuser.execute("UPDATE evidence_pipelinekey SET from_index = 10000 WHERE key_id = %s", [ids[1]])
    places = {(deviation.what, deviation.where) for deviation in check()}
    assert ("signature", f"entry {answer.json()['index']}") in places, "each of the keys is looked at"


def test_it_looks_at_every_key_again_under_the_lock(keys, cast):
    first, second, _ = keys.values()
    demand(cast, 2)
    cast.ci.refresh_from_db()
    envelope = sign_envelope(statement(), first, second)
    draft = signed_draft(
        envelope,
        principal=cast.ci,
        actor=actor_for(cast.root),
        release=None,
        system="netlify-trading",
        idempotency=Idempotency.of_envelope(method="POST", path="/", body=envelope),
        facts=authority.Facts(),
    )
    gone = signing.digest(second.public_key())
    revoke_key(cast.ci.keys.get(pk=gone), actor=actor_for(cast.root), reason="lost")
    with pytest.raises(ForbiddenError) as caught:
        append(draft)
    assert caught.value.code == "credential_revoked"


def test_it_refuses_keys_and_demands_that_make_no_sense(cast):
    root = actor_for(cast.root)
    for pem in (b"x", b"-----BEGIN PUBLIC KEY-----\nx", signing.dump_private(signing.generate(signing.P256))):
        with pytest.raises(InvalidError) as caught:
            add_key(cast.ci, actor=root, public_key=pem)
        assert caught.value.code == "key_invalid"
    for required in (-1, 17):
        with pytest.raises(InvalidError) as caught:
            create_pipeline(actor=root, name="x", systems=[cast.trading], signatures_required=required)
        assert caught.value.code == "signatures_invalid"


def test_it_ends_a_revoked_token_for_a_process_that_remembers_it(api, cast):
    from evidence.people import revoke_token

    unsigned = {"kind": "decision", "system": "netlify-trading", "body": BODY}
    assert api.post("records", unsigned).status_code == 201
    revoke_token(cast.ci.tokens.get(), actor=actor_for(cast.root), reason="leaked")
    assert Api(cast.ci_token).post("records", unsigned).json()["code"] == "token_invalid"
