"""Bodies as pipelines and people send them, by kind; `number` makes each one another."""

import hashlib
from collections.abc import Callable
from typing import Any

_HOST = "netlify-trading.example"
_CHECKS = ["home page answers 200", "login", "quote search", "watch list", "export to CSV", "AI summary cites sources"]
_PACKAGES = ["react", "vite", "zod", "date-fns", "lodash", "axios", "d3-scale", "react-query", "undici", "postcss"]


def digest_of(number: int) -> str:
    return hashlib.sha256(b"build %d" % number).hexdigest()


def manifest_digest(number: int) -> str:
    return f"sha256:{digest_of(number)}"


def test_result(number: int) -> dict[str, Any]:
    """What the speed of writes is measured with: about 350 bytes."""
    return {
        "suite": ("unit", "integration", "contract", "lint")[number % 4],
        "outcome": "passed",
        "passed": 400 + number % 97,
        "failed": 0,
        "skipped": number % 5,
        "url": f"https://ci.{_HOST}/runs/{918_000 + number}/job/{number % 7}",
        "manifest_digest": manifest_digest(number),
        "detail": f"{400 + number % 97} passed, {number % 5} skipped in {31 + number % 11}.{number % 10} s",
    }


def scan_result(number: int) -> dict[str, Any]:
    return {
        "type": ("sca", "sast", "secrets", "dast")[number % 4],
        "scanner": "trivy 0.58.1",
        "outcome": "passed",
        "findings": {"critical": 0, "high": number % 3, "medium": number % 7, "low": number % 19},
        "url": f"https://ci.{_HOST}/runs/{918_000 + number}/scan",
    }


def validation_result(number: int) -> dict[str, Any]:
    return {
        "check": _CHECKS[number % len(_CHECKS)],
        "environment": "staging",
        "outcome": "passed",
        "manifest_digest": manifest_digest(number),
        "detail": f"answered 200 in {80 + number % 240} ms from fra1, {number % 3} retries",
    }


def deploy_manifest(number: int) -> dict[str, Any]:
    names = ["index.html", "app.js", "app.css", "vendor.js", "worker.js", "og.png", "robots.txt", "manifest.json"]
    return {
        "commit": digest_of(number)[:40],
        "author": f"alice@{_HOST}",
        "environment": "production",
        "summary": {"AI Analyst": "Summaries cite their sources", "Quant Screener": "Faster factor filters"},
        "artifacts": [
            {"name": f"assets/{name}", "size": 1000 + 977 * place + number, "sha256": digest_of(number * 31 + place)}
            for place, name in enumerate(names)
        ],
        "config_digest": manifest_digest(number + 1),
        "flags_digest": manifest_digest(number + 2),
        "pull_requests": [
            {
                "url": f"https://github.com/netlify-trading/app/pull/{1200 + number + place}",
                "author": f"alice@{_HOST}",
                "reviewers": [f"dana@{_HOST}", f"quinn@{_HOST}"],
            }
            for place in range(4)
        ],
    }


def deploy_finished(number: int) -> dict[str, Any]:
    return {
        "environment": "production",
        "manifest_digest": manifest_digest(number),
        "outcome": "succeeded",
        "url": f"https://{digest_of(number)[:24]}--trading.netlify.app",
        "detail": f"published in {20 + number % 40} s",
    }


def deploy_inventory(number: int) -> dict[str, Any]:
    return {
        "source": "Netlify API",
        "query": "GET /api/v1/sites/trading/deploys?per_page=60",
        "rows": [
            {
                "id": digest_of(number * 61 + row)[:24],
                "at": f"2026-03-{1 + row % 28:02}T{row % 24:02}:{number % 60:02}:07Z",
                "release": f"netlify-trading:release-202603{1 + row % 28:02}",
                "environment": ("production", "staging")[row % 2],
            }
            for row in range(60)
        ],
    }


def flags_snapshot(number: int) -> dict[str, Any]:
    areas = ("screener", "analyst", "valuation", "desk")
    flags = {
        f"{areas[place % 4]}.feature-{place}": {"on": (place + number) % 3 > 0, "rollout_percent": place * 7 % 101}
        for place in range(80)
    }
    return {"environment": "production", "digest": manifest_digest(number), "flags": flags}


def metrics_snapshot(number: int) -> dict[str, Any]:
    return {
        "environment": "production",
        "metrics": {
            "lcp_ms": 1700 + number % 300,
            "inp_ms": 90 + number % 60,
            "cls": round(0.02 + number % 9 / 100, 2),
            "api_error_rate_percent": round(0.1 + number % 7 / 10, 1),
            "p95_latency_ms": 210 + number % 90,
            "lighthouse": 94 + number % 6,
        },
        "url": f"https://datadog.{_HOST}/d/vitals?to={1_772_000_000 + number}",
    }


def checklist(number: int) -> dict[str, Any]:
    titles = ["Code freeze announced", "Regression plan run", "Feature flags reviewed", "Rollback rehearsed", "Docs"]
    return {
        "sections": [
            {
                "name": name,
                "items": [
                    {"title": title, "done": True, "evidence": f"https://jira.{_HOST}/browse/TRD-{number + place}"}
                    for place, title in enumerate(titles)
                ],
            }
            for name in ("Engineering", "Quality", "Product", "Operations")
        ]
    }


