from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from evidence.api.actors import actor_for
from evidence.models import TrustPolicy
from evidence.oidc import issuers
from evidence.oidc.policies import save_policy
from tests.cast import Cast, assemble
from tests.evidence.conftest import Api
from tests.evidence.oidc.issuer import AUDIENCE, Issuer

Trust = Callable[..., TrustPolicy]


@pytest.fixture(scope="session")
def local_issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    issuer = Issuer(tmp_path_factory.mktemp("issuer"))
    yield issuer
    issuer.close()


@pytest.fixture
def issuer(local_issuer: Issuer, settings: Settings) -> Iterator[Issuer]:
    """As it was made, and allowed to be on this machine."""
    settings.OIDC_PRIVATE_ISSUERS = [local_issuer.url]
    settings.OIDC_CA_FILE = str(local_issuer.ca_file)
    issuers.forget()
    local_issuer.asked.clear()
    yield local_issuer
    for name in set(local_issuer.keys) - {"rsa"}:
        del local_issuer.keys[name]
    local_issuer.publish()


@pytest.fixture
def cast(ledger: Any) -> Cast:
    return assemble()


@pytest.fixture
def trust(cast: Cast, issuer: Issuer) -> Trust:
    """Save a policy of the local issuer for the pipeline ci, but for what is changed."""

    def save(**changes: Any) -> TrustPolicy:
        said: dict[str, Any] = {
            "actor": actor_for(cast.root),
            "name": "acme-web",
            "pipeline": cast.ci,
            "issuer": issuer.url,
            "audience": AUDIENCE,
            "claims": {"repository": ["acme/web"], "environment": ["production"]},
        }
        return save_policy(**(said | changes))

    return save


@pytest.fixture
def anybody() -> Api:
    """A client without any credential."""
    return Api()
