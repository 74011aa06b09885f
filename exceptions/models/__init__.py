"""The registers of exceptions and risks: projections of their records, and the reminders' outbox beside them."""

from exceptions.models.imports import Import, ImportMapping
from exceptions.models.register import ExceptionApproval, Renewal, SecurityException, Transition
from exceptions.models.reminders import Reminder
from exceptions.models.risks import Risk, RiskChange
from exceptions.models.views import SavedView

__all__ = [
    "ExceptionApproval",
    "Import",
    "ImportMapping",
    "Reminder",
    "Renewal",
    "Risk",
    "RiskChange",
    "SavedView",
    "SecurityException",
    "Transition",
]
