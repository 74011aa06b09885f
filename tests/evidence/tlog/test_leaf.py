import json
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.tlog.canonical import canonical
from evidence.tlog.errors import MalformedError
from evidence.tlog.leaf import Leaf, format_time, in_utc, parse_leaf, parse_time, payload_digest
from tests.evidence.tlog.helpers import quick

AT = datetime(2026, 11, 22, 5, 0, 0, 123456, tzinfo=UTC)
LEAF = Leaf("deploy.manifest", AT, AT - timedelta(minutes=1), "p_7", ("s_1", "s_2"), "sha256:" + "ab" * 32)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", fullmatch=True)
moments = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001  # Hypothesis adds the zone
    max_value=datetime(9000, 1, 1),  # noqa: DTZ001  # the same
    timezones=st.timezones() | st.just(UTC),
)
leaves = st.builds(
    lambda kind, times, by, scope, digest: Leaf(
        kind, max(times, key=in_utc), min(times, key=in_utc), by, tuple(sorted(scope)), f"sha256:{digest.hex()}"
    ),
    st.from_regex(r"[a-z][a-z0-9_-]{0,20}(\.[a-z0-9_-]{1,20}){0,2}", fullmatch=True),
    st.tuples(moments, moments),
    ids,
    st.sets(ids, max_size=4),
    st.binary(min_size=32, max_size=32),
)


def members(leaf: Leaf) -> dict[str, Any]:
    return {
        "v": 1,
        "kind": leaf.kind,
        "at": format_time(leaf.at),
        "occurred": format_time(leaf.occurred),
        "by": leaf.by,
        "scope": list(leaf.scope),
        "digest": leaf.digest,
    }


def test_it_writes_a_leaf() -> None:
    assert LEAF.encode() == (
        b'{"at":"2026-11-22T05:00:00.123456Z","by":"p_7","digest":"sha256:' + b"ab" * 32 + b'",'
        b'"kind":"deploy.manifest","occurred":"2026-11-22T04:59:00.123456Z","scope":["s_1","s_2"],"v":1}'
    )


