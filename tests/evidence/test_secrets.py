"""Secrets are found before anything is stored, and are in no answer, log or table (R4.5)."""

import json
import logging
import tracemalloc

import pytest

from config.errors import InvalidError
from evidence import secretscan
from evidence.api.actors import actor_for
from evidence.checks import secret_rules_are_right
from evidence.ledger import reader
from evidence.people import add_key
from evidence.secretscan import TextScan, compiled, scan, scan_json
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.keys import dump_public, generate
from evidence.tlog.statement import build_statement
from tests.bench import bodies

# Put together here, so that no scanner takes this file for a leak.
GITHUB = "ghp" + "_" + "a1B2c3D4e5F6g7H8i9J0a1B2c3D4e5F6g7H8"
AWS = "AKIA" + "Q7ZT5WJ3XK2MNPL4"
SECRETS = {
    "github-token": f"cloned with {GITHUB} in 3 s",
    "aws-access-key": f"AWS_ACCESS_KEY_ID={AWS}",
    "aws-secret-key": "aws_secret_access_key = " + "wJalrXUtnFEMIK7MDENGbPxRfiCYzQ8sT4uV6wX0",
    "private-key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXk",
    "slack-webhook": "posted to https://hooks.slack.com/" + "services/T00000000/B00000000/aBcDeFgHiJkLmNoP",
    "json-web-token": "eyJhbGciOiJSUzI1NiJ9" + ".eyJzdWIiOiJjaSJ9c2Vy." + "s1gn4tur3s1gn4tur3s1gn4tur3",
    "url-password": "postgres://app:" + "t0psecret" + "@db.internal/trading",
    "authorization-header": "> Authorization: Bearer " + "7f9d2c4e6a8b0d1f3e5c",
    "assigned-secret": "export API_KEY=" + "9xK2vQ7mZ4tR",
    "prooftrail-token": "PROOFTRAIL_" + "TOKEN is pt_" + "k7Qw9zL2" + "_Zx8Yc7Vb6Nm5Lk4Jh3Gf2",
}


@pytest.mark.parametrize("rule", SECRETS)
def test_it_finds_what_a_rule_describes_in_bodies_and_texts(rule):
    body = {"detail": [{"log": SECRETS[rule]}]}
    assert (rule, "/detail/0/log") in [(f.rule, f.pointer) for f in scan(body)]
    assert scan_json(json.dumps(body).encode()) == scan(body)
    text = TextScan()
    text.feed(f"ok\n\n{SECRETS[rule]}\nok\n".encode())
    text.end()
    assert (rule, 3) in [(f.rule, f.line) for f in text.findings]


