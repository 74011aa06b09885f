"""What a process remembers of rights, keys and releases, so that a write asks the database for none of it.

The database counts every change of these tables that somebody may remember otherwise (`evidence_authority.epoch`,
migrations 0003 and 0019). A draft says under which epoch it was prepared; its batch compares under the head lock. Where
it differs, nothing of what was remembered counts: the request is prepared again from the tables (`records.record`). So
a revocation counts at once, on every process.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from evidence.ledger import head
from evidence.models import Authority, Pipeline, PipelineKey, Release, System, Token
from evidence.people import Principal, visible_systems
from evidence.tlog import signing

#: Things remembered at most; beyond, a process starts over.
LIMIT = 10_000

_T = TypeVar("_T")


class Facts:
    """Answers about rights, keys and releases: remembered ones of one epoch, or (`epoch` None) asked anew each time."""

    def __init__(self, epoch: int | None = None) -> None:
        self.epoch = epoch
        #: For a rehearsal: digests of files that a record names and that are not confirmed yet, instead of a refusal.
        self.to_come: list[str] | None = None
        self._known: dict[tuple[str, object], Any] = {}

    def token(self, token_id: str) -> Token | None:
        """A token with its owner, whether it is valid or not."""

        def load() -> Token | None:
            return Token.objects.select_related("user", "pipeline").filter(pk=token_id).first()

        return self.recall("token", token_id, load)

    def systems(self, principal: Principal) -> list[str] | None:
        """Opaque ids of the systems somebody may see; None means all of them."""
        (systems,) = self.recall("systems", (principal.uid, principal.limits), lambda: (visible_systems(principal),))
        return systems

    def system(self, name: str) -> System | None:
        return self.recall("system", name, lambda: System.objects.filter(name=name).first())

    def release(self, release_id: str) -> Release | None:
        return self.recall("release", release_id, lambda: Release.objects.filter(pk=release_id).first())

    def keys(self, pipeline: Pipeline) -> dict[str, signing.PublicKey]:
        """The pipeline's keys that are in force, by their id."""

        def load() -> dict[str, signing.PublicKey]:
            known = PipelineKey.objects.filter(pipeline=pipeline, to_index=None)
            return {key.key_id: signing.decode(bytes(key.public_key)) for key in known}

        return self.recall("keys", pipeline.uid, load)

    def recall(self, what: str, which: object, load: Callable[[], _T]) -> _T:
        """What is known, else what `load` finds; that there is nothing (None) is not remembered."""
        if self.epoch is None:
            return load()
        known: _T | None = self._known.get((what, which))
        if known is not None:
            return known
        found = load()
        if found is not None:
            if len(self._known) >= LIMIT:
                self._known.clear()
            self._known[what, which] = found
        return found


_memory: Facts | None = None


def remembered() -> Facts:
    """This process's memory, a new one where the last batch has read another epoch. The first call asks for it."""
    global _memory
    facts, seen = _memory, head.seen_epoch()
    if facts is None or seen not in (None, facts.epoch):
        facts = _memory = Facts(seen if seen is not None else epoch_now())
    return facts


def refreshed() -> Facts:
    """This process's memory as of now, whatever it last saw."""
    global _memory
    epoch = epoch_now()
    if _memory is None or _memory.epoch != epoch:
        _memory = Facts(epoch)
    return _memory


def epoch_now() -> int:
    return Authority.objects.values_list("epoch", flat=True).get(id=1)


def forget() -> None:
    """Start over as a fresh process would: for a test that changes databases."""
    global _memory
    _memory = None