def vulns(number: int) -> dict[str, Any]:
    """An in-toto vulns predicate, as trivy or grype make it."""
    return {
        "scanner": {
            "uri": "pkg:github/aquasecurity/trivy@0.58.1",
            "db": {"uri": "ghcr.io/aquasecurity/trivy-db", "lastUpdate": "2026-03-12T06:10:00Z"},
            "result": [
                {
                    "id": f"CVE-2025-{20_000 + number + place * 37}",
                    "severity": [{"method": "CVSS_V3", "score": f"{3 + place % 6}.{place % 10}"}],
                    "annotations": [{"package": _PACKAGES[place % 10], "fixed_in": f"{place % 9}.{place % 5}.1"}],
                }
                for place in range(40)
            ],
        },
        "metadata": {"scanStartedOn": "2026-03-12T09:00:00Z", "scanFinishedOn": "2026-03-12T09:01:10Z"},
    }


def provenance(number: int) -> dict[str, Any]:
    """SLSA provenance v1, as GitHub's generator makes it."""
    repository = "https://github.com/netlify-trading/app"
    return {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {
                "workflow": {"ref": "refs/heads/main", "repository": repository, "path": ".github/workflows/ship.yml"}
            },
            "internalParameters": {"github": {"event_name": "push", "repository_id": "71450231", "runner": "hosted"}},
            "resolvedDependencies": [
                {"uri": f"git+{repository}@refs/heads/main", "digest": {"gitCommit": digest_of(number)[:40]}}
            ],
        },
        "runDetails": {
            "builder": {"id": f"{repository}/.github/workflows/ship.yml@refs/heads/main"},
            "metadata": {"invocationId": f"{repository}/actions/runs/{9_180_000_000 + number}/attempts/1"},
        },
    }


def sbom(number: int) -> dict[str, Any]:
    """A CycloneDX bill of 120 components."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{digest_of(number)[:8]}-1111-4111-8111-{digest_of(number)[:12]}",
        "components": [
            {
                "type": "library",
                "name": f"{_PACKAGES[place % 10]}-{place}",
                "version": f"{place % 9}.{place % 13}.{number % 7}",
                "purl": f"pkg:npm/{_PACKAGES[place % 10]}-{place}@{place % 9}.{place % 13}.{number % 7}",
                "hashes": [{"alg": "SHA-256", "content": digest_of(number * 131 + place)}],
                "licenses": [{"license": {"id": ("MIT", "Apache-2.0", "ISC")[place % 3]}}],
            }
            for place in range(120)
        ],
    }


def postmortem(number: int) -> dict[str, Any]:
    timeline = "".join(
        f"14:{minute:02} UTC  {what}\n"
        for minute, what in enumerate(
            [
                "Alert: API error rate above 2 percent on the screener",
                "Sam acknowledges, opens the incident channel, names Cora commander",
                "Errors traced to the factor cache: keys of the new release collide with those of the old one",
                "Decision: roll back to the previous tag, flags restored from the snapshot",
                "Rollback published, error rate falls below 0.3 percent",
                "Customers told on the status page; support answers the 14 open tickets",
            ]
        )
    )
    return {
        "incident": f"INC-{4000 + number}",
        "impact": "Screener answered with errors for 11 minutes; 1.9 percent of requests, no data lost.",
        "timeline": timeline,
        "root_cause": "Cache keys did not name the schema's version, so two releases read each other's entries.",
        "contributing_factors": "The canary shared the cache with production; its errors were below the threshold.",
        "prevention": "Keys carry the schema's version; the canary has a cache of its own; a contract test compares.",
    }


def decision(number: int) -> dict[str, Any]:
    return {
        "title": f"Ship release {number} with the valuation export behind a flag",
        "decision": "The export goes out at 5 percent and is raised daily while errors stay under 0.5 percent.",
        "rationale": "Two of nine formats were tested with customers' files only yesterday; a flag is quick to close.",
    }


#: Kind, the well-known predicate type where it is not the kind's own, and its body.
KINDS: list[tuple[str, str | None, Callable[[int], dict[str, Any]]]] = [
    ("test.result", None, test_result),
    ("scan.result", None, scan_result),
    ("scan.result", "https://in-toto.io/attestation/vulns/v0.1", vulns),
    ("validation.result", None, validation_result),
    ("metrics.snapshot", None, metrics_snapshot),
    ("flags.snapshot", None, flags_snapshot),
    ("release.checklist", None, checklist),
    ("deploy.manifest", None, deploy_manifest),
    ("deploy.finished", None, deploy_finished),
    ("deploy.inventory", None, deploy_inventory),
    ("slsa.provenance", "https://slsa.dev/provenance/v1", provenance),
    ("sbom", "https://cyclonedx.org/bom", sbom),
    ("postmortem", None, postmortem),
    ("decision", None, decision),
]
