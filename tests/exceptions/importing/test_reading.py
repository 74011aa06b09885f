"""Files of every kind of mess, read without a database."""

import struct
import zipfile
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest

from config.errors import ProoftrailError
from exceptions.importing import dates, limits, mapping, workbook
from exceptions.importing.rows import Known, Person, Place, judge
from exceptions.importing.sheets import Cell, Kind
from tests.exceptions.importing.files import HEADINGS, REGISTER, csv_of, row, rows_xml, xlsx_of

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def fates_of(data: bytes, **said: Any) -> list[Any]:
    """What becomes of the rows of a file in a company of three people and two systems."""
    book = workbook.read(data, "r.csv")
    wishes = mapping.parse(said)
    people = {name.lower(): Person(f"usr_{name}", name) for name in ("Alice", "Bob", "Charlie", "Lea", "Cora", "Max")}
    known = Known(
        now=NOW,
        people=people | {f"{name}@example.com": person for name, person in people.items()},
        systems={name.replace("-", ""): Place(f"sys_{name}", name) for name in ("netlify-trading", "billing")},
        references={},
        risks=frozenset(),
        longest_days={"critical": 30, "high": 90, "medium": 180, "low": 365},
        approvals_needed={"critical": 2},
    )
    return list(judge(mapping.tables(book, wishes)[0], wishes, known))


def code_of(data: bytes) -> str:
    with pytest.raises(ProoftrailError) as refused:
        workbook.read(data)
    return refused.value.code


def texts(data: bytes) -> list[list[str]]:
    return [[cell.text for cell in row.cells.values()] for row in workbook.read(data).sheets[0].rows]


def test_it_understands_the_spreadsheet_of_a_year() -> None:
    found = fates_of(REGISTER.read_bytes())
    bad = {problem.cell: problem.code for fate in found for problem in fate.problems}
    assert bad == {
        "Exceptions!F7": "owner_unknown",  # a role, nobody
        "Exceptions!F9": "owner_unknown",
        "Exceptions!K9": "date_invalid",  # 30 February
        "Exceptions!K10": "date_invalid",  # a year of two digits
        "Exceptions!D11": "severity_unknown",
        "Exceptions!A12": "reference_duplicate",
        "Exceptions!F13": "owner_missing",
        "Exceptions!K14": "formula",
        "Exceptions!E17": "system_unknown",
        "Exceptions!K17": "expiry_missing",
    }
    assert "2026-11-01" in next(fate for fate in found if fate.row == 7).cells.values()  # as its reader sees it
    flags = {f"{fate.sheet}!{fate.row}": fate.flags for fate in found if fate.body}
    assert "self_approved" in flags["Exceptions!6"]
    assert "serial_date" in flags["Exceptions!15"]
    assert "over_long" in flags["Infra (Charlie)!2"]
    assert "merged" in flags["Infra (Charlie)!4"]
    said = {"owner": {"Security & Compliance Liaison": "lea@example.com"}, "severity": {"urgent": "high"}}
    mapped = {f"{fate.sheet}!{fate.row}": fate for fate in fates_of(REGISTER.read_bytes(), values=said)}
    assert mapped["Exceptions!7"].body["owner"] == "usr_Lea"
    assert mapped["Exceptions!11"].body["severity"] == "high"


@pytest.mark.parametrize(
    ("text", "order", "day"),
    [
        ("2027-03-04", None, "2027-03-04"),
        ("2027-03-04 00:00:00", None, "2027-03-04"),
        ("4.3.2027", None, "2027-03-04"),
        ("3/4/2027", "mdy", "2027-03-04"),
        ("3/4/2027", "dmy", "2027-04-03"),
        ("31/3/2027", None, "2027-03-31"),
        ("3/31/2027", None, "2027-03-31"),
        ("4 Mar 2027", None, "2027-03-04"),
        ("March 4th, 2027", None, "2027-03-04"),
        ("Thursday, 4 March 2027", None, "2027-03-04"),
        ("46450", None, "2027-03-04"),
        ("3/4/2027", None, "say in the mapping"),
        ("2027-02-30", None, "no day of the calendar"),
        ("31/13/2027", None, "no day of the calendar"),
        ("04/03/27", "dmy", "write all four"),
        ("2027-03-04T18:00", None, "without its offset"),
        ("2027-03-04T25:00:00Z", None, "no time of the day"),
        ("9999-12-31", None, "not meant"),
        ("soon", None, "no date"),
        ("12", None, "no date"),
    ],
)
def test_it_reads_a_date_or_says_why_not(text: str, order: str | None, day: str) -> None:
    said = ""
    try:
        said = f"{dates.parse(Cell(text), order=order, end=True).at:%Y-%m-%d %H:%M:%S}"
    except dates.BadDateError as error:
        said = str(error)
    assert day in said
    assert said.endswith("23:59:59") == day.startswith("2027-")


def test_it_reads_serial_dates_of_both_epochs() -> None:
    assert f"{dates.parse(Cell(45382.0, Kind.DATE), order=None).at:%Y-%m-%d}" == "2024-03-31"
    assert f"{dates.parse(Cell(45382.0 - 1462, Kind.DATE), order=None, from_1904=True).at:%Y-%m-%d}" == "2024-03-31"
    with pytest.raises(dates.BadDateError):
        dates.parse(Cell(1e15, Kind.NUMBER), order=None)


