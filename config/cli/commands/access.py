"""`keygen` and `login`."""

import getpass
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from config.cli import environment, files, idtokens, output, profile, sessions, trust
from config.cli.api import Api
from config.cli.errors import CommandError, ExitCode, usage
from config.cli.profile import Server
from evidence.tlog import signing
from evidence.tlog.checkpoint import LogKey
from evidence.tlog.keyring import KeyList
from evidence.tlog.note import Verifier


class Algorithm(StrEnum):
    """What keys can sign with."""

    ED25519 = signing.ED25519
    P256 = signing.P256
    P384 = signing.P384


def keygen(
    out: Annotated[Path, typer.Option(help="Where the private key goes; the public one goes beside it.")] = Path(
        "prooftrail-key.pem"
    ),
    algorithm: Annotated[
        Algorithm, typer.Option(help="Ed25519, unless a rule or a key store asks for ECDSA.")
    ] = Algorithm.ED25519,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a key that signs a pipeline's envelopes."""
    key = signing.generate(algorithm.value)
    public = out.with_name(f"{out.name}.pub")
    if public.exists():
        raise usage(f"{public} exists already", "Choose another name or move it away.")
    files.write_new(out, signing.dump_private(key), mode=0o600)
    files.write_new(public, signing.dump_public(key.public_key()))
    made = {
        "private_key": str(out),
        "public_key": str(public),
        "key_id": signing.digest(key.public_key()),
        "algorithm": algorithm.value,
    }
    if as_json:
        output.data(made)
        return
    output.fields(made)
    output.note("Keep the private key secret. Register the public one for your pipeline: Admin → Pipelines → Keys.")


def login(
    url: Annotated[
        str | None, typer.Option(help="The server, such as https://prooftrail.example.com; else PROOFTRAIL_URL.")
    ] = None,
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="Read the token from standard input.")] = False,
    oidc: Annotated[bool, typer.Option("--oidc", help="Use the id-token of this CI job; no stored secret.")] = False,
    audience: Annotated[str | None, typer.Option(help="With --oidc: as the trust policy says; else the URL.")] = None,
    pipeline: Annotated[
        str | None, typer.Option(help="With --oidc: whom to speak for, where several would do.")
    ] = None,
    id_token_variable: Annotated[
        str | None, typer.Option(help=f"With --oidc: where the job's id-token is; else {idtokens.VARIABLE}.")
    ] = None,
    accept_log_key: Annotated[
        bool, typer.Option("--accept-log-key", help="Trust a log key that differs from the one pinned before.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Store a token and pin the server's log key, against which receipts and packs are verified from now on."""
    if not oidc and (audience or pipeline or id_token_variable):
        raise usage("--audience, --pipeline and --id-token-variable go with --oidc")
    if oidc and token_stdin:
        raise usage("Either --oidc or --token-stdin")
    url = profile.check_url(url or environment.variable("PROOFTRAIL_URL") or _no_url())
    told: dict[str, Any] = {"url": url}
    if oidc:
        server, found = sessions.begin(
            Api(Server(url)), audience=audience or url, pipeline=pipeline, variable=id_token_variable
        )
        told |= {"pipeline": found["pipeline"]["name"], "expires_at": found["expires_at"]}
    else:
        server = Server(url, profile.check_token(_read_token(token_stdin)))
    offered = _log_keys(Api(replace(server, session=None)))  # it has just begun, and is not stored yet
    pinned = _settle_keys(profile.known(url), offered, accept=accept_log_key)
    profile.save(replace(server, log_keys=pinned))
    if as_json:
        output.data(told | {"profile": str(profile.path()), "log_keys": [key.vkey for key in pinned]})
        return
    output.line(f"Logged in to {url}; stored in {profile.path()}.")
    if oidc:
        output.line(f"As the pipeline {told['pipeline']}, until {told['expires_at']}.")
    for key in pinned:
        sizes = f" (sizes {key.sizes()})" if isinstance(key, LogKey) and (key.from_size or key.to_size) else ""
        output.line(f"Log key pinned: {key.vkey}{sizes}")
    output.note("Compare the log key with the one that the operator publishes elsewhere.")


def _no_url() -> str:
    raise usage("There is no server", "Give --url, or set PROOFTRAIL_URL.")


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
