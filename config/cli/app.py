"""The commands, put together, and the one place that turns their ends into exit codes."""

import sys
from collections.abc import Sequence

import typer

from config.cli import environment, output
from config.cli.commands import access, exceptions, gate, packs, readiness, records, releases, risks, verify
from config.cli.errors import CommandError, ExitCode

_USAGE_OF_TYPER = 2
_INTERRUPTED = 130
_UNEXPECTED = "Probably the server answered something that this version does not know; compare the versions of both."

app = typer.Typer(
    name="prooftrail",
    help="Record evidence, ask gates, and verify proofs offline.",
    epilog="Exit codes: 0 ok, 1 the answer is no, 2 server or network, 3 not authorised, 4 usage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(access.keygen)
app.command()(access.login)
app.command()(records.attest)
app.command()(records.upload)
app.command()(releases.approve)
app.command()(gate.gate)
app.command()(verify.verify)
for command in (readiness.checklist, readiness.answer, readiness.cutover, readiness.deployments):
    releases.app.command()(command)
app.add_typer(releases.app, name="release")
app.add_typer(exceptions.app, name="exceptions")
app.add_typer(risks.app, name="risks")
app.add_typer(packs.app, name="pack")


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code (`ExitCode`)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a character must not end a command
            stream.reconfigure(errors="replace")
    try:
        environment.check(arguments)
        app(args=list(arguments), prog_name="prooftrail")
    except CommandError as error:
        output.failure(str(error), error.advice)
        return error.code
    except SystemExit as end:
        # Typer ends with 2 for what it refuses; commands themselves end through CommandError or typer.Exit(1).
        return ExitCode.USAGE if end.code == _USAGE_OF_TYPER else int(end.code or 0)
    except OSError as error:
        output.failure(str(error))
        return ExitCode.USAGE
    except Exception as error:  # anything else would end with 1, which is a verdict
        output.failure(f"Unexpected {type(error).__name__}: {error}", _UNEXPECTED)
        return ExitCode.SERVER
    except KeyboardInterrupt:
        return _INTERRUPTED
    return ExitCode.OK
