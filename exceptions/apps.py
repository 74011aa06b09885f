from django.apps import AppConfig


class ExceptionsConfig(AppConfig):
    name = "exceptions"
    verbose_name = "Exceptions"

    def ready(self) -> None:
        """Fill the registries: what this app's records change, and what exceptions waive."""
        from evidence.waivers import register
        from exceptions import projections  # noqa: F401  (importing registers)
        from exceptions.waivers import waivers

        register(waivers)
