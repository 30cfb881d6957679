"""docs/serving.md says what the code says: settings, errors and endpoints."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gan_client.types import GenerateRequest, InterpolateRequest
from gan_serving.endpoints import generate, interpolate, latents, pages, playground, system
from gan_serving.errors import ServiceError
from gan_serving.middleware.error_response import detail_of_status
from gan_serving.settings import Settings, markdown_table
from gan_serving.v2 import routes as v2_routes

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "serving.md").read_text()
ROUTES = [
    *generate.ROUTES, *interpolate.ROUTES, *latents.ROUTES, *pages.ROUTES, *playground.ROUTES, *system.ROUTES,
    *v2_routes.ROUTES,
]  # fmt: skip
BENTOML = {("GET", "/"), ("GET", "/livez"), ("GET", "/docs.json")}


def kinds(of: type[ServiceError]) -> Iterator[type[ServiceError]]:
    """The class and all that are made from it, but for those that only stand above others."""
    subclasses = of.__subclasses__()
    if not subclasses or of is ServiceError:
        yield of
    for each in subclasses:
        yield from kinds(each)


def test_the_settings_are_those_of_the_code() -> None:
    assert markdown_table() in PAGE, "put what `python -m gan_serving.settings` prints into docs/serving.md"
    assert markdown_table().count("\n") == len(Settings.model_fields) + 1
    assert "| `GAN_MAX_N` | `4096` | 1 to 1000000 | Largest number of images in a request. |" in markdown_table()


def test_the_errors_are_those_of_the_code() -> None:
    written = {(int(status), code) for status, code in re.findall(r"^\| (\d{3}) \| `(\w+)` \|", PAGE, re.MULTILINE)}
    raised = {(kind.status, kind.code) for kind in kinds(ServiceError)}
    routers = {(status, detail_of_status(status, "GET", "/").code) for status in (404, 405)}
    assert written == raised | routers | {(400, "cors")}


def expanded(path: str) -> Iterator[str]:
    """All paths that one with optional parts in brackets stands for."""
    match = re.search(r"\[([^]]*)\]", path)
    if match is None:
        yield path
        return
    for choice in ("", *match[1].split("|")):
        yield from expanded(path[: match.start()] + choice + path[match.end() :])


def test_the_endpoints_are_those_of_the_code() -> None:
    table = set(re.findall(r"`(GET|POST) (/[^`]*)`", PAGE))
    block = {
        (method, path)
        for method, paths in re.findall(r"^(GET|POST) +(/v2.*)$", PAGE, re.MULTILINE)
        for word in paths.split()
        for path in expanded(word)
    }
    routes = {(method, route.path) for route in ROUTES for method in (route.methods or set()) - {"HEAD"}}
    assert table | block == routes | BENTOML


def allowed(schema: dict[str, Any]) -> str:
    """The range of a number, as the page has it."""
    if "minimum" not in schema and "exclusiveMinimum" not in schema:
        return ""
    low = str(schema["minimum"]) if "minimum" in schema else f"above {schema['exclusiveMinimum']:g}"
    high = "2**53 - 1" if schema.get("exclusiveMaximum") == 2**53 else schema.get("maximum", "`GAN_MAX_N`")
    return f"{low} to {high:g}" if isinstance(high, float) else f"{low} to {high}"


def test_the_ranges_of_fields_are_those_of_the_types() -> None:
    ranges: dict[str, str] = {}
    for kind in (GenerateRequest, InterpolateRequest):
        for name, field in kind.model_json_schema()["properties"].items():
            for schema in field.get("anyOf", [field]):
                found = allowed(schema) or allowed(schema.get("items", {}))
                if found and name != "label":
                    default = f"; {field['default']} when absent" if field.get("default") else ""
                    assert ranges.setdefault(name, found + default) == found + default
    table = PAGE.partition("### Ranges")[2].partition("###")[0]
    rows = re.findall(r"^\| (`.*`) \| (.*) \|$", table, re.MULTILINE)
    assert {name: text for names, text in rows for name in re.findall(r"`(\w+)`", names)} == ranges


@pytest.mark.parametrize("word", ["yes", "on", "1", "true", "no", "off", "0", "false"])
def test_what_counts_as_true_and_false(word: str) -> None:
    assert f"`{word}`" in PAGE
    assert Settings.model_validate({"metrics_open": word}).metrics_open is (word in ("yes", "on", "1", "true"))
