"""The registers of exceptions and risks: projections of their records, and the reminders' outbox beside them."""

from exceptions.models.imports import Import, ImportMapping
from exceptions.models.register import ExceptionApproval, Renewal, SecurityException, Transition
from exceptions.models.reminders import Reminder
from exceptions.models.risks import ReviewReminder, Risk, RiskChange, RiskImport

__all__ = [
    "ExceptionApproval",
    "Import",
    "ImportMapping",
    "Reminder",
    "Renewal",
    "ReviewReminder",
    "Risk",
    "RiskChange",
    "RiskImport",
    "SecurityException",
    "Transition",
]
