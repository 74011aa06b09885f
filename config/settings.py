"""One settings file: the environment comes in here and nowhere else.

A machine without any of these variables but with a stack started by ``make run`` is served by
``DATA_DIR/env``, the file of ``export`` lines which that stack writes (docs/operations.md).
"""

import os
from datetime import timedelta
from pathlib import Path

import environ
from django.templatetags.static import static

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("DATA_DIR", BASE_DIR / ".prooftrail")).resolve()


def _read_stack_env(path: Path) -> None:
    """Take over ``export NAME='value'`` lines of a running stack; variables already set win."""
    if not path.is_file():
        return
    for line in path.read_text().splitlines():
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            os.environ.setdefault(name, value.strip("'"))


_read_stack_env(DATA_DIR / "env")
env = environ.Env()

DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
PROOFTRAIL_URL = env.str("PROOFTRAIL_URL", "http://127.0.0.1:8000").rstrip("/")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "config.apps.ConfigConfig",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "config.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "evidence.apps.EvidenceConfig",
    "exceptions.apps.ExceptionsConfig",
    "compliance.apps.ComplianceConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "evidence.api.throttle.RateLimitHeaders",
    "evidence.api.dryrun.NoDryRun",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "config" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "evidence.admin.standing.read_only",
            ],
        },
    },
]

# -- databases: `default` is the runtime role, which owns nothing; `owner` exists for migrations and repair.
_POOL = {"min_size": 1, "max_size": 8, "timeout": 10, "max_idle": 60}
DATABASES = {"default": env.db_url("DATABASE_URL", default="postgres:///prooftrail")}
DATABASES["default"]["CONN_MAX_AGE"] = 0
DATABASES["default"]["OPTIONS"] = {"connect_timeout": 10, "application_name": "prooftrail"}
if env.bool("DATABASE_POOL", False):  # the web workers: several threads share few connections
    DATABASES["default"]["OPTIONS"]["pool"] = _POOL
if env.str("OWNER_DATABASE_URL", ""):
    DATABASES["owner"] = env.db_url("OWNER_DATABASE_URL")
    DATABASES["owner"]["OPTIONS"] = {"connect_timeout": 10, "application_name": "prooftrail-owner"}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# -- people
AUTH_USER_MODEL = "evidence.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "/"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PROOFTRAIL_URL.startswith("https://")
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if env.bool("BEHIND_TLS_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# -- time, language, static files
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", str(DATA_DIR / "static")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},  # uploads go to S3, never through Django
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True

FORMAT_MODULE_PATH = ["config.formats"]

# -- admin
#: Whether `make run` keeps everything on this machine.
EMBEDDED = (DATA_DIR / "env").is_file()
UNFOLD = {
    "SITE_TITLE": "Prooftrail",
    "SITE_HEADER": "Prooftrail",
    "SITE_SUBHEADER": "Evidence that proves itself",
    "SITE_URL": None,
    "SITE_ICON": lambda request: static("prooftrail/mark.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("prooftrail/mark.svg")},
    ],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": False,
    "ENVIRONMENT": "evidence.admin.navigation.environment",
    "LOGIN": {"image": lambda request: static("prooftrail/login.svg")},
    "STYLES": [lambda request: static("prooftrail/prooftrail.css")],
    "SCRIPTS": [lambda request: static("prooftrail/prooftrail.js")],
    "ACCOUNT": {"navigation": "evidence.admin.navigation.account"},
    "SIDEBAR": {"navigation": "evidence.admin.navigation.sidebar"},
    "BORDER_RADIUS": "8px",
    "COLORS": {
        "primary": {
            "50": "oklch(98.2% .012 190)",
            "100": "oklch(95% .03 190)",
            "200": "oklch(90% .055 190)",
            "300": "oklch(83% .085 190)",
            "400": "oklch(75% .1 190)",
            "500": "oklch(66% .1 192)",
            "600": "oklch(47% .085 194)",
            "700": "oklch(41% .074 195)",
            "800": "oklch(36% .062 196)",
            "900": "oklch(31% .05 197)",
            "950": "oklch(23% .04 198)",
        },
    },
}

# -- API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "evidence.api.authentication.TokenAuthentication",
        "evidence.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["evidence.api.permissions.Closed"],
    "DEFAULT_PARSER_CLASSES": ["evidence.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": None,
    "DEFAULT_THROTTLE_CLASSES": ["evidence.api.throttle.Throttle"],
    "EXCEPTION_HANDLER": "config.api.problem.handle",
    "UNAUTHENTICATED_USER": None,
    "UNICODE_JSON": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Prooftrail",
    "DESCRIPTION": "Compliance evidence and audit trail. Errors are RFC 9457 problem+json with a stable `code`. "
    "A member that a call does not know is refused (422 `body_invalid`).",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "RequirementState": "evidence.gate.findings.STATES",
        "RiskLevel": "exceptions.risk_policy.LEVELS",
        "ActionItemState": "exceptions.risks.STATES_OF_ITEMS",
        "RiskImportState": "exceptions.models.risks.IMPORT_STATES",
        "GateOutcome": "evidence.api.gate.OUTCOMES",
        "DeploymentOutcome": "evidence.api.readiness.OUTCOMES",
    },
    "PREPROCESSING_HOOKS": ["evidence.api.openapi.add_record_list"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "evidence.api.openapi.add_plain_views",
        "config.api.operations.complete",
    ],
}
#: Tokens a second for each principal, and how many at once (R4.2): single records, batches, all other calls, and calls
#: without an identity for each address that they come from.
RATE_LIMITS = {
    "writes": env.list("RATE_LIMIT_WRITES", cast=float, default=[1000, 2000]),
    "batches": env.list("RATE_LIMIT_BATCHES", cast=float, default=[2, 20]),
    "calls": env.list("RATE_LIMIT_CALLS", cast=float, default=[100, 500]),
    "anonymous": env.list("RATE_LIMIT_ANONYMOUS", cast=float, default=[100, 2000]),
}
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", 1024 * 1024)

