"""`keygen` and `login`."""

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from config.cli import files, output, profile, trust
from config.cli.api import Api
from config.cli.errors import CommandError, ExitCode, usage
from config.cli.profile import Server
from evidence.tlog import keys
from evidence.tlog.checkpoint import LogKey
from evidence.tlog.keyring import KeyList
from evidence.tlog.note import Verifier


def keygen(
    out: Annotated[Path, typer.Option(help="Where the private key goes; the public one goes beside it.")] = Path(
        "prooftrail-key.pem"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make an Ed25519 key that signs a pipeline's envelopes."""
    key = keys.generate()
    public = out.with_name(f"{out.name}.pub")
    if public.exists():
        raise usage(f"{public} exists already", "Choose another name or move it away.")
    files.write_new(out, keys.dump_private(key), mode=0o600)
    files.write_new(public, keys.dump_public(key.public_key()))
    made = {
        "private_key": str(out),
        "public_key": str(public),
        "key_id": keys.key_digest(key.public_key()),
    }
    if as_json:
        output.data(made)
        return
    output.fields(made)
    output.note("Keep the private key secret. Register the public one for your pipeline: Admin → Pipelines → Keys.")


def login(
    url: Annotated[str, typer.Option(help="The server, such as https://prooftrail.example.com.")],
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="Read the token from standard input.")] = False,
    accept_log_key: Annotated[
        bool, typer.Option("--accept-log-key", help="Trust a log key that differs from the one pinned before.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Store a token and pin the server's log key, against which receipts and packs are verified from now on."""
    url = profile.check_url(url)
    server = Server(url, profile.check_token(_read_token(token_stdin)))
    offered = _log_keys(Api(server))
    pinned = _settle_keys(profile.known(url), offered, accept=accept_log_key)
    profile.save(Server(url, server.token, pinned))
    if as_json:
        output.data({"url": url, "profile": str(profile.path()), "log_keys": [key.vkey for key in pinned]})
        return
    output.line(f"Logged in to {url}; stored in {profile.path()}.")
    for key in pinned:
        sizes = f" (sizes {key.sizes()})" if isinstance(key, LogKey) and (key.from_size or key.to_size) else ""
        output.line(f"Log key pinned: {key.vkey}{sizes}")
    output.note("Compare the log key with the one that the operator publishes elsewhere.")


def _read_token(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().strip()
    if sys.stdin.isatty():
        return getpass.getpass("Token: ").strip()
    raise usage("There is no token", "Pipe it in: prooftrail login --url … --token-stdin < token.txt")


def _log_keys(api: Api) -> KeyList:
    if api.server.sends_in_clear:
        output.warn(f"The token goes to {api.server.url} unencrypted; use https.")
    return trust.listed(api)


def _settle_keys(known: Server | None, listed: KeyList, *, accept: bool) -> tuple[Verifier, ...]:
    """The keys to pin. Those pinned before stay, and a further one joins them only if the log introduces it.

    So a server cannot change its own past by naming another key.
    """
    if known is None or not known.log_keys or accept:
        return listed.log
    offered = [key.vkey for key in listed.log]
    if not {key.vkey for key in known.log_keys} <= set(offered):
        raise CommandError(
            f"The log key of {known.url} is not the one pinned before: it offers {', '.join(offered)}",
            code=ExitCode.NO,
            advice="Ask the operator. If the change is announced, log in again with --accept-log-key.",
        )
    pinned = trust.follow(known.log_keys, listed)
    for vkey in offered:
        if all(vkey != key.vkey for key in pinned):
            output.warn(f"New log key, not trusted yet: {vkey} (log in with --accept-log-key once you compared it)")
    return pinned
