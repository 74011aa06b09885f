"""Rows of the evidence app. Ledger tables are guarded by the database itself (migration 0002)."""

from evidence.models.anchors import Anchor, Standing
from evidence.models.artifacts import Artifact
from evidence.models.circuits import Circuit
from evidence.models.ledger import Authority, Entry, Head, Idempotency, Note, Payload, Repeat, SigningKey, Tile
from evidence.models.people import Pipeline, PipelineKey, SignOff, System, Token, TokenUse, User
from evidence.models.records import Hold, HoldItem, Record
from evidence.models.releases import Approval, Release
from evidence.models.sign_offs import SignOffRequest
from evidence.models.trust import TrustPolicy, UsedIdToken

__all__ = [
    "Anchor",
    "Approval",
    "Artifact",
    "Authority",
    "Circuit",
    "Entry",
    "Head",
    "Hold",
    "HoldItem",
    "Idempotency",
    "Note",
    "Payload",
    "Pipeline",
    "PipelineKey",
    "Record",
    "Release",
    "Repeat",
    "SignOff",
    "SignOffRequest",
    "SigningKey",
    "Standing",
    "System",
    "Tile",
    "Token",
    "TokenUse",
    "TrustPolicy",
    "UsedIdToken",
    "User",
]
