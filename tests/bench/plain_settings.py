"""The product's settings with the baseline's table and URL: Django's middleware as there, same pool, and nothing of the
product's own between a request and its insert."""

from config.settings import *  # noqa: F403 -- all of it is meant

INSTALLED_APPS = [*INSTALLED_APPS, "tests.bench.plain.apps.PlainConfig"]  # noqa: F405 -- from the star import
MIDDLEWARE = [name for name in MIDDLEWARE if not name.startswith("evidence.")]  # noqa: F405 -- as above
REST_FRAMEWORK = REST_FRAMEWORK | {"DEFAULT_THROTTLE_CLASSES": []}  # noqa: F405 -- as above
ROOT_URLCONF = "tests.bench.plain.urls"
