"""A real server on loopback, a real Chromium, and pictures of what it shows.

- ``server``: the product's WSGI application in threads, on the test's own ledger; its value is the URL.
- ``browse``: ``browse("root")`` is a page of a fresh browser context, signed in as one of the cast (None: nobody).
  Every request of every page is written down; one to another host than the server fails the test.
- ``picture``: ``picture(page, "releases")`` saves it at 1280 and at 390 pixels, below ``SCREENSHOTS`` if that is set.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from playwright.sync_api import Browser, Page, Request, sync_playwright
from pytest_django import Settings

from evidence.models import User
from tests.cast import Cast, assemble
from tests.conftest import Clone

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDTHS = {"desktop": (1280, 800), "phone": (390, 844)}


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """A test's own failures speak; the access log does not."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "CI installs Chromium: these tests are never skipped there"
        pytest.skip("Chromium is not installed on this machine (looked for chromium, google-chrome, $CHROMIUM)")
    # Playwright's synchronous interface runs an event loop in this very thread, which Django would take for async code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            yield browser
            browser.close()
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def cast(ledger: Clone) -> Cast:
    return assemble()


@pytest.fixture
def server(ledger: Clone, settings: Settings, mailbox: Path) -> Iterator[str]:
    """pytest-django's `live_server` would flush in the end, which the ledger refuses."""
    httpd = ThreadedWSGIServer(("127.0.0.1", 0), _Quiet)
    url = f"http://127.0.0.1:{httpd.server_port}"
    settings.PROOFTRAIL_URL = url
    httpd.set_app(get_wsgi_application())
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield url
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join(5)


@pytest.fixture
def browse(chromium: Browser, server: str, cast: Cast) -> Iterator[Callable[[str | None], Page]]:
    foreign: list[str] = []
    contexts = []

    def heard(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws", "wss"} and f"http://{parts.netloc}" != server:
            foreign.append(request.url)

    def open_page(name: str | None) -> Page:
        context = chromium.new_context(viewport={"width": 1280, "height": 800}, base_url=server)
        contexts.append(context)
        context.on("request", heard)
        if name is not None:
            context.add_cookies([{"name": "sessionid", "value": _session(getattr(cast, name)), "url": server}])
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()
    assert foreign == [], "the pages asked other hosts"


def _session(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = django_settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    assert session.session_key is not None
    return session.session_key


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[Page, str], None]:
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> None:
        for device, (width, height) in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            page.screenshot(path=folder / f"{name}-{device}.png", full_page=True)
            assert overflow <= 0, f"{name} is {overflow} px wider than the {device}"
        page.set_viewport_size({"width": 1280, "height": 800})

    return take
