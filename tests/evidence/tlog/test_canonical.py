import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.tlog.canonical import MAX_NUMBER, canonical, parse_strict
from evidence.tlog.errors import MalformedError
from tests.evidence.tlog.helpers import quick

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-MAX_NUMBER, MAX_NUMBER) | st.floats(-1e15, 1e15)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def test_it_writes_the_example_of_the_rfc() -> None:
    # RFC 8785 section 3.2.2, but for its number beyond 2^53 which our reader refuses.
    source = (
        b'{"numbers":[333333333.33333329,4.50,2e-3,0.000000000000000000000000001],'
        b'"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}'
    )
    assert (
        canonical(parse_strict(source))
        == (
            '{"literals":[null,true,false],"numbers":[333333333.3333333,4.5,0.002,1e-27],'
            '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        ).encode()
    )


def test_it_sorts_keys_by_utf_16_units() -> None:
    # RFC 8785 section 3.2.3.
    source = {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\x80": 6, "ö": 7}
    assert list(json.loads(canonical(source)).values()) == [2, 4, 6, 7, 1, 5, 3]


@quick
@given(values)
def test_it_reads_back_what_it_writes(value: Any) -> None:
    written = canonical(value)
    assert canonical(parse_strict(written)) == written


@quick
@given(values)
def test_it_reads_what_the_standard_library_reads(value: Any) -> None:
    for data in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert parse_strict(data.encode()) == json.loads(data)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**53, "exceeds"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ("\ud800", "codepoints"),
        ({"\ud800": 1}, "surrogates"),
        ({1: 2}, "keys must be strings"),
        (b"bytes", "unsupported"),
    ],
)
def test_it_refuses_to_write_what_json_cannot_hold(value: Any, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        canonical(value)


def test_it_refuses_to_write_what_contains_itself() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(MalformedError, match="nested too deeply"):
        canonical(value)


@pytest.mark.parametrize(
    ("data", "path", "reason"),
    [
        (b'{"a":1,"a":1}', "$.a", "duplicate key"),
        (b'{"a":[0,{"b":1,"b":2}]}', "$.a[1].b", "duplicate key"),
        (b'{"a":{"b":NaN}}', "$.a.b", "NaN is not JSON"),
        (b"[Infinity]", "$[0]", "Infinity is not JSON"),
        (b"[-Infinity]", "$[0]", "-Infinity is not JSON"),
        (b'[1,{"x":1e999}]', "$[1].x", "infinite"),
        (b"[-1e999]", "$[0]", "infinite"),
        (b'{"n":9007199254740992}', "$.n", "integer beyond"),
        (b'{"n":-9007199254740992}', "$.n", "integer beyond"),
        (b'{"n":9007199254740992.0}', "$.n", "number beyond"),
        (b'{"n":1e20}', "$.n", "number beyond"),
        (b"1" * 5000, "$", "integer beyond"),
        (b'["\\ud800"]', "$[0]", "lone surrogate"),
        (b'["ok","\\uDFFF x"]', "$[1]", "lone surrogate"),
        (b'{"a":{"\\udc00":1}}', '$.a["\\udc00"]', "lone surrogate"),
        (b'{"two words":{"a.b":1,"a.b":2}}', '$["two words"]["a.b"]', "duplicate key"),
        (b'{"":[1e999]}', '$[""][0]', "infinite"),
        (nested(65), "$" + "[0]" * 64, "nested deeper than 64"),
        (b'{"a":' * 64 + b"{}" + b"}" * 64, "$" + ".a" * 64, "nested deeper than 64"),
        (nested(100_000), "$", "nested deeper than 64"),
        (b"[1e999," + nested(100_000) + b"]", "$", "nested deeper than 64"),
        (b"[1e999,", "$", "not JSON"),
        (b"", "$", "not JSON"),
        (b"{", "$", "line 1 column 2"),
        (b"{'a':1}", "$", "not JSON"),
        (b"[1,]", "$", "not JSON"),
        (b"[01]", "$", "not JSON"),
        (b'["\x01"]', "$", "not JSON"),
        (b"[1] x", "$", "not JSON"),
        (b"\xef\xbb\xbf[]", "$", "not JSON"),
        (b'["\xff"]', "$", "not UTF-8: byte 2"),
        (b'["\xed\xa0\x80"]', "$", "not UTF-8"),
        ("[]".encode("utf-16"), "$", "not UTF-8"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_it_refuses_with_the_path(data: bytes, path: str, reason: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_strict(data)
    assert caught.value.path == path
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"9007199254740991", 2**53 - 1),
        (b"-9007199254740991", 1 - 2**53),
        (b"-0", 0),
        (b"1e15", 1e15),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'" \\\\ud800"', " \\ud800"),
        (b' {"a" : [ ] }\n', {"a": []}),
        (nested(64), json.loads(nested(64))),
        (b"[" + b",".join([b"[]"] * 500) + b"]", [[]] * 500),
    ],
    ids=lambda value: str(value)[:24],
)
def test_it_accepts_the_edges(data: bytes, value: Any) -> None:
    assert parse_strict(data) == value


def test_it_shortens_a_huge_key_in_the_path() -> None:
    with pytest.raises(MalformedError) as caught:
        parse_strict(b'{"%b":1e999}' % (b"k" * 10_000))
    assert len(str(caught.value)) < 200
