"""The web server: ``python -m config.web`` starts workers, each an event loop that speaks HTTP to `config.asgi`.

The protocol is uvicorn's, by httptools and uvloop. Ours are what it leaves open: limits for heads, bodies and patience,
and an answer to who has sent too much as soon as that is known (`protocol.py`); a socket for each worker
(`listening.py`), and workers that end with their supervisor (`__main__.py`).
"""
