"""What Granian, or any WSGI server, loads."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

_django = get_wsgi_application()

from config.direct import DirectWrites  # noqa: E402 -- its view needs the loaded applications
from config.fitness import refuse_to_start_unfit  # noqa: E402 -- checks need the loaded applications
from evidence.ledger.appender import group_commits  # noqa: E402 -- as above

application = DirectWrites(_django)
refuse_to_start_unfit()
group_commits()
