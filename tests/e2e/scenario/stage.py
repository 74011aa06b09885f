"""What the steps work with: printing, waiting, HTTP, the command lines, psql, and what is remembered between steps."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from subprocess import PIPE
from typing import Any, TypeVar

import httpx

ROOT = Path(__file__).resolve().parents[3]
T = TypeVar("T")


class NotHeldError(Exception):
    """Something read back was not what the step promises."""


def tick(text: str) -> None:
    print(f"  ✓ {text}", flush=True)


def expect(holds: object, promise: str) -> None:
    """Print a tick if it holds, end the play if not."""
    if not holds:
        raise NotHeldError(promise)
    tick(promise)


def same(found: object, wanted: object, promise: str) -> None:
    """Like `expect`, and says what was found instead."""
    if found != wanted:
        raise NotHeldError(f"{promise}: found {found!r}, not {wanted!r}")
    tick(promise)


def wait_for(what: str, ask: Callable[[], T | None], *, seconds: float) -> T:
    """Ask until there is an answer; tell every four seconds that we wait. `PATIENCE` bounds it for tests."""
    end = time.monotonic() + min(seconds, float(os.environ.get("PATIENCE", seconds)))
    told = time.monotonic()
    while (answer := ask()) is None:
        if time.monotonic() > end:
            raise NotHeldError(f"{what}: it did not happen in time")
        if time.monotonic() - told > 4:
            told = time.monotonic()
            print(f"    … waiting: {what} ({end - told:.0f} s at most)", flush=True)
        time.sleep(0.4)
    return answer


@dataclass
class Stage:
    """The running stack as seen from outside, and what earlier steps left (kept in the data folder, 0600)."""

    url: str
    data_dir: Path
    state: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def enter(cls) -> "Stage":
        data_dir = Path(os.environ["DATA_DIR"])
        stage = cls(os.environ["PROOFTRAIL_URL"], data_dir)
        if stage.kept.exists():
            stage.state = json.loads(stage.kept.read_text())
        stage.files.mkdir(mode=0o700, exist_ok=True)
        return stage

    @property
    def kept(self) -> Path:
        return self.data_dir / "demo.json"

    @property
    def files(self) -> Path:
        """Where the demonstration's own files lie."""
        return self.data_dir / "demo"

    def remember(self, **values: Any) -> None:
        self.state |= values
        self.kept.touch(mode=0o600)
        self.kept.write_text(json.dumps(self.state, indent=1))

    # -- HTTP --------------------------------------------------------------------------------------------------------

    def api(self, who: str) -> httpx.Client:
        """The API with somebody's token."""
        return httpx.Client(
            base_url=f"{self.url}/api/v1/",
            headers={"Authorization": f"Bearer {self.state['tokens'][who]}"},
            timeout=30,
        )

    def get(self, who: str, path: str, **params: Any) -> Any:
        with self.api(who) as client:
            return answered(client.get(path, params=params), 200)

    def post(self, who: str, path: str, body: Mapping[str, Any], status: int = 201) -> Any:
        with self.api(who) as client:
            return answered(client.post(path, json=body), status)

    def browser(self, who: str) -> httpx.Client:
        """Somebody signed in as in a browser."""
        client = httpx.Client(base_url=self.url, timeout=30, follow_redirects=True)
        person = self.state["people"][who]
        page = client.post(
            "/admin/login/",
            data=hidden(client.get("/admin/login/"))
            | {"username": person["email"], "password": person["password"], "next": "/"},
            headers={"Referer": self.url + "/admin/login/"},
        )
        if "sessionid" not in client.cookies:
            raise NotHeldError(f"{who} cannot sign in ({page.status_code})")
        return client

    def new_token(self, who: str) -> str:
        """A token that somebody made for themselves while signed in."""
        client = self.browser(who)
        made = client.post(
            "/api/v1/tokens",
            json={"label": "demonstration", "days": 7},
            headers={"X-CSRFToken": client.cookies["csrftoken"], "Referer": self.url},
        )
        token: str = answered(made, 201)["token"]
        return token

    # -- command lines -------------------------------------------------------------------------------------------------

    def cli(self, *arguments: str | Path, who: str | None = None, fails: int | None = None) -> str:
        """`prooftrail …` with somebody's token; output, or NotHeldError unless the exit code is the wanted one."""
        own = {"PROOFTRAIL_URL": self.url, "PROOFTRAIL_TOKEN": self.state["tokens"][who]} if who else {}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PROOFTRAIL_")}
        config = {"PROOFTRAIL_CONFIG": str(self.files / f"cli-{who or 'stranger'}"), "TERM": "dumb", "COLUMNS": "200"}
        own_cli = Path(sys.executable).parent / "prooftrail"
        command = [os.environ.get("CLI", own_cli), *arguments]
        return run(command, env=clean | own | config, code=fails or 0)

    def manage(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """`manage.py …` on the running stack."""
        return run([sys.executable, "manage.py", *arguments], env=dict(os.environ) | environment, code=code)

    def psql(self, sql: str, *, url: str, code: int = 0) -> str:
        """What psql prints for one statement."""
        command = [os.environ.get("PSQL", "psql"), "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]
        return run(command, env=dict(os.environ), code=code)


def run(command: list[Any], *, env: Mapping[str, str], code: int = 0) -> str:
    """What a command that must end with `code` printed; a failure's complaint is part of it."""
    shown = " ".join(str(part) for part in command[1:4])
    process = subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, env=dict(env), stdout=PIPE, stderr=PIPE, text=True
    )
    while True:
        try:
            out, complaint = process.communicate(timeout=4)
            break
        except subprocess.TimeoutExpired:
            print(f"    … `{shown} …` is at work", flush=True)
    if process.returncode != code:
        raise NotHeldError(f"`{shown} …` ended with {process.returncode}, not {code}: {(out + complaint)[-600:]}")
    return out + (complaint if code else "")


def answered(response: httpx.Response, status: int) -> Any:
    """The JSON of an answer with the wanted status."""
    if response.status_code != status:
        raise NotHeldError(f"{response.request.url.path} answered {response.status_code}: {response.text[:400]}")
    return response.json()


def hidden(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of a form, CSRF token and the form's own once-key among them."""
    tags = [dict(re.findall(r'([\w-]+)="([^"]*)"', tag)) for tag in re.findall(r"<input\b[^>]*>", page.text)]
    found = {
        tag["name"]: unescape(tag.get("value", "")) for tag in tags if tag.get("type") == "hidden" and "name" in tag
    }
    if "csrfmiddlewaretoken" not in found:
        raise NotHeldError(f"{page.url.path} shows no form ({page.status_code})")
    return found
