"""Steps 2 to 4 and 12 of the verifier: the bag, its signed statement, and the log that it carries."""

from compliance.packs import bag as bags
from compliance.packs import layout
from compliance.packs.opened import InconsistentError, Pack
from evidence.tlog import b64
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.dsse import parse_envelope, verify_envelope
from evidence.tlog.errors import ProofError
from evidence.tlog.leaf import parse_leaf
from evidence.tlog.merkle import Frontier, leaf_hash, verify_consistency
from evidence.tlog.statement import parse_statement
from evidence.tlog.tiles import TILE, decode_bundle, entries_path

# -- 2, 3: bag and statement ---------------------------------------------------------------------------------------


def bag(pack: Pack) -> str:
    checked, pack.manifest = bags.check_bag(pack.container)
    return f"{checked} files, SHA-256"


def statement(pack: Pack) -> str:
    envelope = parse_envelope(pack.container.read(bags.STATEMENT, layout.MAX_SMALL))
    pack.signed_by = verify_envelope(envelope, pack.keys["service"])
    stated = parse_statement(envelope.payload)
    if stated.predicate_type != layout.PREDICATE_TYPE:
        raise InconsistentError(f"the statement is a {stated.predicate_type}, not a {layout.PREDICATE_TYPE}")
    if [subject.digest.get("sha256") for subject in stated.subjects] != [pack.manifest]:
        raise InconsistentError(f"the statement is about another manifest than this one ({pack.manifest})")
    pack.predicate = stated.predicate
    checkpoint, named = pack.checkpoint, pack.predicate["checkpoint"]
    if (named["origin"], named["size"], b64.decode(named["root"])) != (
        checkpoint.origin,
        checkpoint.size,
        checkpoint.root,
    ):
        raise InconsistentError("the statement names another checkpoint than log/checkpoint")
    if pack.container.folder != f"pack-{pack.predicate['pack']}":
        raise InconsistentError(f"the statement is of pack {pack.predicate['pack']}, not of {pack.container.folder}")
    period = f"{pack.predicate['from']} to {pack.predicate['to']}"
    return f"pack {pack.predicate['pack']}, {period}, key {pack.signed_by[:16]}…"


# -- 4, 12: the log ------------------------------------------------------------------------------------------------


def log(pack: Pack, earlier: Checkpoint | None) -> str:
    stored = pack.json(layout.FRONTIER)
    frontier = Frontier(stored["size"], tuple(map(b64.decode, stored["hashes"])))
    start, size = frontier.size, pack.checkpoint.size
    if start % TILE or not 0 <= start < max(size, 1) or start != pack.predicate["range"]["start"]:
        raise InconsistentError(f"the range starts at {start}, which is not the start of an entry bundle")
    for number in range(start // TILE, -(-size // TILE)):
        entries = _bundle(pack, number, min(TILE, size - number * TILE))
        _note_required(pack, number * TILE, entries)
        frontier = _grow(pack, frontier, [leaf_hash(entry) for entry in entries], earlier)
    if frontier.root() != pack.checkpoint.root:
        raise ProofError(
            f"the leaves fold to {frontier.root().hex()}, the checkpoint says {pack.checkpoint.root.hex()}"
        )
    required = pack.count("SELECT count(*) FROM required")
    return f"leaves {start} to {size - 1} lead to the root of size {size}; {required} of them belong to this pack"


def _bundle(pack: Pack, number: int, width: int) -> list[bytes]:
    return decode_bundle(pack.read("log/" + entries_path(number, width)), width)


def _note_required(pack: Pack, first: int, entries: list[bytes]) -> None:
    """Check the order of receipt, that the range starts before the period, and note which leaves belong here."""
    rows = []
    for index, entry in enumerate(entries, first):
        leaf = parse_leaf(entry)
        if index == pack.predicate["range"]["start"] != 0 and leaf.at >= pack.scope.start:
            raise InconsistentError(
                f"leaf {index}, the first one here, was received in the period: earlier ones may be too"
            )
        if leaf.at < pack.last_at:
            raise InconsistentError(f"leaf {index} was received before the one it follows")
        pack.last_at = leaf.at
        if pack.scope.requires(leaf):
            rows.append((index,))
    pack.db.executemany("INSERT INTO required VALUES (?)", rows)


def _grow(pack: Pack, frontier: Frontier, hashes: list[bytes], earlier: Checkpoint | None) -> Frontier:
    if earlier is not None and frontier.size <= earlier.size <= frontier.size + len(hashes):
        pack.earlier_root = frontier.extend(hashes[: earlier.size - frontier.size]).frontier.root()
    return frontier.extend(hashes).frontier


def history(pack: Pack, earlier: Checkpoint) -> str:
    now = pack.checkpoint
    if earlier.origin != now.origin:
        raise InconsistentError(f"the earlier checkpoint is of {earlier.origin}, this pack of {now.origin}")
    if pack.earlier_root is not None:
        if pack.earlier_root != earlier.root:
            raise ProofError(f"the log had another root at size {earlier.size}: its history was rewritten")
    elif pack.container.has(f"data/{layout.CONSISTENCY}") and pack.json(layout.CONSISTENCY)["from"] == earlier.size:
        proof = [b64.decode(hash_) for hash_ in pack.json(layout.CONSISTENCY)["proof"]]
        verify_consistency(
            old_size=earlier.size, new_size=now.size, proof=proof, old_root=earlier.root, new_root=now.root
        )
    else:
        raise InconsistentError(f"the pack carries no proof from size {earlier.size} to {now.size}")
    return f"size {earlier.size} is a beginning of size {now.size}"
