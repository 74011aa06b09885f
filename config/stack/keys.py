"""The log key and the record key of the embedded default, made at first start. Production brings its own."""

from pathlib import Path

from config.stack.files import write_private
from evidence.tlog import keys

LOG_KEY = "log.key"
RECORD_KEY = "record.key"


def ensure_keys(folder: Path) -> None:
    """Two Ed25519 keys, PEM PKCS#8, 0600; existing ones are never replaced."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (LOG_KEY, RECORD_KEY):
        if not (folder / name).exists():
            write_private(folder / name, keys.dump_private(keys.generate()).decode())
