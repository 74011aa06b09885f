"""What a manifest changes against the last release of its system that reached production (R1.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evidence.deploys import PRODUCTION
from evidence.ledger import reader
from evidence.models import Record, Release


@dataclass(frozen=True)
class Changed:
    """One thing that differs. `what`: added, removed or changed."""

    name: str
    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Difference:
    """`since` is the release it is compared with; None when there is none before it."""

    since: str | None
    commit_before: str
    commit: str
    artifacts: tuple[Changed, ...]
    settings: tuple[Changed, ...]
    unchanged_artifacts: int
    pull_requests: tuple[Mapping[str, Any], ...]


def difference(release: Release) -> Difference | None:
    """None while the release has no manifest, or once it was disposed of."""
    body = _body(release.manifest_index)
    if body is None:
        return None
    last = last_in_production(release)
    before = _body(last.manifest_index) if last else None
    return compare(body, before, since=last.pk if last and before is not None else None)


def last_in_production(release: Release) -> Release | None:
    """The newest release of the system, opened before this one, that was deployed to production."""
    deployed = Record.objects.counting().filter(
        kind="deploy.finished", outcome="succeeded", facts__environment=PRODUCTION, scope__contains=[release.system_id]
    )
    earlier = Release.objects.filter(system=release.system_id, opened_by__lt=release.opened_by).exclude(
        manifest_index=None
    )
    return earlier.filter(pk__in=deployed.values("release")).order_by("-opened_by").first()


def _body(index: int | None) -> Mapping[str, Any] | None:
    if index is None:
        return None
    stored = reader.get(index)
    return stored.recorded.body if stored.envelope is not None else None


def compare(body: Mapping[str, Any], before: Mapping[str, Any] | None, *, since: str | None) -> Difference:
    """Pure. Without a manifest before, everything is new."""
    old = before or {}
    artifacts = _named(old), _named(body)
    known = {pull.get("url") for pull in old.get("pull_requests", [])}
    return Difference(
        since=since,
        commit_before=old.get("commit", ""),
        commit=body["commit"],
        artifacts=tuple(_changes(*artifacts)),
        settings=tuple(_changes(_settings(old), _settings(body))),
        unchanged_artifacts=sum(artifacts[0].get(name) == digest for name, digest in artifacts[1].items()),
        pull_requests=tuple(pull for pull in body.get("pull_requests", []) if pull.get("url") not in known),
    )


def _named(body: Mapping[str, Any]) -> dict[str, str]:
    return {artifact["name"]: artifact["sha256"] for artifact in body.get("artifacts", [])}


def _settings(body: Mapping[str, Any]) -> dict[str, str]:
    named = {"configuration": body.get("config_digest"), "feature flags": body.get("flags_digest")}
    return {name: value for name, value in named.items() if value}


def _changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[Changed]:
    found = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, ""), new.get(name, "")
        if before != after:
            found.append(
                Changed(name, "changed" if before and after else "added" if after else "removed", before, after)
            )
    return found
