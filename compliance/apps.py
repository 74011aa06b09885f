from django.apps import AppConfig


class ComplianceConfig(AppConfig):
    name = "compliance"
    verbose_name = "Compliance"

    def ready(self) -> None:
        """Fill the registries: what this app's records change, and the controls that risks may point to."""
        from compliance import projections  # noqa: F401  (importing registers)
        from compliance.controls import catalog
        from exceptions import risk_links

        risk_links.register_controls(lambda: {control.id: control.title for control in catalog.load().controls})
