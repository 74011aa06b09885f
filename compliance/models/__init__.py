"""Rows of the compliance app."""

from compliance.models.packs import Pack, PackBuild
from compliance.models.reports import Report, ReportMail
from compliance.models.retention import HeldObject, ObjectErasure

__all__ = ["HeldObject", "ObjectErasure", "Pack", "PackBuild", "Report", "ReportMail"]
