from django.apps import AppConfig


class ComplianceConfig(AppConfig):
    name = "compliance"
    verbose_name = "Compliance"

    def ready(self) -> None:
        """Fill the registries: what this app's records change."""
        from compliance import projections  # noqa: F401  (importing registers)
