"""Check an evidence pack offline. Pure: standard library, `cryptography` and the ledger's own formats.

`verify_pack` argues in these steps, numbered alike here, in docs/pack.md and in what the command line prints:

1. Container: a Zip64 archive of stored entries with safe, unique paths and nothing between them.
2. Bag: every file is in a BagIt manifest and has the digest stated there.
3. Statement: ``pack.dsse.json`` names this manifest and is signed by the pack's key.
4. Log: the leaves carried, added to the frontier before them, fold to the checkpoint's root; none is missing from
   the first one received in the period (and the one before it) to the checkpoint.
5. Signer: a trusted key of the log signed the checkpoint.
6. Records: each is included in the log at its index, and its leaf commits to its salt, context and envelope; what
   was disposed of is named by a ``retention.disposed`` record.
7. Envelopes: each is signed by the key that its context names.
8. Pack key: the log itself names the key of step 3 as the one that signs for the service.
9. Completeness: every leaf of the pack's kinds, systems and period has its record or its disposition.
10. Artifacts: each has the digest it is named by, and a record in the pack that names it.
11. Populations: the tables list exactly the records that the pack holds, and the stated counts are theirs; failures
    rest on records of the pack, and every deployment that an inventory lists is matched or stands there.
12. History (only with `since`): the earlier checkpoint is a beginning of this log.
"""

import csv
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from compliance.packs import log_checks, record_checks
from compliance.packs.container import ZipReader
from compliance.packs.opened import Pack
from evidence.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from evidence.tlog.errors import SignatureError, TlogError
from evidence.tlog.keyring import follow
from evidence.tlog.note import Verifier, parse_note
from evidence.tlog.report import Step, VerificationError

#: What content of a wrong shape leads to, past the strict parsers.
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, csv.Error, sqlite3.Error)


def verify_pack(path: Path, *, verifiers: Sequence[Verifier], since: Path | None = None) -> Iterator[Step]:
    """The steps above, each as it is done; VerificationError at the first that does not hold.

    `verifiers` are log keys obtained outside the pack; without any, step 5 has ``ok`` None: the pack is consistent,
    its signer unknown. `since` is an earlier checkpoint (a signed note) or an earlier pack. Memory does not grow with
    the pack: what must be kept goes to a temporary file.
    """
    with _failing(12):
        earlier = None if since is None else _checkpoint_of(since, verifiers)
    with _failing(1):
        container = ZipReader(path)
    with container:
        yield Step(1, "Container is sound", f"{container.count} files below {container.folder}/")
        yield from _steps(Pack(container), verifiers, earlier)


def _steps(pack: Pack, verifiers: Sequence[Verifier], earlier: Checkpoint | None) -> Iterator[Step]:
    with _failing(2):
        yield Step(2, "Every file is as the bag's manifests state", log_checks.bag(pack))
    with _failing(3):
        yield Step(3, "Pack statement is signed and names this content", log_checks.statement(pack))
    with _failing(4):
        yield Step(4, "Leaves fold to the checkpoint's root", log_checks.log(pack, earlier))
    with _failing(5):
        yield _signer(pack, verifiers)
    with _failing(6) as failing:
        for number in record_checks.records(pack):
            failing.number = number
    yield Step(6, "Every record is in the log as it stands here", pack.described("records"))
    yield Step(7, "Every envelope is signed by the key its context names", pack.described("envelopes"))
    with _failing(8):
        yield Step(8, "The log vouches for the pack's key", record_checks.pack_key(pack))
    with _failing(9):
        yield Step(9, "No record of the period is missing", record_checks.completeness(pack))
    with _failing(10):
        yield Step(10, "Artifacts have their digests", record_checks.artifacts(pack))
    with _failing(11):
        yield Step(11, "Populations and counts equal the records", record_checks.populations(pack))
    if earlier is not None:
        with _failing(12):
            yield Step(12, "The log has only grown since", log_checks.history(pack, earlier))


def _signer(pack: Pack, verifiers: Sequence[Verifier]) -> Step:
    title = "Checkpoint is signed by the log"
    if not verifiers:
        return Step(5, title, "consistent, signer unknown: no trusted log key was given", ok=None)
    said = f"{pack.checkpoint.origin}, size {pack.checkpoint.size}"
    try:
        open_checkpoint(pack.note, verifiers)
    except SignatureError:
        # The log's own records may lead from a key trusted here to the one that signs by now.
        followed = follow(verifiers, pack.key_list.offered)
        if followed == list(verifiers):
            raise
        open_checkpoint(pack.note, followed)
        said += ", by a key that the log introduces as the successor of a trusted one"
    return Step(5, title, said)


def _checkpoint_of(path: Path, verifiers: Sequence[Verifier]) -> Checkpoint:
    """The checkpoint in a note file or in a pack; signed by a trusted key when there are any."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head.startswith(b"PK"):
        with ZipReader(path) as container:
            note = Pack(container).read("log/checkpoint").decode()
    else:
        note = head.decode("utf-8", "replace")
    return open_checkpoint(note, verifiers) if verifiers else parse_checkpoint(parse_note(note).text)


class _Failing:
    """The number of the step that is under way."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def _failing(number: int) -> Iterator[_Failing]:
    """Turn what goes wrong inside into the failure of the step that is under way."""
    state = _Failing(number)
    try:
        yield state
    except VerificationError:
        raise
    except (TlogError, OSError, *_UNREADABLE) as error:
        text = str(error) if isinstance(error, (TlogError, OSError)) else f"not what a pack holds: {error!r}"
        raise VerificationError(state.number, text) from error
