"""An issuer of id-tokens on this machine: real TLS, real keys, real tokens."""

import json
import ssl
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import get_default_algorithms

AUDIENCE = "https://prooftrail.example.com"
#: Where a job of GitHub's asks for an id-token, and with what.
RUNNER, RUNNER_TOKEN = "/runner", "of-the-runner"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def job(**changes: Any) -> dict[str, Any]:
    """What GitHub says of a job."""
    return {
        "sub": "repo:acme/web:environment:production",
        "repository": "acme/web",
        "repository_id": "1234",
        "ref": "refs/heads/main",
        "environment": "production",
        "workflow": "deploy",
        "run_id": "77",
    } | changes


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer of the tests")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "issuer.crt", folder / "issuer.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(_pem(key))
    return paths


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle of its look at us is what some tests are about."""


class Issuer:
    """Publishes what `documents` says and signs tokens with `keys`."""

    def __init__(self, folder: Path) -> None:
        self.ca_file, key_file = make_certificate(folder)
        self.keys: dict[str, tuple[str, PrivateKey]] = {}
        #: Path to what is answered: bytes, or (status, headers, bytes).
        self.documents: dict[str, bytes | tuple[int, Mapping[str, str], bytes]] = {}
        self.asked: list[str] = []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file, key_file)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.add("rsa", "RS256", rsa.generate_private_key(65537, 2048))

    @property
    def url(self) -> str:
        return f"https://localhost:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, key_id: str, algorithm: str, key: PrivateKey) -> None:
        self.keys[key_id] = (algorithm, key)
        self.publish()

    def publish(self, *more: Mapping[str, Any]) -> None:
        jwks = [self.jwk(key_id) for key_id in self.keys]
        about = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
        self.documents["/.well-known/openid-configuration"] = json.dumps(about).encode()
        self.documents["/jwks"] = json.dumps({"keys": [*jwks, *more]}).encode()

    def jwk(self, key_id: str) -> dict[str, Any]:
        algorithm, key = self.keys[key_id]
        found: dict[str, Any] = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
        return found | {"kid": key_id, "use": "sig", "alg": algorithm}

    def token(
        self, claims: Mapping[str, Any] | None = None, *, key_id: str = "rsa", headers: Any = None, **changes: Any
    ) -> str:
        """A token that is good, but for what is changed; a claim that is None is left out."""
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 300, "jti": str(uuid4())}
        said |= {**(job() if claims is None else claims), **changes}
        algorithm, key = self.keys[key_id]
        kept = {name: value for name, value in said.items() if value is not None}
        named = {name: value for name, value in ({"kid": key_id} | (headers or {})).items() if value is not None}
        return jwt.encode(kept, key, algorithm=algorithm, headers=named)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                path, _, query = self.path.partition("?")
                answer = issuer.documents.get(self.path, (404, {}, b""))
                if path == RUNNER and self.headers["Authorization"] == f"Bearer {RUNNER_TOKEN}":
                    (audience,) = parse_qs(query)["audience"]
                    answer = json.dumps({"value": issuer.token(aud=audience)}).encode()
                status, headers, content = (200, {}, answer) if isinstance(answer, bytes) else answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