def test_it_finds_a_secret_by_the_name_of_its_member():
    assert [f.pointer for f in scan({"db": {"adminPassword": "hunter2!Fish"}})] == ["/db/adminPassword"]
    listed = {"env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "DB_PASSWORD", "value": "hunter2!Fish"}]}
    assert [f.pointer for f in scan(listed)] == ["/env/1/value"]


def test_it_does_not_name_a_member_that_is_itself_a_secret():
    assert [f.pointer for f in scan({"keys": {GITHUB: {"n": SECRETS["url-password"]}}})] == ["/keys/*", "/keys/*/n"]


def test_it_is_not_deceived_by_escapes():
    body = json.dumps({"detail": GITHUB}).replace("ghp", "\\u0067hp").encode()
    assert [f.rule for f in scan_json(body)] == ["github-token"]


@pytest.mark.parametrize(
    "value",
    [
        *({"detail": text} for text in ("password: [redacted]", "token=${GITHUB_TOKEN}", "the token: was refreshed")),
        {"password": "{{ vault.password }}", "token": "CI_JOB_TOKEN", "api_key": "sha256:" + "ab" * 32},
        {"client_secret": "arn:aws:secretsmanager:eu-west-1:1:secret:x", "secret": "op://team/db/password"},
        {"url": "https://example.com/login?next=/a@b", "digest": "sha256:" + "0f" * 32, "commit": "9c1d" * 10},
        *(make(7) for make in (bodies.test_result, bodies.deploy_manifest, bodies.flags_snapshot, bodies.vulns)),
        *(make(7) for make in (bodies.provenance, bodies.sbom, bodies.postmortem, bodies.checklist)),
    ],
)
def test_it_leaves_alone_what_only_looks_like_one(value):
    assert scan(value) == []


def test_it_finds_a_secret_across_pieces_of_a_file_in_flat_memory():
    line = b"15:00:01 INFO token refreshed for alice\n"
    text = TextScan()
    tracemalloc.start()
    for _ in range(24):
        text.feed(line * 10_000)
    text.feed(GITHUB[:9].encode())
    text.feed(GITHUB[9:].encode() + b"\n")
    text.end()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [(f.rule, f.line) for f in text.findings] == [("github-token", 240_001)]
    assert peak < 4 * len(line) * 10_000


def test_it_reads_texts_of_windows_and_passes_over_what_is_no_text():
    for data, found in ((f"a\r\n{GITHUB}\r\n".encode("utf-16"), [2]), (b"\x7fELF\x00" + GITHUB.encode(), [])):
        text = TextScan()
        text.feed(data)
        text.end()
        assert [f.line for f in text.findings] == found


def test_it_says_which_rule_of_a_company_is_wrong():
    rule = {"id": "acme", "title": "ACME key", "keywords": ["acme_"], "regex": r"acme_(?=x)"}
    with pytest.raises(InvalidError, match="rule acme"):
        compiled([rule], [])
    assert compiled([rule | {"regex": r"acme_\d+"}], []).everything.near("key acme_1")


def test_the_service_does_not_start_with_a_rule_that_is_wrong(settings, tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "secrets.yaml").write_text(
        "rules:\n  - {id: acme, title: x, keywords: [acme], regex: '('}\n"
    )
    settings.DATA_PATHS = [tmp_path]
    secretscan.load.cache_clear()
    try:
        (found,) = secret_rules_are_right(None)
    finally:
        secretscan.load.cache_clear()
    assert (found.id, "rule acme" in found.msg) == ("evidence.E009", True)


def test_a_company_adds_rules_and_switches_one_off(settings, tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "secrets.yaml").write_text(
        "rules:\n"
        "  - {id: acme, title: ACME key, keywords: [acme_], regex: 'acme_[0-9]{6}'}\n"
        "  - {id: github-token, disabled: true}\n"
    )
    settings.DATA_PATHS = [tmp_path]
    secretscan.load.cache_clear()
    try:
        assert [f.rule for f in scan({"a": "acme_123456", "b": GITHUB})] == ["acme"]
    finally:
        secretscan.load.cache_clear()


# -- records -----------------------------------------------------------------------------------------------------------


def leaks(release, **body):
    return {"kind": "test.result", "release": release, "body": {"suite": "unit", "outcome": "passed"} | body}


def check_refused(response, size, where, pointer):
    problem = response.json()
    assert (response.status_code, problem["code"], problem["where"]) == (422, "secret_found", where)
    assert problem["findings"] == [{"rule": "github-token", "title": "GitHub token", "pointer": pointer}]
    assert GITHUB not in response.content.decode()
    assert reader.size() == size


def test_it_refuses_a_record_with_a_secret_and_never_repeats_it(api, release, caplog):
    size = reader.size()
    with caplog.at_level(logging.DEBUG):
        check_refused(api.post("records", leaks(release, detail=GITHUB)), size, "$.body.detail", "/body/detail")
        # also where the schema would have quoted it
        check_refused(api.post("records", leaks(release, outcome=GITHUB)), size, "$.body.outcome", "/body/outcome")
    assert GITHUB not in caplog.text
    assert "GitHub token at /body/detail" in caplog.text


def test_it_refuses_a_signed_statement_with_a_secret_anywhere(api, cast, release):
    key = generate()
    add_key(cast.ci, actor=actor_for(cast.root), public_key=dump_public(key.public_key()))
    size = reader.size()
    payload = build_statement(
        subjects=[{"name": "app", "digest": {"sha256": "ab" * 32}, "downloadLocation": f"https://x/?t={GITHUB}"}],
        predicate_type="urn:prooftrail:predicate:test.result:v1",
        predicate={"suite": "unit", "outcome": "passed"},
    )
    answer = api.post(
        f"records?release={release}",
        sign_envelope(payload, key),
        content_type="application/vnd.dsse.envelope.v1+json",
    )
    check_refused(answer, size, "$.subject[0].downloadLocation", "/subject/0/downloadLocation")


def test_a_bad_line_of_a_batch_is_refused_alone(api, release):
    lines = [leaks(release), leaks(release, detail=GITHUB), leaks(release)]
    sent = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    answer = b"".join(api.post("records/batch", sent, content_type="application/x-ndjson").streaming_content)
    assert [json.loads(line)["status"] for line in answer.splitlines()] == [201, 422, 201]
    assert GITHUB.encode() not in answer
