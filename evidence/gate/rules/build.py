"""Rules about the build itself: tests, reviews, scans, schema, change log (R1.4, R2.2, R4.5)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from evidence.events import Event, in_words
from evidence.gate.facts import Facts, counted, short, shown
from evidence.gate.findings import Finding, met, stale, unmet
from evidence.gate.rules import Nothing, no_manifest, rule


@rule("release-open")
def release_open(facts: Facts, _: Nothing) -> Finding:
    """The release is neither closed nor cancelled."""
    ends = facts.own("release.closed", "release.cancelled")
    if ends:
        return unmet(f"{ends[-1].kind.removeprefix('release.')} {shown(ends[-1].at)}", ends)
    return Finding("met", "open", (facts.opened,))


@rule("manifest-recorded")
def manifest_recorded(facts: Facts, _: Nothing) -> Finding:
    """There is a deploy manifest."""
    manifest = facts.manifest
    if manifest is None:
        return unmet("no deploy manifest")
    return met(short(manifest.digest), [manifest], digest=manifest.digest, commit=manifest.facts.get("commit"))


@dataclass(frozen=True)
class Suites:
    suites: tuple[str, ...]


@rule("tests-passed", Suites, before_deploy=True)
def tests_passed(facts: Facts, parameters: Suites) -> Finding:
    """The newest result of every suite named, for this build, passed."""
    if facts.manifest is None:
        return no_manifest()
    newest = {_name(event.facts.get("suite")): event for event in facts.for_build("test.result")}
    named = {suite: newest.get(_name(suite)) for suite in parameters.suites}
    results = {suite: event.outcome if event else None for suite, event in named.items()}
    found = [event for event in named.values() if event is not None]
    failed = [suite for suite, event in named.items() if event is not None and event.outcome != "passed"]
    if failed:
        return unmet(f"failed: {', '.join(failed)}", found, suites=results)
    missing = [suite for suite, event in named.items() if event is None]
    if not missing:
        return met(f"{counted(len(found), 'suite')} passed", found, suites=results)
    outdated = [event for event in facts.own("test.result") if _name(event.facts.get("suite")) in map(_name, missing)]
    detail = f"no result of {', '.join(missing)} for {short(facts.digest)}"
    if outdated:
        return stale(
            f"{detail}, only for another build or for none", [*found, *outdated[-len(missing) :]], suites=results
        )
    return unmet(detail, found, suites=results)


def _name(value: object) -> str:
    return str(value).strip().casefold()


@dataclass(frozen=True)
class Reviewers:
    reviewers: int


@rule("changes-reviewed", Reviewers)
def changes_reviewed(facts: Facts, parameters: Reviewers) -> Finding:
    """Every pull request of the manifest has so many different reviewers, its author not among them."""
    manifest = facts.manifest
    if manifest is None:
        return no_manifest()
    changes = manifest.facts.get("pull_requests") or []
    if not changes:
        return unmet("the manifest names no pull request", [manifest])
    reviewed: dict[str, int] = {}
    for change in changes:  # one that is listed twice counts as its worse
        count, url = _reviewers(change, manifest), str(change["url"])
        reviewed[url] = min(count, reviewed.get(url, count))
    lacking = {url: count for url, count in reviewed.items() if count < parameters.reviewers}
    if lacking:
        worst = ", ".join(f"{url} by {count}" for url, count in list(lacking.items())[:5])
        fewer = f"have fewer than {counted(parameters.reviewers, 'reviewer')}"
        return unmet(
            f"{len(lacking)} of {counted(len(reviewed), 'change')} {fewer}: {worst}",
            [manifest],
            changes=len(reviewed),
            lacking=dict(list(lacking.items())[:100]),
        )
    least = min(reviewed.values())
    return met(
        f"{counted(len(reviewed), 'change')}, each by {least} or more", [manifest], changes=len(reviewed), least=least
    )


def _reviewers(change: dict[str, Any], manifest: Event) -> int:
    authors = {_name(change.get("author")), _name(manifest.facts.get("author"))}
    return len({_name(name) for name in change.get("reviewers") or [] if str(name).strip()} - authors)


@dataclass(frozen=True)
class Scan:
    type: str
    #: Severities of findings that block.
    blocking: tuple[str, ...]


@rule("scan-clean", Scan, before_deploy=True)
def scan_clean(facts: Facts, parameters: Scan) -> Finding:
    """The newest scan of that type by each scanner, for this build, passed without blocking findings."""
    if facts.manifest is None:
        return no_manifest()
    newest: dict[str, Event] = {}
    for event in facts.for_build("scan.result"):
        if event.facts.get("type") == parameters.type:
            newest[str(event.facts.get("scanner"))] = event
    if not newest:
        others = [event for event in facts.own("scan.result") if event.facts.get("type") == parameters.type]
        detail = f"no {parameters.type} scan of {short(facts.digest)}"
        return stale(f"{detail}, only of another build or of none", others[-1:]) if others else unmet(detail)
    found = {scanner: _blocking(event, parameters) for scanner, event in newest.items()}
    bad = {scanner: counts for scanner, counts in found.items() if counts}
    failed = [scanner for scanner, event in newest.items() if event.outcome != "passed"]
    if bad or failed:
        parts = [f"{scanner}: {_in_words(counts)}" for scanner, counts in bad.items()]
        parts += [f"{scanner} did not pass" for scanner in failed if scanner not in bad]
        return unmet("; ".join(parts), newest.values(), findings=found)
    return met(f"clean by {', '.join(sorted(newest))}", newest.values(), findings=found)


def _blocking(event: Event, parameters: Scan) -> dict[str, int]:
    findings = event.facts.get("findings") or {}
    wanted = {_name(severity) for severity in parameters.blocking}
    return {severity: count for severity, count in findings.items() if _name(severity) in wanted and count}


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {severity}" for severity, count in counts.items())


@rule("schema-reviewed", before_deploy=True)
def schema_reviewed(facts: Facts, _: Nothing) -> Finding:
    """This build's schema diff is empty, or a person other than the poster of the manifest accepted it."""
    if facts.manifest is None:
        return no_manifest()
    diffs = facts.for_build("schema.diff")
    if not diffs:
        return unmet(f"no schema diff of {short(facts.digest)}")
    diff = diffs[-1]
    if diff.outcome == "unchanged":
        return met("the schema is unchanged", [diff])
    return _accepted(facts, "schema.reviewed", f"the {diff.outcome} schema diff", after=diff)


