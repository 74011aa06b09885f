"""What Granian, or any ASGI server, loads: machines that write records in front, Django's WSGI behind."""

from config.wsgi import application as django  # first: it loads the applications

from config.direct import DirectWrites  # isort: skip

application = DirectWrites(django)
