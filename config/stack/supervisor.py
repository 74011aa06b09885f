"""Start everything in order, watch it, stop it in reverse order."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from config.stack import postgres, services
from config.stack.engines import DATABASE, Engines, engines_of, environment_of
from config.stack.failures import failed_to_start, went_down
from config.stack.files import write_private
from config.stack.keys import ensure_keys
from config.stack.orphans import end_orphans
from config.stack.preflight import check_disk, check_platform, check_web_port
from config.stack.processes import MARKER, Child, ended_on_failure, spawn
from config.stack.progress import say, step
from config.stack.state import State, load_or_create, locked, make_data_dir, remember, shell_lines

_ENGINES = 3  # the first children: PostgreSQL, Valkey, SeaweedFS


class Stopped(BaseException):
    """Somebody asked the stack to end (Ctrl-C, SIGTERM, a closed terminal)."""

    def __init__(self, number: int) -> None:
        self.number = number


@dataclass
class Stack:
    """A running stack: its environment and its children in the order they were started."""

    state: State
    engines: Engines
    port: int
    env: dict[str, str]
    admin: dict[str, str | None] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.env["PROOFTRAIL_URL"]

    @property
    def logs(self) -> Path:
        return self.state.data_dir / "logs"

    def adopt(self, child: Child) -> None:
        """Note a child before anything else can fail, so that it is found whatever happens."""
        self.children.append(child)
        remember(self.state, [known.identity for known in self.children if known.identity])

    def check(self) -> None:
        """Name the child that is gone."""
        for child in self.children:
            if not child.is_running():
                raise went_down(child)

    def serve(self) -> None:
        """Until somebody asks it to end, or a child ends by itself."""
        while True:
            self.check()
            time.sleep(0.3)

    def stop(self) -> None:
        """Services first, then what they rest on; each kind at once, since each takes its seconds."""
        for kind in (self.children[_ENGINES:], self.children[:_ENGINES]):
            for child in kind:
                child.ask()
            for child in reversed(kind):
                child.stop()
        self.children.clear()
        remember(self.state, [])


@contextmanager
def running(data_dir: Path, *, port: int) -> Iterator[Stack]:
    """The whole stack, up and answering; stopped when the block ends, however it ends."""
    check_platform()
    make_data_dir(data_dir)
    with ExitStack() as cleanup:
        cleanup.enter_context(locked(data_dir))
        state = load_or_create(data_dir)
        if left := end_orphans(state):
            say(f"ended {left} processes of an earlier run that was killed")
        check_disk(data_dir, state.postgres_home)
        check_web_port(port)
        state.choose_ports_again()
        state.save()
        engines = engines_of(state)
        stack = Stack(state, engines, port, _environment(state, engines, port))
        with _signals_raise():
            try:
                _start(stack)
                yield stack
            finally:
                _ignore_signals()
                say("stopping …")
                stack.stop()


def _environment(state: State, engines: Engines, port: int) -> dict[str, str]:
    own = environment_of(state, engines, port=port)
    write_private(state.data_dir / "env", shell_lines(own))
    return {**services.base_environment(), **own, MARKER: state.marker}


def _start(stack: Stack) -> None:
    state, env = stack.state, stack.env
    ensure_keys(state.data_dir / "keys")
    static = spawn(  # needs no engine: made meanwhile
        "`manage.py collectstatic`",
        [sys.executable, "manage.py", "collectstatic", "--noinput", "-v", "0"],
        log=stack.logs / "collectstatic.log",
        env=services.without_owner(env),
        cwd=services.ROOT,
    )
    with ended_on_failure(static):
        _start_engines(stack)
        with step("migrating the database"):
            services.manage("migrate", "-v", "0", env=env)
        with step("first records"):
            stack.admin = json.loads(services.manage("setup", env=services.without_owner(env)))
        if stack.admin["password"]:  # said at once: whatever fails later, it is not lost
            say(f"  the administrator is {stack.admin['email']}, password {stack.admin['password']} (shown this once)")
        with step("static files"):
            if static.process.wait():
                raise failed_to_start(static)
    with step("web, worker and beat"):
        _start_services(stack)


def _start_engines(stack: Stack) -> None:
    state, engines = stack.state, stack.engines
    with step("PostgreSQL"):
        stack.adopt(engines.postgres.start())
        postgres.ensure_roles(
            engines.postgres,
            owner_password=state.secrets["owner"],
            runtime_password=state.secrets["runtime"],
        )
        postgres.ensure_database(engines.postgres, DATABASE)
    with step("Valkey"):
        stack.adopt(engines.valkey.start())
    with step("SeaweedFS (S3)"):
        stack.adopt(engines.seaweed.start())


def _start_services(stack: Stack) -> None:
    # Only the worker may add anchors. Empty, not absent: settings would fill them from `DATA_DIR/env`.
    reading = {**stack.env, "S3_ANCHOR_ACCESS_KEY_ID": "", "S3_ANCHOR_SECRET_ACCESS_KEY": ""}
    web = services.start_web(reading, port=stack.port, logs=stack.logs)
    stack.adopt(web)
    stack.adopt(services.start_worker(stack.env, logs=stack.logs))
    stack.adopt(services.start_beat(reading, logs=stack.logs, folder=stack.state.data_dir / "beat"))
    services.wait_for_web(web, port=stack.port)
    stack.check()


_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _raise_stopped(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


@contextmanager
def _signals_raise() -> Iterator[None]:
    nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    wanted = [number for number in _ASKING if not (nohup and number == signal.SIGHUP)]
    before = {number: signal.signal(number, _raise_stopped) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    """Stopping is under way: an impatient second Ctrl-C would only leave children behind."""
    for number in _ASKING:
        signal.signal(number, signal.SIG_IGN)


def run_script(stack: Stack, module: str) -> int:
    """Play a module against the running stack, in its environment, and answer its exit code."""
    venv = Path(sys.executable).parent
    path = os.pathsep.join([str(venv), stack.env["EMBEDDED_POSTGRES_BIN"], stack.env.get("PATH", os.defpath)])
    env = {**stack.env, "PATH": path, "PROOFTRAIL_ADMIN_EMAIL": stack.admin.get("email") or ""}
    env["PROOFTRAIL_ADMIN_PASSWORD"] = stack.admin.get("password") or ""
    played = subprocess.Popen([sys.executable, "-m", module], cwd=services.ROOT, env=env)
    try:
        while played.poll() is None:
            stack.check()
            time.sleep(0.1)
    finally:
        if played.poll() is None:
            played.terminate()
        played.wait()
    return played.returncode
