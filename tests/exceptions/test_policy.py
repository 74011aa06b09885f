"""Rules as data: a company's file is read member by member, and a wrong one is refused with its line."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_django import Settings

from config.errors import InvalidError
from exceptions import policy
from exceptions.checks import policy_is_sound


@pytest.fixture
def file(tmp_path: Path, settings: Settings) -> Iterator[Path]:
    """A company's own."""
    settings.DATA_PATHS = [tmp_path]
    (tmp_path / "policies").mkdir()
    policy.load.cache_clear()
    yield tmp_path / "policies" / "exceptions.yaml"
    policy.load.cache_clear()


def test_a_company_overrides_single_members(file: Path) -> None:
    file.write_text("expiring_days: 10\nreminders:\n  repeat_days: 14\n")
    found = policy.load()
    assert (found.expiring, found.reminders.repeat_days) == (timedelta(days=10), 14)
    assert found.longest_term["critical"] == timedelta(days=30)
    assert found.reminders.before_days == (30, 14, 7, 3, 1, 0)
    assert policy_is_sound(None) == []


def test_an_executive_allows_no_less_than_others_do(file: Path) -> None:
    figures = "{critical: 30, high: 200, medium: 180, low: 365}"
    file.write_text(f"longest_term_days: {figures}\n")
    (error,) = policy_is_sound(None)
    assert "longest_with_executive_days.high: 180 is less than the 200 of longest_term_days.high" in error.msg
    file.write_text(f"longest_term_days: {figures}\nlongest_with_executive_days: {figures}\n")
    assert policy_is_sound(None) == []


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("reminders:\n  overdue:\n    - {days: 1, to: [managers]}", 3, 'reminders.overdue[0].to[0]: "managers"'),
        ("reminders:\n  overdue:\n    - {days: 1}", 3, 'reminders.overdue[0]: "to"'),
        ("reminders:\n  retry_minutes: []", 2, "reminders.retry_minutes: "),
        ("reminders:\n  retries: [1]", 1, "reminders: "),
        ("reminders:\n  before: {days: [soon], to: [owner]}", 2, 'reminders.before.days[0]: "soon"'),
        ("reminders:\n  digest: {weekday: Monday, above: 1, steps: []}", 2, "reminders.digest.weekday: "),
        ("reminders:\n  overdue: [{days: 3, to: [owner]}, {days: 3, to: [manager]}]", 2, "there is a step of 3 days"),
        ("longest_term_days: {critical: 30}", 1, "longest_term_days: "),
        ("longest_terms: 3", 1, "the file: "),
        ("expiring_days: [", 1, "this is not YAML"),
        ("a: 1\na: 2", 2, "a is given twice"),
    ],
)
def test_it_names_the_line_and_the_member(file: Path, text: str, line: int, said: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidError) as refused:
        policy.load()
    assert refused.value.code == "policy_invalid"
    assert refused.value.detail.startswith(f"{file}:{line}: ")
    assert said in refused.value.detail
    assert [error.id for error in policy_is_sound(None)] == ["exceptions.E001"]
