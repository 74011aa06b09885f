"""The product's settings for tests: nothing of the machine's own stack or shell gets in."""

import os

from tests.engines import run_folder

RUN_FOLDER = run_folder()
for _name in list(os.environ):
    if _name.endswith("DATABASE_URL") or _name.startswith("S3_"):
        del os.environ[_name]
os.environ.update(
    DATA_DIR=str(RUN_FOLDER / "data"),
    SECRET_KEY="only-for-tests-" + "0123456789" * 5,
    DATABASE_URL="postgres://prooftrail_runtime:none@127.0.0.1:1/no-database-without-the-ledger-fixture",
    BROKER_URL="redis://127.0.0.1:1/0",
    S3_ENDPOINT_URL="http://127.0.0.1:1",
    PROOFTRAIL_URL="http://testserver",
    ALLOWED_HOSTS="testserver,127.0.0.1,localhost",
    EMAIL_URL="filemail://",
    TOKEN_USE_INTERVAL="86400",  # a test that is about it says so
    LOG_KEY_FILE=str(RUN_FOLDER / "keys" / "log.key"),
    RECORD_KEY_FILE=str(RUN_FOLDER / "keys" / "record.key"),
)

from config.settings import *  # noqa: E402, F403 -- the environment comes first, and all of it is meant

DEBUG = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # noqa: F405 -- from the star import; whitenoise warns without it
