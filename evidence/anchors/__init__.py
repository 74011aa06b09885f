"""Outside copies: checkpoints and tiles in a bucket of their own, under Object Lock (docs/ledger.md, "Anchors").

``publish_alone`` is one round of the task that writes them; ``refuse_if_behind`` is what the write path asks of them;
``current`` says whether the service is read-only, and why.
"""

from evidence.anchors.outside import configured
from evidence.anchors.publishing import publish, publish_alone
from evidence.anchors.standing import ReadOnly, current, refuse_if_behind, report

__all__ = ["ReadOnly", "configured", "current", "publish", "publish_alone", "refuse_if_behind", "report"]
