"""The registers of exceptions and risks: projections of their records, and the reminders' outbox beside them."""

from exceptions.models.chat import ChatChannel
from exceptions.models.imports import Import, ImportMapping
from exceptions.models.notices import Announcement, Notice
from exceptions.models.register import ExceptionApproval, Renewal, SecurityException, Transition
from exceptions.models.reminders import Reminder
from exceptions.models.risks import ReviewReminder, Risk, RiskChange, RiskImport
from exceptions.models.views import SavedView

__all__ = [
    "Announcement",
    "ChatChannel",
    "ExceptionApproval",
    "Import",
    "ImportMapping",
    "Notice",
    "Reminder",
    "Renewal",
    "ReviewReminder",
    "Risk",
    "RiskChange",
    "RiskImport",
    "SavedView",
    "SecurityException",
    "Transition",
]
