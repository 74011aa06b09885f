from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class ConfigConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        """Make the Celery application current, so that ``.delay`` in a web process reaches the broker."""
        from config import celery  # noqa: F401  (importing makes it current)
        from config.metrics import checks  # noqa: F401  (importing registers them)


class AdminConfig(DjangoAdminConfig):
    """`django.contrib.admin` with the product's own site as its default one."""

    default_site = "evidence.admin_site.ProoftrailSite"
