"""Step 8: the monthly report, by mail and on screen."""

from email.message import EmailMessage

from tests.e2e.scenario import company
from tests.e2e.scenario.mail import messages_to
from tests.e2e.scenario.stage import Stage, expect, wait_for


def step_8_report(stage: Stage) -> None:
    """An executive receives the monthly report: PDF and text by mail, the same page on screen"""
    month = f"{company.TODAY:%Y-%m}"
    before = len(_reports(stage))
    stage.post("max", "reports", {"kind": "monthly", "month": month}, status=202)

    def arrived() -> EmailMessage | None:
        found = _reports(stage)
        return found[-1] if len(found) > before else None

    mail = wait_for("the worker builds and mails the report", arrived, seconds=90)
    text = mail.get_body(("plain",))
    words = text.get_content() if text is not None else ""
    pdf = next(part for part in mail.iter_attachments() if part.get_content_type() == "application/pdf").get_content()
    expect(pdf.startswith(b"%PDF-") and len(pdf) > 5000, f"Max has “{mail['Subject']}” with a PDF of {len(pdf)} bytes")
    (stage.files / f"report-{month}.pdf").write_bytes(pdf)
    for told in (
        "Exceptions by severity",
        "Exceptions by expiry",
        "overdue",
        stage.state["expired"],
        stage.state["tag"],
    ):
        expect(told in words, f"its text tells: {told}")
    page = stage.browser("max").get("/reports/monthly/", params={"month": month})
    shown = page.status_code == 200 and all(stage.state[name] in page.text for name in ("expired", "tag"))
    expect(shown, "the page on screen shows the same overdue exception and release")


def _reports(stage: Stage) -> list[EmailMessage]:
    found = messages_to(stage, company.mail("max"))
    return [mail for mail in found if any(p.get_content_type() == "application/pdf" for p in mail.iter_attachments())]
