"""The examples of docs/ci.md: each shell step runs, in order, against a running service, with the client alone."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from evidence.keys import log_signer
from evidence.ledger import Actor
from evidence.models import Record
from evidence.models.people import SERVICE
from evidence.people import issue_token
from tests.cast import Cast, assemble
from tests.client import install
from tests.conftest import Clone
from tests.engines import ROOT
from tests.served import served

#: Part of `make contract`: it starts the service and some forty commands.
pytestmark = pytest.mark.contract
RELEASE = "netlify-trading:release-20261122"
ACTION = ROOT / ".github" / "actions" / "prooftrail" / "action.yml"
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
#: Steps that reach beyond the service: the packages are there already, and the identity provider's token is exchanged
#: in the tests of that exchange. A pipeline's own token stands for the one that would come back.
LOGIN = 'prooftrail login --url "$PROOFTRAIL_URL" --oidc'
BY_TOKEN = 'printf "%s\\n" "$TOKEN" | prooftrail login --url "$PROOFTRAIL_URL" --token-stdin'


@dataclass
class Job:
    """A machine of a CI system: its folder, its variables, and the steps it was given."""

    folder: Path
    env: dict[str, str]
    ran: list[str] = field(default_factory=list)

    def run(self, script: str) -> None:
        if "pip install" in script:
            return
        (self.folder / "step.sh").write_text(script.replace(LOGIN, BY_TOKEN))
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "step.sh"], cwd=self.folder, env=self.env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        self.ran.append(script)


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


def job(folder: Path, client: Path, url: str, token: str, **variables: str) -> Job:
    """A checkout of one commit, and a shell that knows nothing of this one."""
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    env = {"PATH": f"{client}:{os.environ['PATH']}", "HOME": str(folder), "TOKEN": token, "RELEASE": RELEASE}
    env |= {"PROOFTRAIL_LOG_KEY": log_signer().vkey, "PROOFTRAIL_URL": url, "SYSTEM": "netlify-trading"} | variables
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=A", "-c", "user.email=dev@x.example", *COMMIT]):
        subprocess.run(["git", *command], cwd=folder, env=env, check=True, capture_output=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, env=env, check=True, capture_output=True, text=True)
    commit = dict.fromkeys(("GITHUB_SHA", "CI_COMMIT_SHA") if variables else (), head.stdout.strip())
    return Job(folder, env | commit)


COMMIT = ["commit", "-qm", "release"]


def github(made: Job, url: str, name: str, values: dict[str, str]) -> None:
    workflow = example("GitHub Actions")
    made.env |= {key: filled(value, values) for key, value in workflow["env"].items()}
    for step in workflow["jobs"][name]["steps"]:
        if "prooftrail" in step.get("uses", ""):
            _action(made, {"inputs.url": url, "inputs.log-key": log_signer().vkey, "github.action_path": "."})
        elif "run" in step:
            made.run(filled(step["run"], values))


def _action(made: Job, values: dict[str, str]) -> None:
    made.env["GITHUB_ENV"] = str(made.folder / "github.env")
    for step in yaml.safe_load(ACTION.read_text())["runs"]["steps"]:
        own = {key: filled(value, values) for key, value in step.get("env", {}).items()}
        Job(made.folder, made.env | own, made.ran).run(step["run"])
    made.env |= dict(line.split("=", 1) for line in (made.folder / "github.env").read_text().splitlines())


def gitlab(made: Job, url: str, name: str, values: dict[str, str]) -> None:
    """GitLab runs the lines of a job in one shell."""
    pipeline = example("GitLab CI")
    lines = [*pipeline["default"]["before_script"], *pipeline[name]["script"]]
    made.run("\n".join(line for line in lines if "pip install" not in line))


CI = {
    "github": (
        github,
        {
            "GITHUB_REF_TYPE": "tag",
            "GITHUB_REF_NAME": "release-20261122",
            "GITHUB_ACTOR": "cora",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "x/y",
        },
    ),
    "gitlab": (
        gitlab,
        {
            "CI_COMMIT_TAG": "release-20261122",
            "CI_JOB_ID": "7",
            "GITLAB_USER_NAME": "cora",
            "CI_PROJECT_URL": "https://gitlab.com/x/y",
        },
    ),
}
GITHUB_VALUES = {"github.ref_name": "release-20261122", "github.run_id": "4711", "github.run_attempt": "1"}


@pytest.mark.skipif(shutil.which("jq") is None, reason="the examples use jq, as CI machines have it")
@pytest.mark.parametrize("system", CI)
def test_its_example_takes_a_release_to_production(
    cast: Cast, ledger: Clone, client: Path, tmp_path: Path, system: str
):
    play, variables = CI[system]
    with served(ledger, tmp_path / "server", PROOFTRAIL_DATA_PATHS=company(tmp_path / "company")) as url:
        build = job(tmp_path / "build", client, url, cast.ci_token, **variables)
        play(build, url, "evidence", GITHUB_VALUES)

        token = issue_token(cast.bob, actor=Actor(SERVICE), label="laptop").text
        laptop = job(tmp_path / "laptop", client, url, token)
        laptop.run(BY_TOKEN)
        laptop.run(example("Approve", "sh"))

        production = job(tmp_path / "production", client, url, cast.ci_token, **variables)
        shutil.copytree(build.folder / "dist", production.folder / "dist")
        play(production, url, "deploy", GITHUB_VALUES)
    kinds = set(Record.objects.filter(release=RELEASE).values_list("kind", flat=True))
    wanted = {"release.opened", "deploy.manifest", "test.result", "approval", "gate.decision", "deploy.started"}
    assert wanted | {"deploy.finished"} <= kinds
    kept = {file.name for folder in (build, production) for file in (folder.folder / "receipts").glob("*.json")}
    assert {"manifest.json", "unit.json", "gate.json"} <= kept
