"""Prometheus' text format, version 0.0.4."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Sample:
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Of a histogram: ``_bucket``, ``_sum``, ``_count``.
    suffix: str = ""


@dataclass(frozen=True)
class Family:
    """One metric with all its samples."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]


def exposed(families: Iterable[Family]) -> str:
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {_escaped(family.help)}"
    yield f"# TYPE {family.name} {family.kind}"
    for sample in family.samples:
        labels = ",".join(
            f'{name}="{_escaped(value).replace(chr(34), chr(92) + chr(34))}"' for name, value in sample.labels.items()
        )
        yield f"{family.name}{sample.suffix}{'{' + labels + '}' if labels else ''} {sample.value:.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
