"""A pack verifies every signature that its records name, whatever kinds of keys made them."""

from evidence.api.actors import actor_for
from evidence.ledger import Actor, Idempotency, append
from evidence.people import add_key, change_pipeline
from evidence.records import signed_draft
from evidence.tlog import signing
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.statement import Subject, build_statement
from tests.cast import Cast
from tests.compliance.conftest import Story
from tests.compliance.packs.conftest import Pack, steps


def test_it_verifies_each_of_several_signatures(cast: Cast, played: Story, pack: Pack) -> None:
    keys = [signing.generate(algorithm) for algorithm in (signing.P256, signing.P384)]
    root = actor_for(cast.root)
    for key in keys:
        add_key(cast.ci, actor=root, public_key=signing.dump_public(key.public_key()))
    change_pipeline(
        cast.ci, actor=root, systems=[cast.trading], kinds=[], is_active=True, signatures_required=len(keys)
    )
    payload = build_statement(
        subjects=[Subject("decision", {"sha256": "ab" * 32})],
        predicate_type="urn:prooftrail:predicate:decision:v1",
        predicate={"title": "A", "decision": "B", "rationale": "C"},
    )
    cast.ci.refresh_from_db()
    draft = signed_draft(
        sign_envelope(payload, *keys),
        principal=cast.ci,
        actor=Actor(cast.ci.uid),
        release=None,
        system="netlify-trading",
        idempotency=Idempotency.of("k", method="POST", path="/", body=payload),
    )
    append(draft)
    packed = pack()
    ids = {signing.digest(key.public_key()) for key in keys}
    listed = {key["key_id"] for key in packed.json("data/keys.json")["keys"] if key["purpose"] == "pipeline"}
    assert listed == ids
    assert all(step.ok is not False for step in steps(packed))
