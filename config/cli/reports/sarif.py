"""SARIF 2.1.0 as a `scan.result`.

How severe a finding is: the rule's or the result's ``security-severity`` (a CVSS score: 9 critical, 7 high, 4 medium),
else its level (error high, warning medium, note low). What is suppressed, absent against the baseline, or passed is
counted apart or not at all.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from config.cli.errors import usage

SEVERITIES = ("critical", "high", "medium", "low")
TYPES = ("secrets", "sca", "sast", "dast")
_OF_LEVEL = {"error": "high", "warning": "medium", "note": "low"}
_SCORES = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
#: What well-known scanners look for, by the beginning of their name.
_LOOKS_FOR = {
    "secrets": ("gitleaks", "trufflehog", "detect-secrets", "ggshield", "kingfisher"),
    "sca": ("grype", "osv-scanner", "snyk open source", "dependency-check", "npm audit", "pip-audit", "dependabot"),
    "sast": ("codeql", "semgrep", "bandit", "gosec", "snyk code", "eslint", "brakeman", "spotbugs", "checkov"),
    "dast": ("zap", "owasp zap", "nuclei", "burp"),
}
_LONGEST_SCANNER = 120


def read(data: bytes, name: str, *, type_: str | None, fail_on: str | None) -> dict[str, Any]:
    """The body of a `scan.result`. Raises CommandError for what is no SARIF."""
    runs = _runs(data, name)
    scanner = ", ".join(dict.fromkeys(_tool(run) for run in runs))[:_LONGEST_SCANNER]
    type_ = _type_of(runs, name) if type_ is None else type_
    if type_ not in TYPES:
        raise usage(f"{type_!r} is not a type of scan", f"One of {', '.join(TYPES)}.")
    # A secret that was found is one too many, however its rule is graded.
    fail_on = fail_on or ("low" if type_ == "secrets" else "high")
    if fail_on not in SEVERITIES:
        raise usage(f"{fail_on!r} is not a severity", f"One of {', '.join(SEVERITIES)}.")
    found: Counter[str] = Counter()
    for run in runs:
        found.update(_graded(run, name))
    failing = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    broken = any(not ok for run in runs for ok in _succeeded(run))
    finished = _finished(runs)
    return {
        "type": type_,
        "scanner": scanner,
        "outcome": "failed" if broken or any(found[severity] for severity in failing) else "passed",
        "findings": {severity: found[severity] for severity in SEVERITIES},
        "suppressed": found["suppressed"],
        "fail_on": fail_on,
        **({"finished_at": finished} if finished else {}),
        **({"detail": "The scanner says that it did not finish."} if broken else {}),
        "report": "sarif",
    }


def _runs(data: bytes, name: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise usage(f"{name} is not JSON: {error}") from error
    runs = value.get("runs") if isinstance(value, dict) else None
    if not isinstance(runs, list) or not str(value.get("version", "")).startswith("2."):
        raise usage(f"{name} is not SARIF: it has no version 2 and no runs")
    if not runs or not all(isinstance(run, dict) and _tool(run) for run in runs):
        raise usage(f"{name} names no tool that ran", "A report without a run is no evidence of a scan.")
    if not all(isinstance(run.get("results"), list) for run in runs):
        # null says that the scan failed; absent, that there was none (SARIF 2.1.0, 3.14.23)
        raise usage(f"{name} has a run without results", "The scanner did not finish; an empty list means no findings.")
    return runs


def _at(value: Any, *path: str | int) -> Any:
    """What stands under these members, or None: nothing about a report's shape is relied on."""
    for part in path:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value):
            value = value[part]
        else:
            return None
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _tool(run: Mapping[str, Any]) -> str:
    driver = _at(run, "tool", "driver")
    name, version = _at(driver, "name"), _at(driver, "semanticVersion") or _at(driver, "version")
    if not isinstance(name, str) or not name.strip():
        return ""
    return f"{name} {version}" if isinstance(version, str) and version else name


def _type_of(runs: list[dict[str, Any]], name: str) -> str:
    found = {t for run in runs for t, names in _LOOKS_FOR.items() if _tool(run).lower().startswith(names)}
    if len(found) != 1:
        raise usage(f"{name} does not say what was looked for", f"Give --type: {', '.join(TYPES)}.")
    return found.pop()


def _graded(run: Mapping[str, Any], name: str) -> Iterator[str]:
    rules = {rule["id"]: rule for rule in _rules(run) if isinstance(_at(rule, "id"), str)}
    for result in run["results"]:
        if not isinstance(result, dict):
            raise usage(f"{name} is not SARIF: a result is an object")
        if result.get("kind", "fail") != "fail" or result.get("baselineState") == "absent":
            continue
        if _is_suppressed(result):
            yield "suppressed"
        elif severity := _severity(run, rules, result):
            yield severity


def _rules(run: Mapping[str, Any]) -> Iterator[Any]:
    for component in [_at(run, "tool", "driver"), *_list(_at(run, "tool", "extensions"))]:
        yield from _list(_at(component, "rules"))


def _is_suppressed(result: Mapping[str, Any]) -> bool:
    """Whether somebody accepted it: a suppression under review or rejected does not count (3.27.23)."""
    given = result.get("suppressions")
    if not isinstance(given, list) or not given:
        return False
    return all(_at(one, "status") in (None, "accepted") for one in given)


def _severity(run: Mapping[str, Any], rules: Mapping[Any, Any], result: Mapping[str, Any]) -> str | None:
    rule_id = result.get("ruleId") or _at(result, "rule", "id")
    index = result.get("ruleIndex")
    rule = rules.get(rule_id) if isinstance(rule_id, str) else None
    if rule is None and isinstance(index, int):
        rule = _at(run, "tool", "driver", "rules", index)
    for graded in (result, rule):
        score = _score(_at(graded, "properties", "security-severity"))
        if score is not None:
            return next((severity for least, severity in _SCORES if score >= least), None)
    level = result.get("level") or _at(rule, "defaultConfiguration", "level") or "warning"
    return _OF_LEVEL.get(str(level), "medium") if level != "none" else None


def _score(value: Any) -> float | None:
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return score if isfinite(score) else None


def _succeeded(run: Mapping[str, Any]) -> Iterator[bool]:
    for invocation in _list(_at(run, "invocations")):
        yield _at(invocation, "executionSuccessful") is not False


def _finished(runs: list[dict[str, Any]]) -> str | None:
    ends = []
    for run in runs:
        for invocation in _list(_at(run, "invocations")):
            end = _at(invocation, "endTimeUtc")
            try:
                at = datetime.fromisoformat(end)
                ends.append(at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC))
            except (TypeError, ValueError, OverflowError):
                continue
    return max(ends).strftime("%Y-%m-%dT%H:%M:%SZ") if ends else None
