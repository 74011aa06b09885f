"""The fixed cast of the tests, and what they act on."""

from dataclasses import dataclass

from evidence.ledger import Actor
from evidence.models import Pipeline, System, User
from evidence.models.people import SERVICE
from evidence.people import create_pipeline, create_user, save_system
from evidence.setup import ensure_signing_keys

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Cast:
    """Alice and Charlie engineers, Bob approver, Lea liaison, Cora captain, Ada auditor, Max executive, Root admin."""

    trading: System
    billing: System
    alice: User
    bob: User
    charlie: User
    lea: User
    cora: User
    ada: User
    max: User
    root: User
    ci: Pipeline
    ci_token: str


def assemble() -> Cast:
    """Everybody, in a fresh ledger. Charlie's team sees billing only; Bob signs for qa, Lea for product."""
    service = Actor(SERVICE)
    ensure_signing_keys()
    trading = save_system(actor=service, name="netlify-trading", title="Netlify Trading")
    billing = save_system(actor=service, name="billing")

    def person(name: str, role: str, **more: object) -> User:
        return create_user(
            actor=service,
            name=name,
            email=f"{name.lower()}@example.com",
            roles=[role],
            password=PASSWORD,
            **more,  # type: ignore[arg-type]  # keyword arguments of create_user
        )

    max_ = person("Max", "executive")
    ci, token = create_pipeline(actor=service, name="ci", systems=[trading])
    return Cast(
        trading=trading,
        billing=billing,
        alice=person("Alice", "engineer", manager=max_),
        bob=person("Bob", "approver", signs_for=[("qa", trading)]),
        charlie=person("Charlie", "engineer", systems=[billing]),
        lea=person("Lea", "liaison", signs_for=[("product", trading)]),
        cora=person("Cora", "captain", signs_for=[("sre", trading)]),
        ada=person("Ada", "auditor"),
        max=max_,
        root=person("Root", "admin"),
        ci=ci,
        ci_token=token.text,
    )
