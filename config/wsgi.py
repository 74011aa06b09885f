"""Django alone, for a WSGI server. `config/asgi.py` puts the quick way of writing in front of it."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

from config.fitness import refuse_to_start_unfit  # noqa: E402 -- checks need the loaded applications
from evidence import repeats  # noqa: E402 -- as above
from evidence.ledger.appender import group_commits  # noqa: E402 -- as above

refuse_to_start_unfit()
group_commits()
repeats.in_background()
