"""The product's settings with the baseline's table and URL: same middleware, same pool, same server."""

from config.settings import *  # noqa: F403 -- all of it is meant

INSTALLED_APPS = [*INSTALLED_APPS, "tests.bench.plain.apps.PlainConfig"]  # noqa: F405 -- from the star import
ROOT_URLCONF = "tests.bench.plain.urls"