@pytest.mark.parametrize(
    "data",
    [
        "Title,Owner\nÄnderung,Lea".encode(),
        "Title,Owner\nÄnderung,Lea".encode("utf-8-sig"),
        "Title,Owner\nÄnderung,Lea".encode("utf-16"),
        "Title;Owner\nÄnderung;Lea".encode("cp1252"),
        b"sep=|\r\n" + "Title|Owner\r\nÄnderung|Lea".encode(),
        "Title\tOwner\nÄnderung\tLea".encode(),
    ],
)
def test_it_reads_every_encoding_and_separator(data: bytes) -> None:
    assert texts(data) == [["Title", "Owner"], ["Änderung", "Lea"]]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\n\n", "file_empty"),
        (b"a,b\n\x00\x01", "encoding_unknown"),
        (b"a,b\n\x81\x8d,c", "encoding_unknown"),
        (b"\xff\xfe\x00", "encoding_unknown"),
        (b'a,b\n"unclosed', "sheet_malformed"),
        (b"\xd0\xcf\x11\xe0old", "sheet_malformed"),
        (b"PK\x03\x04no zip", "sheet_malformed"),
        (b"," * 200 + b"x", "sheet_too_large"),
        (b"x" * (limits.MAX_CELL + 1), "sheet_too_large"),
        (b"x\n" * (limits.MAX_ROWS + 1), "sheet_too_large"),
        (xlsx_of({"A": ""}), "file_empty"),
        (xlsx_of({"A": "<broken"}), "sheet_malformed"),
        (xlsx_of({"A": '<sheetData><c r="A1" t="s"><v>7</v></c></sheetData>'}), "sheet_malformed"),
        (xlsx_of({"A": '<sheetData><c r="A1"><v>1e999</v></c></sheetData>'}), "sheet_malformed"),
        (xlsx_of({"A": '<sheetData><c r="XFD1"><v>1</v></c></sheetData>'}), "sheet_too_large"),
        (xlsx_of({f"S{n}": "" for n in range(limits.MAX_SHEETS + 1)}), "sheet_too_large"),
        (xlsx_of({"A": ""}, extra={"xl/bomb": "0" * 3_000_000}), "sheet_too_large"),
        (xlsx_of({"A": ""}, extra={f"xl/{n}": "" for n in range(limits.MAX_ENTRIES)}), "sheet_too_large"),
    ],
    ids=range(18),
)
def test_it_refuses_a_file_with_a_reason(data: bytes, code: str) -> None:
    assert code_of(data) == code


def test_it_counts_what_really_comes_out_of_an_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that an archive declares of itself may be lies: what is unpacked is counted."""
    monkeypatch.setattr(limits, "MAX_UNPACKED", 50_000)
    honest = xlsx_of({"A": rows_xml([["x" * 1000 + str(n)] for n in range(60)])})
    at = honest.rindex(b"PK\x01\x02", 0, honest.rindex(b"xl/worksheets/s1.xml"))
    lying = honest[: at + 24] + struct.pack("<I", 1000) + honest[at + 28 :]
    assert zipfile.ZipFile(BytesIO(lying)).getinfo("xl/worksheets/s1.xml").file_size == 1000
    assert code_of(honest) == "sheet_too_large"
    assert code_of(lying) in {"sheet_too_large", "sheet_malformed"}


def test_it_expands_no_entity_and_takes_no_part_twice() -> None:
    doctype = '<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><styleSheet/>'
    assert code_of(xlsx_of({"A": ""}, extra={"xl/styles.xml": doctype})) == "sheet_malformed"
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = _twice()
    assert code_of(twice) == "sheet_malformed"


def _twice() -> bytes:
    target = BytesIO(xlsx_of({"A": ""}))
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("xl/styles.xml", "<styleSheet/>")
    return target.getvalue()


def test_corner_cells_cost_nothing() -> None:
    """Formats without a value reach to the last row of many real sheets."""
    last = '<row r="1048576"><c r="XFD1048576" s="1"/></row>'
    far = f'<sheetData><row r="1"><c r="A1"><v>1</v></c></row>{last}</sheetData>'
    assert texts(xlsx_of({"A": far})) == [["1"]]


def test_it_takes_no_formula() -> None:
    cells = '<c r="A2"><f>1+1</f><v>2</v></c><c r="B2"><f>NOW()</f></c><c r="C2" t="e"><v>#REF!</v></c>'
    first = workbook.read(xlsx_of({"A": f"<sheetData>{cells}</sheetData>"})).sheets[0].rows[0]
    assert first.cells[0] == Cell(2.0, Kind.NUMBER, formula=True)
    assert first.cells[1] == Cell("", formula=True)
    assert first.cells[2].kind is Kind.ERROR
    (fate,) = fates_of(csv_of(row(owner="=HYPERLINK(1)")))
    assert [problem.code for problem in fate.problems] == ["formula"]


def test_it_reads_dates_and_columns_in_any_order() -> None:
    turned: list[list[object]] = [list(reversed(HEADINGS)), list(reversed(row(expires=46450)))]
    (fate,) = fates_of(xlsx_of({"Any": rows_xml(turned, dated=[0])}))
    assert fate.body["expires_at"] == "2027-03-04T23:59:59.000000Z"
    assert "serial_date" not in fate.flags


@pytest.mark.parametrize(
    "said",
    [[], {"colour": 1}, {"columns": {"colour": "A"}}, {"columns": {"title": 3}}, {"dates": "ymd"}, {"sheets": "A"},
     {"values": {"owner": {"a": None}}}, {"values": []}, {"defaults": {"owner": "x" * 501}}],
)  # fmt: skip
def test_it_refuses_a_mapping_that_it_does_not_understand(said: Any) -> None:
    with pytest.raises(ProoftrailError) as refused:
        mapping.parse(said)
    assert refused.value.code == "mapping_invalid"
