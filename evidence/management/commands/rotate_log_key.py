"""``rotate_log_key [--new-key FILE | --finish | --revoke KEY --reason WHY | --lost --reason HOW]``."""

from evidence import keys
from evidence.management.rotation_command import RotationCommand


class Command(RotationCommand):
    help = "Change the key that signs checkpoints: both sign through an overlap, until --finish."
    purpose = keys.LOG
