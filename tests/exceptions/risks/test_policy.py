"""The scale as data: what is wrong is named by file and member."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from config.errors import InvalidError
from exceptions import risk_policy
from exceptions.exchange import words
from exceptions.models import Risk

BUILT_IN = yaml.safe_load(Path(risk_policy.__file__).with_name("policies").joinpath("risks.yaml").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"likelyhood": []}, "risks.yaml, likelyhood: there is no such member"),
        ({"impact": [{"word": "bad"}]}, "risks.yaml, impact: a scale has 5 steps"),
        ({"impact": [{"word": "1"}] * 5}, "risks.yaml, impact[0]: a step is {word, means}"),
        ({"impact": [{"word": "bad"}] * 5}, "risks.yaml, impact: no two steps have the same word"),
        ({"levels": {"critical": 15}}, "risks.yaml, levels: it names each of critical, high, medium, low"),
        ({"levels": {"critical": 9, "high": 10, "medium": 5, "low": 1}}, "risks.yaml, levels: each begins below"),
        ({"levels": {"critical": 15, "high": 10, "medium": 5, "low": 2}}, "risks.yaml, levels.low: it begins at 1"),
        ({"review_days": {"critical": "30"}}, "risks.yaml, review_days: it names each of"),
        (
            {"review_days": {"critical": 0, "high": 1, "medium": 1, "low": 1}},
            "risks.yaml, review_days.critical: 0 is no",
        ),
        ({"remind": [{"days": 0, "to": "boss"}]}, "risks.yaml, remind[0].to: 'boss' is none of owner"),
        ({"remind": [{"days": True, "to": "owner"}]}, "risks.yaml, remind[0].days: True is no whole number"),
        ({"retry_minutes": []}, "risks.yaml, retry_minutes: it is a list"),
    ],
)
def test_it_names_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError) as refused:
        risk_policy.parse(BUILT_IN | change)
    assert refused.value.detail.startswith(message)
    assert refused.value.code == "policy_invalid"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"headers": {}}, "risk-import.yaml, headers: there is no such member"),
        ({"headings": {"severity": ["sev"]}}, "risk-import.yaml, headings.severity: there is none"),
        ({"likelihood": {6: ["sure"]}}, "risk-import.yaml, likelihood.6: there is none"),
        ({"status": {"open": "new"}}, "risk-import.yaml, status.open: it is a list of words"),
        ([], "risk-import.yaml, the file: it holds"),
    ],
)
def test_it_names_what_is_wrong_with_words(given: Any, message: str) -> None:
    with pytest.raises(InvalidError) as refused:
        words.parse(given)
    assert refused.value.detail.startswith(message)


def test_a_company_has_words_and_thresholds_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"levels": {"critical": 20, "high": 12, "medium": 6, "low": 1}}
    policy = risk_policy.parse(BUILT_IN | own)
    monkeypatch.setattr(risk_policy, "load", lambda: policy)
    assert [policy.level(rating) for rating in (1, 5, 6, 12, 20, 25)] == [
        *("low", "low", "medium", "high", "critical", "critical")
    ]
    assert [policy.span(level) for level in ("low", "critical")] == [(1, 6), (20, 26)]
    assert Risk(likelihood=4, impact=4, residual_likelihood=1, residual_impact=4).level == "low"
