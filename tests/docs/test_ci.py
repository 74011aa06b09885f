"""The examples of docs/ci.md: each shell step runs, in order, against a running service, with the client alone.

GitHub's steps begin with the action's own, as a runner would take them: it installs this repository, and signs in with
an id-token of a local issuer.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from pytest_django import Settings

from evidence.keys import log_signer
from evidence.ledger import Actor
from evidence.models import Record, Token
from evidence.models.people import SERVICE
from evidence.oidc.policies import save_policy
from evidence.people import issue_token
from tests.cast import Cast, assemble
from tests.client import install, machine
from tests.conftest import Clone
from tests.engines import ROOT
from tests.evidence.oidc.issuer import RUNNER, RUNNER_TOKEN, Issuer
from tests.served import served

#: Part of `make contract`: it starts the service and some forty commands.
pytestmark = pytest.mark.contract
RELEASE = "netlify-trading:release-20261122"
ACTION = ROOT / ".github" / "actions" / "prooftrail"
#: What the example's own repository brings: a build, a test report and a deploy.
MAKEFILE = """
dist/site.tar:
\tmkdir -p dist && echo files > dist/site.tar
junit.xml:
\techo '<testsuite tests="2"><testcase name="a"/><testcase name="b"/></testsuite>' > junit.xml
deploy:
\ttest -s dist/site.tar
"""
#: A company whose gate asks for what the example hands in; the whole policy is the gate's own tests' matter.
KEPT = {"release-open", "manifest", "ci-green", "approval-qa"}
#: How a person logs in.
BY_TOKEN = 'printf "%s\\n" "$TOKEN" | prooftrail login --url "$PROOFTRAIL_URL" --token-stdin'


@dataclass
class Job:
    """A machine of a CI system: its folder, its variables, and the steps it was given."""

    folder: Path
    env: dict[str, str]
    #: What happens once it has signed in.
    signed_in: Callable[[], object] = lambda: None

    def run(self, script: str, **variables: str) -> str:
        """What a step writes; as GitHub calls its shell."""
        (self.folder / "step.sh").write_text(script)
        bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "step.sh"]
        done = subprocess.run(bash, cwd=self.folder, env=self.env | variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def example(title: str, language: str = "yaml") -> Any:
    section = (ROOT / "docs" / "ci.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (text,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return yaml.safe_load(text) if language == "yaml" else text


def filled(text: str, values: dict[str, str]) -> str:
    """With each ``${{ expression }}`` replaced; one that the test does not know fails it."""
    return re.sub(r"\$\{\{ *(.*?) *\}\}", lambda match: values[match[1]], text)


def company(folder: Path) -> str:
    policy = yaml.safe_load((ROOT / "evidence" / "policies" / "gate.yaml").read_text())
    off = [{"name": one["name"], "enabled": False} for one in policy["requirements"] if one["name"] not in KEPT]
    (folder / "policies").mkdir(parents=True)
    wanted = {"requirements": [*off, {"name": "ci-green", "with": {"suites": ["unit"]}}]}
    (folder / "policies" / "gate.yaml").write_text(yaml.safe_dump(wanted))
    return str(folder)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("client"))


@pytest.fixture
def cast(ledger: object, s3: object) -> Cast:
    return assemble()


@pytest.fixture
def issuer(settings: Settings, tmp_path: Path) -> Iterator[Issuer]:
    """Of the id-tokens of both systems, and GitHub's runner."""
    issuer = Issuer(tmp_path)
    settings.OIDC_PRIVATE_ISSUERS, settings.OIDC_CA_FILE = [issuer.url], str(issuer.ca_file)
    yield issuer
    issuer.close()


def job(folder: Path, url: str, path: Path, **variables: str) -> Job:
    """A checkout of one commit, and a shell that knows nothing of this one."""
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    env = {"PATH": f"{path}:{os.environ['PATH']}", "HOME": str(folder), "RELEASE": RELEASE}
    env |= {"PROOFTRAIL_URL": url, "SYSTEM": "netlify-trading"} | variables
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=A", "-c", "user.email=dev@x.example", *COMMIT]):
        subprocess.run(["git", *command], cwd=folder, env=env, check=True, capture_output=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, env=env, check=True, capture_output=True, text=True)
    return Job(folder, env | dict.fromkeys(("GITHUB_SHA", "CI_COMMIT_SHA"), head.stdout.strip()))


COMMIT = ["commit", "-qm", "release"]


def github(made: Job, name: str) -> None:
    workflow = example("GitHub Actions")
    made.env |= {key: filled(value, GITHUB_VALUES) for key, value in workflow["env"].items()}
    url = made.env.pop("PROOFTRAIL_URL")
    for step in workflow["jobs"][name]["steps"]:
        if "prooftrail" in step.get("uses", ""):
            _action(made, {"inputs.url": url, "inputs.log-key": log_signer().vkey, "github.action_path": str(ACTION)})
            made.signed_in()
        elif "run" in step:
            made.run(filled(step["run"], GITHUB_VALUES))


