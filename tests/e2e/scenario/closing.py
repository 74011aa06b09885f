"""What was seen, and five things to try."""

import os

from tests.e2e.scenario import company
from tests.e2e.scenario.stage import Stage


def five_things(stage: Stage) -> None:
    """URL, login, click, what one should see: for each of the five kinds of people."""
    state, pack = stage.state, stage.state["pack"]
    with stage.api("ci") as client:
        size = client.get("log/checkpoint").text.split("\n")[1]
    print(f"\n  ledger     {size} records; the manifest is index {state['manifest']}, release {state['release']}")
    print(f"  pack       {pack['id']}, {pack['size']} bytes, {len(state['verification'])} verification steps")
    print(f"  object     s3://{os.environ['S3_BUCKET']}/{pack['s3_key']}, locked until {pack['locked_until']}")
    print(f"  log key    {state['log_key']}")
    print("\nFive things to try")
    rows = [
        ("lea", "click the exception that expires first, then Revoke", f"{state['exception']}, 6 days left, its story"),
        ("cora", f"click {state['tag']}", "its timeline and approvals; release-20240312: planned against actual"),
        ("ada", "click the pack, then Download", "a ZIP; open data/index.html in it, then `prooftrail verify` it"),
        ("max", "look at this month's report", "exceptions by severity and expiry, releases, what is overdue"),
    ]
    for number, (who, click, see) in enumerate(rows, start=1):
        person = state["people"][who]
        name, role, _ = company.PEOPLE[who]
        print(f"  {number}. {stage.url}/  as {name} ({role})")
        known = f"as printed at the first start ({stage.kept} has it)"
        print(f"     login {person['email']}  password {known if state.get('shown') else person['password']}")
        print(f"     {click}: {see}")
    admin = os.environ.get("PROOFTRAIL_ADMIN_EMAIL", "")
    password = os.environ.get("PROOFTRAIL_ADMIN_PASSWORD") or "as it was printed at the first start"
    print(f"  5. {stage.url}/admin/evidence/pipeline/add/  as the administrator")
    print(f"     login {admin}  password {password}")
    print(
        "     add a pipeline, paste its curl line into a terminal: the page turns green on the first record", flush=True
    )
    stage.remember(shown=True)  # passwords are printed once
