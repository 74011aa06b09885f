"""The go/no-go gate: named rules over facts from the ledger, and "may this release go?" (docs/gate.md)."""

from evidence.gate.answer import Answer, Judged
from evidence.gate.decisions import decide
from evidence.gate.evaluation import ask
from evidence.gate.summary import gate_summary
from evidence.waivers import Waiver

__all__ = ["Answer", "Judged", "Waiver", "ask", "decide", "gate_summary"]
