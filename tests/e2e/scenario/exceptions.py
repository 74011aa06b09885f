"""Step 5: a security exception with its reminder, and one that expires while one watches."""

import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from html import unescape

import httpx

from tests.e2e.scenario import company
from tests.e2e.scenario.mail import messages_to
from tests.e2e.scenario.stage import NotHeldError, Stage, expect, hidden, same, tick, wait_for

REGISTER = "/admin/exceptions/securityexception/"
TITLE = "Exception tracking stays in a spreadsheet until the migration"


def step_5_exceptions(stage: Stage) -> None:
    """An exception asked for by form, approved by another, six days ahead, is reminded of; another one expires"""
    number = _requested_by_form(stage)
    _approved_by_another(stage, number)
    expires = datetime.fromisoformat(stage.get("lea", f"exceptions/{number}")["expires_at"])

    def reminded() -> EmailMessage | None:
        found = [mail for mail in messages_to(stage, company.mail("priya")) if number in _words(mail)]
        return found[-1] if found else None  # by itself, or in a digest of all that is due

    mail = wait_for("beat and worker send the reminder", reminded, seconds=60)
    words = _words(mail)
    expect(
        f"{expires:%Y-%m-%d}" in words and stage.url in words,
        f"Priya, the owner, has the mail “{mail['Subject']}”, with the date and links",
    )
    _expires_while_one_watches(stage)


def _words(mail: EmailMessage) -> str:
    text = mail.get_body(("plain",))
    return str(text.get_content()) if text is not None else ""


def _requested_by_form(stage: Stage) -> str:
    """Lea fills in the form. The condition exists for three weeks, so the reminder of seven days is due."""
    lea = stage.browser("lea")
    form = lea.get(REGISTER + "add/")
    fields = hidden(form) | {
        "title": TITLE,
        "justification": "Manual exception governance; the migration to the governance platform is under way.",
        "severity": "high",
        "covered": _choice(form, "covered", company.SYSTEM),
        "answerable": _choice(form, "answerable", company.PEOPLE["priya"][0]),
        "waived": "",
        "control_lines": "Weekly review of the sheet by the liaison",
        "starts": f"{datetime.now(UTC) - timedelta(days=21):%Y-%m-%d}",
        "until": f"{datetime.now(UTC) + timedelta(days=6):%Y-%m-%d}",
    }
    page = lea.post(REGISTER + "add/", data=fields, headers={"Referer": str(form.url)})
    newest = stage.get("lea", "exceptions", limit=1)["results"]
    if page.status_code != 200 or not newest or newest[0]["title"] != TITLE:
        raise NotHeldError(f"the form was not taken ({page.status_code}): {_errors(page)}")
    number: str = newest[0]["id"]
    same(newest[0]["state"], "requested", f"{number} was requested through the form by Lea, the liaison")
    stage.remember(exception=number)
    return number


def _choice(form: httpx.Response, field: str, label: str) -> str:
    """The value behind a label of a select or of checkboxes."""
    select = re.search(rf'<select name="{field}".*?</select>', form.text, re.DOTALL)
    options = re.findall(r'<option value="([^"]+)"[^>]*>\s*([^<]*)', select[0]) if select else []
    for value, text in [*options, *_boxes(form, field)]:
        if label in unescape(text):
            return str(value)
    raise NotHeldError(f"the form offers no {label!r}")


def _boxes(form: httpx.Response, field: str) -> list[tuple[str, str]]:
    """Checkboxes of a field: value and the words that follow."""
    found = []
    for box in re.finditer(r"<input\b[^>]*>", form.text):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', box[0]))
        if attributes.get("name") == field:
            found.append((attributes["value"], re.sub(r"<[^>]+>", " ", form.text[box.end() : box.end() + 600])))
    return found


def _errors(page: httpx.Response) -> str:
    lists = re.findall(r'class="errorlist[^"]*"[^>]*>(.*?)</ul>', page.text, re.DOTALL)
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", found) for found in lists))[:300]


def _approved_by_another(stage: Stage, number: str) -> None:
    for who, part in (("lea", "asked for it"), ("priya", "owns it")):
        with stage.api(who) as client:
            refused = client.post(f"exceptions/{number}/transitions", json={"to": "approved", "reason": "mine"})
        found = (refused.status_code, refused.json()["code"])
        same(found, (403, "self_approval"), f"{who.title()}, who {part}, may not approve: self_approval")
    dana = stage.browser("dana")
    form = dana.get(f"{REGISTER}{number}/approve/")
    data = hidden(form) | {"reason": "Six days are enough for the migration"}
    page = dana.post(f"{REGISTER}{number}/approve/", data=data, headers={"Referer": str(form.url)})
    approved = stage.get("lea", f"exceptions/{number}")
    if approved["state"] not in {"active", "expiring"}:
        raise NotHeldError(f"{number} is {approved['state']} after the approval in the admin: {_errors(page)}")
    tick(f"Dana approved it in the admin: {number} is {approved['state']}")


def _expires_while_one_watches(stage: Stage) -> None:
    until = datetime.now(UTC) + timedelta(seconds=20)
    body = {
        "title": "Tiingo quota alerts are off during the vendor's maintenance",
        "justification": "The vendor resets its quota counter",
        "severity": "medium",
        "systems": [company.SYSTEM],
        "owner": company.mail("priya"),
        "expires_at": until.isoformat(),
    }
    short = stage.post("alice", "exceptions", body)["exception"]["id"]
    stage.post("lea", f"exceptions/{short}/transitions", {"to": "approved", "reason": "Twenty seconds"})
    state = stage.get("lea", f"exceptions/{short}")["state"]
    expect(state in {"active", "expiring"}, f"{short} is {state} until {until:%H:%M:%S} UTC")

    def expired() -> bool | None:
        return True if stage.get("lea", f"exceptions/{short}")["state"] == "expired" else None

    wait_for(f"{short} expires by itself", expired, seconds=40)
    stage.remember(expired=short)
    expect(datetime.now(UTC) >= until, f"{short} is expired; nothing had to run for that")
