"""What the web server (`config/web`), or any other for ASGI, loads: machines that write in front, Django behind."""

import gc

from config.wsgi import application as django  # first: it loads the applications

from django.conf import settings  # isort: skip

from config.direct import DirectWrites  # isort: skip
from config.metrics.measured import Measured  # isort: skip

application = Measured(DirectWrites(django), settings.METRICS_DIR)

# What is loaded by now stays, and what a record is made of holds no cycles: looking for them after every 700 objects
# took a tenth of a batch's time. Looking for them stops every write that is under way, for about 2 µs an object.
gc.collect()
gc.freeze()
gc.set_threshold(10_000, 10, 10)
