"""The wire types as documentation: every field says what it is, and its range where it has one."""

import ast
import inspect
import re

import pytest
from pydantic import BaseModel

from gan_client import certificate_types, model_types, types
from gan_client.types import SEED_LIMIT, GenerateRequest, InterpolateRequest, LatentsRequest

MODELS = sorted(
    {
        kind
        for module in (types, model_types, certificate_types)
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, BaseModel)
        and kind.__module__ in (types.__name__, model_types.__name__, certificate_types.__name__)
    },
    key=lambda kind: kind.__name__,
)
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxItems", "maxLength")


def documented(kind: type[BaseModel]) -> dict[str, str]:
    """Field -> the docstring under it."""
    [definition] = ast.parse(inspect.getsource(kind)).body
    found = {}
    for field, after in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
            found[field.target.id] = ast.literal_eval(after.value)
    return found


def bounds(schema: object) -> set[int]:
    """Every bound in a field's schema."""
    if isinstance(schema, list):
        return set().union(*map(bounds, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    own = set() if "prefixItems" in schema else {int(schema[name]) for name in BOUNDS if name in schema}
    return own.union(*map(bounds, schema.values()))


@pytest.mark.parametrize("kind", MODELS)
def test_every_field_says_what_it_is_and_its_range(kind):
    assert kind.__doc__
    words = documented(kind)
    assert set(words) == set(kind.model_fields)
    for name, schema in kind.model_json_schema()["properties"].items():
        for bound in bounds(schema):
            text = "2**53" if bound == SEED_LIMIT else str(bound)
            assert re.search(rf"(?<![\w.]){re.escape(text)}(?!\w)", words[name]), f"{name} doesn't say {text}"


@pytest.mark.parametrize("kind", [GenerateRequest, InterpolateRequest, LatentsRequest])
def test_what_a_field_of_a_request_says_is_what_the_openapi_document_says(kind):
    told = {name: schema["description"] for name, schema in kind.model_json_schema()["properties"].items()}
    assert told == {name: inspect.cleandoc(words) for name, words in documented(kind).items()}


def test_bounds_are_found_where_they_stand():
    properties = InterpolateRequest.model_json_schema()["properties"]
    assert bounds(properties["steps"]) == {2, 240}
    assert bounds(properties["seeds"]) == {0, SEED_LIMIT, 64}
    assert len(MODELS) > 20
