"""``python -m tests.contract``, as `make openapi` runs it: publish the API's description as it is now.

It refuses what breaks a promise of the one published before, unless BREAK=1 says that this is meant.
"""

import json
import os
import sys

from tests.contract.published import PATH, current, written

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"  # nothing of this machine's own gets in


def main() -> int:
    from tests.contract.compatibility import broken

    now = current()
    lost = broken(json.loads(PATH.read_text()), now) if PATH.exists() else []
    for line in lost:
        print(line, file=sys.stderr)
    if lost and not os.environ.get("BREAK"):
        print("error: clients rely on these. Keep them, or say that you mean it: make openapi BREAK=1", file=sys.stderr)
        return 1
    PATH.write_text(written(now))
    print(f"{PATH.name}: {sum(len(methods) for methods in now['paths'].values())} calls")
    return 0


if __name__ == "__main__":
    sys.exit(main())