# -- ledger
LOG_ORIGIN = env.str("LOG_ORIGIN", "prooftrail.local/log")
LOG_KEY_FILE = env.str("LOG_KEY_FILE", str(DATA_DIR / "keys" / "log.key"))
RECORD_KEY_FILE = env.str("RECORD_KEY_FILE", str(DATA_DIR / "keys" / "record.key"))
LOG_PUBLIC = env.bool("LOG_PUBLIC", False)
#: Seconds for which a process gathers when tokens were last used, before it writes that down.
TOKEN_USE_INTERVAL = env.float("TOKEN_USE_INTERVAL", 60)
MAX_REQUESTS_IN_FLIGHT = env.int("MAX_REQUESTS_IN_FLIGHT", 256)
MAX_BATCHES_IN_FLIGHT = env.int("MAX_BATCHES_IN_FLIGHT", 4)
MAX_BATCH_LINES = env.int("MAX_BATCH_LINES", 1_000_000)
#: YAML of a company's own kinds, policies, controls and retention classes; searched after the built-in ones.
DATA_PATHS = [Path(p) for p in env.list("PROOFTRAIL_DATA_PATHS", default=[]) if p]
#: Folders of `*.yaml` with a company's own evidence kinds, and nothing else (docs/kinds.md).
KINDS_PATHS = [Path(p) for p in env.list("PROOFTRAIL_KINDS", default=[]) if p]

# -- id-tokens of CI systems (docs/identity.md)
#: Issuers that may have addresses inside the own network; their keys are fetched from nowhere else there.
OIDC_PRIVATE_ISSUERS = env.list("OIDC_PRIVATE_ISSUERS", default=[])
#: PEM of certificate authorities that issuers' certificates may come from, beside the well-known ones.
OIDC_CA_FILE = env.str("OIDC_CA_FILE", "")
#: Seconds that an id-token may live.
OIDC_MAX_LIFETIME = env.float("OIDC_MAX_LIFETIME", 24 * 3600)