def _action(made: Job, values: dict[str, str]) -> None:
    told = made.folder / "github.env"
    for step in yaml.safe_load((ACTION / "action.yml").read_text())["runs"]["steps"]:
        assert step["shell"] == "bash"
        own = {key: filled(value, values) for key, value in step.get("env", {}).items()}
        made.run(step["run"], GITHUB_ENV=str(told), **own)
    made.env |= dict(line.split("=", 1) for line in told.read_text().splitlines())


def gitlab(made: Job, name: str) -> None:
    """GitLab runs the lines of a job in one shell."""
    pipeline = example("GitLab CI")
    lines = [*pipeline["default"]["before_script"], *pipeline[name]["script"]]
    made.run("\n".join(line for line in lines if "pip install" not in line))  # that is GitHub's to show


def github_machine(folder: Path, issuer: Issuer, url: str) -> Job:
    """Nothing is installed: that is the action's first step."""
    path, offline = machine(folder / "machine")
    asked = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer.url}{RUNNER}?api-version=2.0"}
    asked |= {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": RUNNER_TOKEN, "SSL_CERT_FILE": str(issuer.ca_file)}
    known = {"GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "release-20261122", "GITHUB_ACTOR": "cora"}
    known |= {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "x/y"}
    return job(folder / "github", url, path, **offline, **asked, **known)


def gitlab_machine(folder: Path, issuer: Issuer, url: str, client: Path) -> Job:
    known = {"CI_COMMIT_TAG": "release-20261122", "CI_JOB_ID": "7", "GITLAB_USER_NAME": "cora"}
    known |= {"CI_PROJECT_URL": "https://gitlab.com/x/y", "PROOFTRAIL_LOG_KEY": log_signer().vkey}
    return job(folder / "gitlab", url, client, **known, PROOFTRAIL_ID_TOKEN=issuer.token(aud=url))


GITHUB_VALUES = {"github.ref_name": "release-20261122", "github.run_id": "4711", "github.run_attempt": "1"}


@pytest.mark.skipif(shutil.which("jq") is None, reason="the examples use jq, as CI machines have it")
@pytest.mark.parametrize("system", ["github", "gitlab"])
def test_its_example_takes_a_release_to_production(
    cast: Cast,
    ledger: Clone,
    superuser: psycopg.Connection[Any],
    issuer: Issuer,
    client: Path,
    tmp_path: Path,
    system: str,
) -> None:
    def machine_of(name: str) -> Job:
        (tmp_path / name).mkdir()
        if system == "github":
            return github_machine(tmp_path / name, issuer, url)
        return gitlab_machine(tmp_path / name, issuer, url, client)

    def end_sessions() -> None:
        superuser.execute("UPDATE evidence_token SET expires_at = created_at WHERE policy_id IS NOT NULL")

    play = github if system == "github" else gitlab
    more = {"OIDC_PRIVATE_ISSUERS": issuer.url, "OIDC_CA_FILE": str(issuer.ca_file)}
    with served(ledger, tmp_path / "server", PROOFTRAIL_DATA_PATHS=company(tmp_path / "company"), **more) as url:
        trust = partial(save_policy, actor=Actor(SERVICE), name="acme-web", pipeline=cast.ci)
        trust(issuer=issuer.url, audience=url, claims={"repository": ["acme/web"]})
        build = machine_of("build")
        play(build, "evidence")

        token = issue_token(cast.bob, actor=Actor(SERVICE), label="laptop").text
        laptop = job(tmp_path / "laptop", url, client, TOKEN=token, PROOFTRAIL_LOG_KEY=log_signer().vkey)
        laptop.run(BY_TOKEN)
        laptop.run(example("Approve", "sh"))

        production = machine_of("production")
        production.signed_in = end_sessions  # its quarter of an hour is over before its next command
        shutil.copytree(build.folder / "dist", production.folder / "dist")
        play(production, "deploy")
    kinds = set(Record.objects.filter(release=RELEASE).values_list("kind", flat=True))
    wanted = {"release.opened", "deploy.manifest", "test.result", "approval", "gate.decision", "deploy.started"}
    assert wanted | {"deploy.finished"} <= kinds
    kept = {file.name for folder in (build, production) for file in (folder.folder / "receipts").glob("*.json")}
    assert {"manifest.json", "unit.json", "gate.json"} <= kept
    assert Token.objects.exclude(policy=None).count() == (3 if system == "github" else 2), "one was renewed"
