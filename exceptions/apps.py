from django.apps import AppConfig


class ExceptionsConfig(AppConfig):
    name = "exceptions"
    verbose_name = "Exceptions"

    def ready(self) -> None:
        """Fill the registries: what this app's records change, and what its exceptions waive at the gate."""
        from exceptions import checks, projections, risk_projections, waivers  # noqa: F401  (importing registers)