@rule("change-log-signed", before_deploy=True)
def change_log_signed(facts: Facts, _: Nothing) -> Finding:
    """The manifest sums up every surface of the release, and a person signed that off."""
    manifest = facts.manifest
    if manifest is None:
        return no_manifest()
    summed_up = {_name(surface) for surface, text in (manifest.facts.get("summary") or {}).items() if text.strip()}
    missing = [surface for surface in facts.surfaces if _name(surface) not in summed_up]
    if missing or not summed_up:
        return unmet(f"the manifest's summary lacks {', '.join(missing) or 'every surface'}", [manifest])
    return _accepted(facts, "changelog.signed", "the change log", after=facts.first_manifest or manifest)


def _accepted(facts: Facts, kind: str, what: str, *, after: Event) -> Finding:
    """A person's newest decision about this build, received after what it is about."""
    decisions = [event for event in facts.for_build(kind) if event.index > after.index and event.by != after.by]
    if not decisions:
        others = facts.own(kind)
        lacking = f"nobody has signed off {what}"
        return (
            stale(f"{lacking} of {short(facts.digest)}", [*others[-1:], after]) if others else unmet(lacking, [after])
        )
    last = decisions[-1]
    if last.outcome != "accepted":
        return unmet(f"{what} was rejected {shown(last.at)}", [after, last], by=last.by)
    return met(f"{what} was accepted {shown(last.at)}", [after, last], by=last.by)


@dataclass(frozen=True)
class Merged:
    branch: str
    hours: float


@rule("merged-recently", Merged)
def merged_recently(facts: Facts, parameters: Merged) -> Finding:
    """That branch was merged into the release branch so recently, and the build has it.

    Once the build is in production, "recently" is before that deploy.
    """
    merges = [event for event in facts.own("branch.merged") if event.facts.get("branch") == parameters.branch]
    if not merges:
        return unmet(f"no record of a merge of {parameters.branch}")
    last, until = merges[-1], facts.deployed_at or facts.moment
    if facts.manifest is not None and last.facts.get("commit") != facts.manifest.facts.get("commit"):
        detail = f"the build is not of the merged commit {str(last.facts.get('commit'))[:12]}"
        return stale(detail, [last, facts.manifest])
    age = until - last.occurred
    if age > timedelta(hours=parameters.hours):
        return stale(f"merged {in_words(age)} before, {parameters.hours:g} h allowed", [last])
    return met(f"merged {shown(last.occurred)}", [last])
