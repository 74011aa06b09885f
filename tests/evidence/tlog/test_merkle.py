from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.tlog.errors import MalformedError, ProofError, TlogError
from evidence.tlog.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_at,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from tests.evidence.tlog.helpers import flipped, hashes, mth, node_reader, path, quick, subproof

# The entries and roots that Certificate Transparency's implementations are tested with.
CT_ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT_PATH_0_OF_8 = [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
]
MAX = 70
LEAVES = hashes(MAX)
NODE = node_reader(LEAVES)
sizes = st.integers(min_value=1, max_value=MAX)


def test_it_knows_the_root_of_nothing() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tree_root([]) == Frontier(0, ()).root() == root_at(0, NODE) == EMPTY_ROOT


@pytest.mark.parametrize("size", range(1, 9))
def test_it_agrees_with_the_published_roots(size: int) -> None:
    assert tree_root([leaf_hash(entry) for entry in CT_ENTRIES[:size]]).hex() == CT_ROOTS[size - 1]


def test_it_agrees_with_a_published_path() -> None:
    leaves = [leaf_hash(entry) for entry in CT_ENTRIES]
    assert [hash_.hex() for hash_ in inclusion_proof(0, 8, node_reader(leaves))] == CT_PATH_0_OF_8


def test_it_separates_leaves_from_nodes() -> None:
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


@pytest.mark.parametrize("size", range(1, MAX))
def test_it_proves_every_leaf_as_the_rfc_defines(size: int) -> None:
    leaves = LEAVES[:size]
    assert root_at(size, NODE) == tree_root(leaves) == mth(leaves)
    for index in range(size):
        proof = inclusion_proof(index, size, NODE)
        assert proof == path(index, leaves)
        verify_inclusion(index=index, size=size, leaf_hash=leaves[index], proof=proof, root=mth(leaves))


@pytest.mark.parametrize("new", range(1, MAX, 3))
def test_it_proves_every_growth_as_the_rfc_defines(new: int) -> None:
    for old in range(1, new + 1):
        proof = consistency_proof(old, new, NODE)
        assert proof == subproof(old, LEAVES[:new])
        verify_consistency(
            old_size=old, new_size=new, proof=proof, old_root=mth(LEAVES[:old]), new_root=mth(LEAVES[:new])
        )


@quick
@given(sizes, st.data())
def test_it_refuses_an_inclusion_proof_with_anything_changed(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, NODE)
    good: dict[str, Any] = {
        "index": index,
        "size": size,
        "leaf_hash": LEAVES[index],
        "proof": proof,
        "root": root_at(size, NODE),
    }
    verify_inclusion(**good)
    place = data.draw(st.integers(0, len(proof)))
    bad: list[dict[str, Any]] = [
        {"leaf_hash": flipped(LEAVES[index])},
        {"root": flipped(root_at(size, NODE), 31)},
        {"proof": [*proof, LEAVES[0]]},
        {"proof": [*proof[:place], LEAVES[-1], *proof[place:]]},
        {"index": size},
        {"index": -1},
        {"size": 0},
    ]
    bad += [{"proof": [*proof[:i], flipped(proof[i]), *proof[i + 1 :]]} for i in range(len(proof))]
    bad += [{"proof": [*proof[:i], *proof[i + 1 :]]} for i in range(len(proof))]
    bad += [{"index": other} for other in range(size) if other != index]
    for change in bad:
        with pytest.raises(ProofError):
            verify_inclusion(**(good | change))


