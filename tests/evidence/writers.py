"""A process of eight writers, each waiting for its receipt (run by test_concurrency)."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import django

WRITERS = 8


def main(name: str, each: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from evidence.ledger import Actor, append, service_draft
    from evidence.ledger.appender import group_commits
    from evidence.models.people import SERVICE

    group_commits()

    def write(writer: int) -> list[str]:
        receipts = []
        for turn in range(each):
            body = {"title": f"{name}-{writer}-{turn}", "decision": "go", "rationale": "test"}
            receipts.append(append(service_draft("decision", body, actor=Actor(SERVICE))).receipt().decode())
        return receipts

    with ThreadPoolExecutor(WRITERS) as pool:
        for receipts in pool.map(write, range(WRITERS)):
            for receipt in receipts:
                print(json.dumps(receipt))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
