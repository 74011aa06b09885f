"""Whether an answer of the API is one that its description names: asked of every problem that a test provokes."""

import functools
import re
from typing import Any

from drf_spectacular.generators import SchemaGenerator


@functools.cache
def _calls() -> list[tuple[str, re.Pattern[str], dict[int, set[str]]]]:
    """Method, path, and error codes by status, of each call; paths that name more first."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    named = schema["components"]["responses"]
    found = []
    for path, methods in sorted(schema["paths"].items(), key=lambda item: (item[0].count("{"), -len(item[0]))):
        pattern = re.compile(re.sub(r"\{path\}", ".+", path).replace("{", "(?P<").replace("}", ">[^/]+)"))
        for method, operation in methods.items():
            codes = {int(status): _codes(answer, named) for status, answer in operation["responses"].items()}
            found.append((method, pattern, codes))
    return found


def _codes(answer: dict[str, Any], named: dict[str, Any]) -> set[str]:
    answer = named[answer["$ref"].split("/")[-1]] if "$ref" in answer else answer
    content = answer.get("content", {}).get("application/problem+json")
    return set(content["schema"]["allOf"][1]["properties"]["code"]["enum"]) if content else set()


def check(method: str, path: str, status: int, code: str) -> None:
    """Fails for a problem that the call's description does not name. Other methods and places are no calls."""
    for known, pattern, problems in _calls():
        if known == method.lower() and pattern.fullmatch(path.partition("?")[0]):
            said = f"{method} {pattern.pattern} answers {status} {code}: name it in the app's api/operations.yaml"
            assert code in problems.get(status, set()), said
            return