# -- objects
S3_ENDPOINT_URL = env.str("S3_ENDPOINT_URL", "") or None
S3_BUCKET = env.str("S3_BUCKET", "prooftrail")
S3_REGION = env.str("S3_REGION", "us-east-1")
S3_ACCESS_KEY_ID = env.str("S3_ACCESS_KEY_ID", "")
S3_SECRET_ACCESS_KEY = env.str("S3_SECRET_ACCESS_KEY", "")
#: Checkpoints and tiles outside the database (docs/ledger.md, "Anchors"); only the worker needs the credentials.
S3_ANCHOR_BUCKET = env.str("S3_ANCHOR_BUCKET", "")
S3_ANCHOR_PREFIX = env.str("S3_ANCHOR_PREFIX", "")
S3_ANCHOR_ACCESS_KEY_ID = env.str("S3_ANCHOR_ACCESS_KEY_ID", "")
S3_ANCHOR_SECRET_ACCESS_KEY = env.str("S3_ANCHOR_SECRET_ACCESS_KEY", "")
MAX_ARTIFACT_BYTES = env.int("MAX_ARTIFACT_BYTES", 5 * 1024**3)

# -- mail
EMAIL_CONFIG = env.email_url("EMAIL_URL", default="dummymail://")
vars().update(EMAIL_CONFIG)
if env.str("EMAIL_URL", "").startswith("filemail://") or not env.str("EMAIL_URL", ""):
    EMAIL_BACKEND = "config.mail.FileBackend"
    EMAIL_FILE_PATH = str(DATA_DIR / "mail")
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "Prooftrail <prooftrail@localhost>")

# -- chat (docs/exceptions.md)
#: Origins (``https://chat.corp.example:8443``) of chat systems that may have addresses inside the own network; one that
#: begins with http:// may also be spoken to without TLS.
CHAT_PRIVATE_ORIGINS = env.list("CHAT_PRIVATE_ORIGINS", default=[])
#: PEM of certificate authorities that their certificates may come from, beside the well-known ones.
CHAT_CA_FILE = env.str("CHAT_CA_FILE", "")

# -- metrics (docs/operations.md)
#: Whoever holds it may read /metrics; without one nobody may.
METRICS_TOKEN = env.str("METRICS_TOKEN", "")
#: Where the web processes of one server keep their counters.
METRICS_DIR = Path(env.str("METRICS_DIR", str(DATA_DIR / "metrics")))

# -- worker and beat; intervals are seconds and may be shortened for a demonstration
CELERY_BROKER_URL = env.str("BROKER_URL", "redis://127.0.0.1:6379/0")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
}
CELERY_TIMEZONE = "UTC"
REMINDER_INTERVAL = env.float("REMINDER_INTERVAL", 60)
DISPOSITION_INTERVAL = env.float("DISPOSITION_INTERVAL", 24 * 3600)
OUTBOX_INTERVAL = env.float("OUTBOX_INTERVAL", 60)
ANCHOR_INTERVAL = env.float("ANCHOR_INTERVAL", 60)
CELERY_BEAT_SCHEDULE = {
    "remind": {
        "task": "exceptions.tasks.remind",
        "schedule": REMINDER_INTERVAL,
        # A round that nobody took would only repeat the next one; clocks of beat and workers may differ by some.
        "options": {"expires": 10 * REMINDER_INTERVAL},
    },
    "remind-of-reviews": {
        "task": "exceptions.tasks.remind_of_reviews",
        "schedule": REMINDER_INTERVAL,
        "options": {"expires": 10 * REMINDER_INTERVAL},
    },
    "notify": {"task": "exceptions.tasks.notify", "schedule": OUTBOX_INTERVAL},
    "import-registers": {"task": "exceptions.tasks.import_waiting", "schedule": OUTBOX_INTERVAL},
    "dispose": {"task": "compliance.tasks.dispose", "schedule": DISPOSITION_INTERVAL},
    "build-packs": {"task": "compliance.tasks.build_waiting_packs", "schedule": OUTBOX_INTERVAL},
    "publish-anchor": {
        "task": "evidence.tasks.publish_anchor",
        "schedule": ANCHOR_INTERVAL,
        "options": {"expires": ANCHOR_INTERVAL},  # rounds that nobody took meanwhile would only repeat each other
    },
    "tend-artifacts": {"task": "evidence.tasks.tend_artifacts", "schedule": OUTBOX_INTERVAL},
    "ask-for-sign-offs": {"task": "evidence.tasks.ask_for_sign_offs", "schedule": OUTBOX_INTERVAL},
    "send-reports": {"task": "compliance.tasks.send_due_reports", "schedule": OUTBOX_INTERVAL},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", "INFO")},
    "loggers": {"django.server": {"level": "WARNING"}, "django.request": {"level": "ERROR"}},
}
SILENCED_SYSTEM_CHECKS: list[str] = []
