"""``python -m config.stack run|demo|bench|reset``: what ``make`` calls."""

import argparse
import errno
import os
import sys
from pathlib import Path

from config.stack.account import DEMO
from config.stack.errors import StackError
from config.stack.progress import complain, say
from config.stack.reset import reset
from config.stack.services import ROOT
from config.stack.supervisor import Stack, Stopped, run_script, running

REAL = ".prooftrail"
BENCH = ".prooftrail-bench"
_SCENARIO = "tests.e2e.scenario"
_MEASURES = "tests.bench"
#: A demonstration is watched: what takes minutes or days in real life happens within seconds.
_SHORT_INTERVALS = {"REMINDER_INTERVAL": "2", "DISPOSITION_INTERVAL": "3", "OUTBOX_INTERVAL": "1"}
#: The demonstration's own kinds and retention classes, as any company adds its own.
_COMPANY = ROOT / "tests" / "e2e" / "company"


def main() -> int:
    arguments = _parser().parse_args()
    try:
        answer: int = arguments.action(arguments)
    except StackError as error:
        complain(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        complain(f"The disk is full: {error}. Free some space, or put DATA_DIR on another disk.")
    except Stopped as stopped:
        say("stopped")
        return 0 if stopped.number else 1
    else:
        return answer
    return 1


def run(arguments: argparse.Namespace) -> int:
    """The stack without demonstration data, until somebody ends it."""
    with running(_data_dir(REAL), port=arguments.port) as stack:
        _introduce(stack)
        stack.serve()
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """The stack in a folder of its own, the scenario played on it, then until somebody ends it."""
    company = {"PROOFTRAIL_DATA_PATHS": str(_COMPANY)}
    os.environ.update({name: os.environ.get(name, value) for name, value in (_SHORT_INTERVALS | company).items()})
    with running(_data_dir(DEMO), port=arguments.port) as stack:
        _introduce(stack)
        code = run_script(stack, _SCENARIO)
        if arguments.exit:
            return code
        if code:
            complain(f"The scenario did not hold (exit code {code}); the stack goes on so that you can look.")
        say(f"\nserving {stack.url} until Ctrl-C")
        stack.serve()
    return code


def bench(arguments: argparse.Namespace) -> int:
    """The stack in a folder of its own, measured; ends when the table is printed (QUICK=1, ONLY=part)."""
    with running(_data_dir(BENCH), port=arguments.port) as stack:
        return run_script(stack, _MEASURES)


def _introduce(stack: Stack) -> None:
    say(f"\nProoftrail is running at {stack.url}")
    say(f"  data, logs and settings: {stack.state.data_dir} (`. {stack.state.data_dir}/env` for commands)")
    say("  Ctrl-C stops it\n")


def _reset(arguments: argparse.Namespace) -> int:
    given = os.environ.get("DATA_DIR")
    candidates = [Path(given)] if given else [ROOT / name for name in (REAL, DEMO, BENCH)]
    return reset([folder.resolve() for folder in candidates], sure=arguments.yes)


def _data_dir(default: str) -> Path:
    return Path(os.environ.get("DATA_DIR") or ROOT / default).resolve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m config.stack", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, action in (("run", run), ("demo", demo), ("bench", bench)):
        command = commands.add_parser(name, help=action.__doc__)
        command.add_argument("--port", type=_port, default=os.environ.get("PORT") or "8000")
        command.add_argument("--exit", action="store_true", default=os.environ.get("EXIT", "") not in ("", "0"))
        command.set_defaults(action=action)
    command = commands.add_parser("reset", help="Ask, then remove all data.")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.set_defaults(action=_reset)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 1024 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
