"""Large imports: prepared outside the lock, at most 10,000 records a transaction, visible all at once.

Each record of an import names it in its context. Domain tables do not show such records until the last one,
`import.completed`, projects them all: an import that ends half-way leaves records in the ledger and nothing else.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice

from config.errors import ProoftrailError
from evidence import projections
from evidence.ledger import store
from evidence.ledger.appender import append, append_all
from evidence.ledger.draft import Actor, Draft, Placed, service_draft
from evidence.models.people import opaque_id


def append_import(prepare: Callable[[Actor], Iterable[Draft]], *, actor: Actor) -> Placed:
    """Append what `prepare(actor)` yields and make it visible; returns the place of `import.completed`.

    `prepare` gets the actor that its drafts must carry. Raises the first refusal: nothing of the import is then shown.
    """
    number = opaque_id("imp")
    drafts = iter(prepare(replace(actor, claims={**actor.claims, "import": number})))
    placed: list[int] = []
    while chunk := list(islice(drafts, store.MAX_BATCH)):
        for outcome in append_all(chunk):
            if isinstance(outcome, ProoftrailError):
                raise outcome
            placed.append(outcome.index)
    span = {"first": min(placed), "last": max(placed)} if placed else {}
    body = {"import": number, "records": len(placed), **span}
    with projections.prepared(body):
        return append(service_draft("import.completed", body, actor=actor))