@quick
@given(leaves)
def test_it_writes_what_rfc_8785_would(leaf: Leaf) -> None:
    assert leaf.encode() == canonical(members(leaf))
    assert parse_leaf(leaf.encode()) == leaf


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"kind": "Deploy"}, "$.kind"),
        ({"kind": "deploy..log"}, "$.kind"),
        ({"kind": "a" * 101}, "$.kind"),
        ({"kind": 'a"'}, "$.kind"),
        ({"by": ""}, "$.by"),
        ({"by": "Max Mustermann"}, "$.by"),
        ({"by": "a" * 65}, "$.by"),
        ({"scope": ["s_2", "s_1"]}, "$.scope"),
        ({"scope": ["s_1", "s_1"]}, "$.scope"),
        ({"scope": [""]}, "$.scope"),
        ({"digest": "sha256:" + "AB" * 32}, "$.digest"),
        ({"digest": "ab" * 32}, "$.digest"),
        ({"occurred": "2026-11-22T05:00:00.123457Z"}, "$.occurred"),
        ({"v": 2}, "$.v"),
        ({"v": True}, "$"),
        ({"v": 1.0}, None),
        ({"scope": "s_1"}, "$"),
        ({"scope": [1]}, "$"),
        ({"by": None}, "$"),
        ({"at": "2026-11-22T06:00:00.123456+01:00"}, "$"),
        ({"at": "2026-11-22T05:00:00.1234560Z"}, "$"),
        ({"at": "2026-11-22"}, None),
        ({"extra": 1}, "$"),
    ],
    ids=str,
)
def test_it_refuses_any_other_leaf(change: dict[str, Any], path: str | None) -> None:
    data = json.dumps(members(LEAF) | change, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(MalformedError) as caught:
        parse_leaf(data)
    assert path is None or caught.value.path == path


@pytest.mark.parametrize(
    "data",
    [LEAF.encode() + b"\n", LEAF.encode().replace(b",", b", "), b"[]", b"{}", LEAF.encode()[:-6] + b"}"],
)
def test_it_refuses_another_spelling_of_a_leaf(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_leaf(data)


def test_it_compares_moments_rather_than_wall_clocks() -> None:
    """The hour that an autumn night has twice: 02:50 comes before the second 02:10."""
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 50, tzinfo=berlin)
    second = datetime(2026, 10, 25, 2, 10, tzinfo=berlin, fold=1)
    leaf = Leaf("drill", second, first, "p", (), LEAF.digest)
    assert (leaf.occurred, leaf.at) == (
        datetime(2026, 10, 25, 0, 50, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 10, tzinfo=UTC),
    )
    assert parse_leaf(leaf.encode()) == leaf
    with pytest.raises(MalformedError):
        Leaf("drill", first, second, "p", (), LEAF.digest)


def test_it_refuses_times_that_utc_cannot_hold() -> None:
    early = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    with pytest.raises(MalformedError, match="years 1 to 9999"):
        format_time(early)
    with pytest.raises(MalformedError):
        Leaf("drill", AT, early, "p", (), LEAF.digest)


def test_it_refuses_times_without_an_offset() -> None:
    naive = AT.replace(tzinfo=None)
    with pytest.raises(MalformedError, match="offset"):
        Leaf("x", naive, naive, "p", (), LEAF.digest)
    with pytest.raises(MalformedError, match="offset"):
        format_time(naive)


def test_it_digests_salt_context_and_envelope() -> None:
    salt = bytes(range(16))
    expected = sha256(salt + b"\x00\x00\x00\x02{}" + b"envelope").hexdigest()
    assert payload_digest(salt, b"{}", b"envelope") == f"sha256:{expected}"
    assert payload_digest(salt, b"{}e", b"nvelope") != payload_digest(salt, b"{}", b"envelope")
    with pytest.raises(MalformedError, match="16 bytes, not 15"):
        payload_digest(salt[:15], b"{}", b"envelope")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T05:00:00Z", datetime(2026, 11, 22, 5, tzinfo=UTC)),
        ("2026-11-22t05:00:00.5z", datetime(2026, 11, 22, 5, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-22T05:00:00.123456789Z", AT),
        ("2026-11-22T10:30:00.123456+05:30", AT),
        ("2026-11-21T20:00:00.123456-09:00", AT),
        ("2028-02-29T00:00:00-00:00", datetime(2028, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_it_reads_rfc_3339_times(text: str, expected: datetime) -> None:
    assert parse_time(text) == expected
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-22",
        "2026-11-22T05:00:00",
        "2026-11-22 05:00:00Z",
        "2026-11-22T05:00Z",
        "2026-11-22T05:00:00.Z",
        "2026-11-22T05:00:00,5Z",
        "2026-11-22T05:00:00+0100",
        "2026-11-22T05:00:00+24:00",
        "2026-11-22T05:00:00+05:60",
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-06-30T23:59:60Z",
        "0001-01-01T00:00:00+01:00",
        "2026-W47-7T05:00:00Z",
        "٢٠٢٦-11-22T05:00:00Z",
        "2026-11-22T05:00:00Z\n",
    ],
)
def test_it_refuses_other_times(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_time(text)


def test_it_writes_times_in_utc_with_six_digits() -> None:
    assert format_time(datetime(26, 1, 2, tzinfo=UTC)) == "0026-01-02T00:00:00.000000Z"
    assert format_time(AT.astimezone(timezone(timedelta(hours=-9)))) == "2026-11-22T05:00:00.123456Z"


@quick
@given(leaf=leaves, position=st.integers(0, 400), byte=st.sampled_from(b'"\\,:[]{}0aZ-. \x00\xff'))
def test_it_reads_a_changed_byte_either_way_alike(leaf: Leaf, position: int, byte: int) -> None:
    """The quick way takes what the careful way takes, or leaves it to the careful one."""
    from evidence.tlog import leaf as module

    changed = bytearray(leaf.encode())
    changed[position % len(changed)] = byte
    quickly = module._parse_canonical(bytes(changed))
    if quickly is not None:
        assert quickly == module._parse_carefully(bytes(changed))
    assert module._parse_canonical(leaf.encode()) == leaf
