"""YAML documents that know where each of their members stands, so that a fault has a file and a line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]
#: Deeper than any definition; an anchor that holds itself goes on for ever.
_DEEPEST = 40


@dataclass(frozen=True)
class Fault:
    """What is wrong in a definition, and where."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Document:
    """One document of a file. `builtin`: it comes with the product."""

    path: Path
    value: Any
    lines: dict[Place, int] = field(repr=False)
    builtin: bool = True

    def fault(self, place: Sequence[str | int], message: str) -> Fault:
        """A fault at the member that `place` leads to, or at the nearest one around it."""
        found = tuple(place)
        while found and found not in self.lines:
            found = found[:-1]
        return Fault(self.path, self.lines.get(found, 1), message)


class _Loader(yaml.SafeLoader):
    """YAML whose values are JSON: a date stays the text that it is."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path, *, builtin: bool = True) -> tuple[list[Document], list[Fault]]:
    """The documents of a file, and what keeps it from being read."""
    documents: list[Document] = []
    faults: list[Fault] = []
    try:
        loader = _Loader(path.read_text("utf-8"))
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # since there is one
            document = Document(path, None, {}, builtin)
            faults += _walk(node, (), document)
            value = None if faults else loader.construct_document(node)
            if value is not None:
                documents.append(Document(path, value, document.lines, builtin))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        faults.append(Fault(path, line, f"this is not YAML: {error.problem or error.context}"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        faults.append(Fault(path, 1, f"this is not YAML: {error}"))
    except OSError as error:
        faults.append(Fault(path, 1, f"cannot be read: {error.strerror}"))
    return documents, faults


def _walk(node: yaml.Node, place: Place, document: Document) -> Iterator[Fault]:
    """Note the line of every member; names members given twice, which YAML would take as the last of them."""
    line = node.start_mark.line + 1
    document.lines.setdefault(place, line)
    if len(place) > _DEEPEST:
        yield Fault(document.path, line, "this is nested too deeply")
        return
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*place, index), document)
    if isinstance(node, yaml.MappingNode):
        yield from _walk_members(node, place, document)


def _walk_members(node: yaml.MappingNode, place: Place, document: Document) -> Iterator[Fault]:
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag != "tag:yaml.org,2002:str":
            yield Fault(document.path, line, f"a member's name is text: write {key.value!r} in quotes")
        if key.value in seen:
            yield Fault(document.path, line, f"{key.value} is given twice")
        seen.add(key.value)
        document.lines[(*place, key.value)] = line
        yield from _walk(value, (*place, key.value), document)
