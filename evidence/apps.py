from django.apps import AppConfig


class EvidenceConfig(AppConfig):
    name = "evidence"
    verbose_name = "Evidence"

    def ready(self) -> None:
        """Fill the registries: what a record changes, and what is checked before the service starts."""
        from evidence import checks, projections, rotation  # noqa: F401  (importing registers)
        from evidence.api import openapi  # noqa: F401  (importing registers)
        from evidence.gate import checks as gate_checks  # noqa: F401  (importing registers)
        from evidence.oidc import policies  # noqa: F401  (importing registers)
