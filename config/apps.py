from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        """Make the Celery application current, so that ``.delay`` in a web process reaches the broker."""
        from config import celery  # noqa: F401  (importing makes it current)
