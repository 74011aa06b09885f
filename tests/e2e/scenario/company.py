"""The company of the play: Netlify Trading, after its deployment playbook and its quarterly retrospective."""

from datetime import UTC, datetime, timedelta
from typing import Any

SYSTEM = "netlify-trading"
#: name, role, sign-off role
PEOPLE: dict[str, tuple[str, str, str | None]] = {
    "max": ("Max Moreau", "executive", None),
    "lea": ("Lea Lindqvist", "liaison", None),
    "cora": ("Cora Castillo", "captain", None),
    "alice": ("Alice Ames", "engineer", "design"),
    "priya": ("Priya Patel", "approver", "product"),
    "dana": ("Dana Duarte", "approver", "design"),
    "quinn": ("Quinn Qureshi", "approver", "qa"),
    "sam": ("Sam Sato", "approver", "sre"),
    "ada": ("Ada Adeyemi", "auditor", None),
}
APPROVERS = {"product": "priya", "design": "dana", "qa": "quinn", "sre": "sam"}
SURFACES = ["AI Analyst", "Quant Screener", "Valuation Lab", "Professional Desk"]
SCREENSHOTS = "https://jira.netlify-trading.example/browse/TRD-1042#screenshots"
SUITES = {"unit": 412, "integration": 96, "contract": 38, "lint": 1}
TODAY = datetime.now(UTC)


def mail(who: str) -> str:
    return f"{who}@netlify-trading.example"


def release(tag: str) -> dict[str, Any]:
    """The ticket's fields (R1.1, R1.11): a window around now, since dates are real."""
    start = datetime.now(UTC).replace(second=0, microsecond=0)
    return {
        "system": SYSTEM,
        "tag": tag,
        "type": "regular",
        "ticket_id": "TRD-1042",
        "ticket_url": "https://jira.netlify-trading.example/browse/TRD-1042",
        "dashboards": [
            {"name": "Datadog: trading.netlify.app", "url": "https://datadog.netlify-trading.example/d/trading"},
            {"name": "Core Web Vitals", "url": "https://datadog.netlify-trading.example/d/vitals"},
        ],
        "captain": PEOPLE["cora"][0],
        "commander": PEOPLE["sam"][0],
        "surfaces": SURFACES,
        "window": {"from": start.isoformat(), "to": (start + timedelta(hours=1)).isoformat()},
    }


def manifest(tag: str) -> dict[str, Any]:
    """The build manifest summary of the playbook; artifacts are added from the real files."""
    return {
        "commit": "4be1c0ffee5eed0ddba11ad5cafe0123456789ab",
        "author": mail("alice"),
        "environment": "production",
        "summary": {
            "AI Analyst": "Summaries cite their sources",
            "Quant Screener": "Faster factor filters",
            "Valuation Lab": "Spreadsheet export fixed",
            "Professional Desk": "Unchanged",
        },
        "pull_requests": [
            {
                "url": "https://git.netlify-trading.example/trading/pulls/871",
                "author": mail("alice"),
                "reviewers": [mail("quinn"), mail("sam")],
            }
        ],
        "config_digest": "netlify/.env.production@" + tag,
        "flags_digest": "data/feature-flags.json@" + tag,
    }


def build_files(tag: str) -> dict[str, bytes]:
    """What `npm run build` left."""
    return {
        "main.4be1c0ff.js": f'export const release = "{tag}";\n'.encode() + b"export function analyse(){}\n" * 400,
        "index.html": b"<!doctype html><title>Netlify Trading</title><script src=main.4be1c0ff.js></script>\n",
        "netlify-functions.txt": b"quote.js\nscreener.js\nvaluation.js\n" * 20,
    }


def deploy_log(tag: str, environment: str) -> bytes:
    lines = [
        f'netlify deploy {"--prod" if environment == "production" else "--alias=stage"} --dir=build --message="{tag}"',
        "uploading 3 files",
        "functions bundled: quote, screener, valuation",
        "published to trading.netlify.app",
        "GET / 200",
    ]
    return "\n".join(f"15:0{n}:00Z {line}" for n, line in enumerate(lines)).encode() + b"\n"


def tag_of(day: datetime, number: int) -> str:
    """release-YYYYMMDD, and .2, .3 … for later ones of the same day."""
    return f"release-{day:%Y%m%d}" + (f".{number}" if number > 1 else "")


def quarter(day: datetime) -> str:
    return f"{day.year}-Q{(day.month - 1) // 3 + 1}"