@quick
@given(sizes, st.data())
def test_it_refuses_a_consistency_proof_with_anything_changed(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = consistency_proof(old, new, NODE)
    good: dict[str, Any] = {
        "old_size": old,
        "new_size": new,
        "proof": proof,
        "old_root": root_at(old, NODE),
        "new_root": root_at(new, NODE),
    }
    verify_consistency(**good)
    bad: list[dict[str, Any]] = [
        {"old_root": flipped(root_at(old, NODE))},
        {"new_root": flipped(root_at(new, NODE))},
        {"proof": [*proof, LEAVES[0]]},
        {"old_size": 0},
        {"old_size": new + 1},
    ]
    bad += [{"proof": [*proof[:i], flipped(proof[i]), *proof[i + 1 :]]} for i in range(len(proof))]
    bad += [{"proof": [*proof[:i], *proof[i + 1 :]]} for i in range(len(proof))]
    for change in bad:
        with pytest.raises(ProofError):
            verify_consistency(**(good | change))


def test_it_refuses_hashes_of_another_length() -> None:
    proof = [LEAVES[1] + b"\x00"]
    root = node_hash(LEAVES[0], proof[0])
    with pytest.raises(ProofError, match="not 32 bytes"):
        verify_inclusion(index=0, size=2, leaf_hash=LEAVES[0], proof=proof, root=root)


def test_it_has_nothing_to_prove_from_size_zero_or_to_the_same_size() -> None:
    assert consistency_proof(0, 5, NODE) == consistency_proof(5, 5, NODE) == []
    with pytest.raises(ProofError, match="from size 0 to size 5"):
        verify_consistency(old_size=0, new_size=5, proof=[], old_root=EMPTY_ROOT, new_root=root_at(5, NODE))


def test_it_refuses_to_prove_what_is_not_there() -> None:
    for index in (-1, 5):
        with pytest.raises(ProofError):
            inclusion_proof(index, 5, NODE)
    for old, new in ((6, 5), (-1, 5)):
        with pytest.raises(ProofError):
            consistency_proof(old, new, NODE)


@quick
@given(st.integers(0, 40), st.integers(0, 30))
def test_it_grows_a_frontier_to_the_same_tree(old: int, added: int) -> None:
    new = old + added
    before = Frontier(0, ()).extend(LEAVES[:old]).frontier
    assert (before.size, before.root()) == (old, mth(LEAVES[:old]))
    growth = before.extend(LEAVES[old:new])
    assert growth.size == growth.frontier.size == new
    assert growth.root == growth.frontier.root() == mth(LEAVES[:new])
    assert growth.frontier == Frontier(0, ()).extend(LEAVES[:new]).frontier
    for index in range(old, new):
        assert growth.inclusion_proof(index) == path(index, LEAVES[:new])
    for level in range(new.bit_length()):
        for index in range(old >> level, new >> level):
            assert growth.node(level, index) == NODE(level, index)


def test_it_grows_by_a_whole_batch_at_once() -> None:
    before = Frontier(0, ()).extend(hashes(100_003)).frontier
    leaves = hashes(4_000, start=100_003)
    growth = before.extend(leaves)
    for index in (100_003, 101_111, 104_002):
        verify_inclusion(
            index=index,
            size=104_003,
            leaf_hash=leaves[index - 100_003],
            proof=growth.inclusion_proof(index),
            root=growth.root,
        )


def test_it_answers_only_for_what_grew() -> None:
    growth = Frontier(0, ()).extend(LEAVES[:6]).frontier.extend(LEAVES[6:8])
    assert growth.node(1, 2) == NODE(1, 2)  # an old one, but the left sibling of a new one
    for level, index in ((0, 5), (0, 8), (1, 1), (4, 0), (-1, 0)):
        with pytest.raises(ProofError):
            growth.node(level, index)
    for index in (5, 8):
        with pytest.raises(ProofError):
            growth.inclusion_proof(index)


@pytest.mark.parametrize(
    ("size", "count"),
    [(0, 1), (3, 1), (4, 2), (-1, 0), (-1, 1)],
)
def test_it_refuses_a_frontier_of_another_shape(size: int, count: int) -> None:
    with pytest.raises(MalformedError):
        Frontier(size, tuple(LEAVES[:count]))


def test_it_refuses_a_frontier_with_a_cut_hash() -> None:
    with pytest.raises(MalformedError, match="32 bytes"):
        Frontier(1, (LEAVES[0][:31],))


def test_it_gives_every_error_a_stable_code() -> None:
    assert (MalformedError("x").code, ProofError("x").code) == ("malformed", "proof_invalid")
    assert issubclass(ProofError, TlogError)
