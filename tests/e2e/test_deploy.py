"""What is deployed asks a real service for what it has: probes, metrics, and every expression over them."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gan_serving.errors import TooManyConnectionsError
from gan_serving.probes import UNCOUNTED

pytestmark = pytest.mark.slow

DEPLOY = Path(__file__).resolve().parents[2] / "serving" / "deploy"
TARGET_LABELS = {"job", "instance", "namespace", "pod"}
"""What Prometheus and its operator add to each series."""
PARTS = "_(bucket|sum|count)$"  # of a histogram
OTHERS = {"up": set(), "container_memory_working_set_bytes": {"container"}}
"""Metrics of Prometheus itself and of the kubelet."""
REQUESTS = "bentoml_service_request_total"
OVER_TIME = ("rate", "increase")
OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}


@dataclass
class Series:
    """What Prometheus keeps under one name."""

    kind: str  # "counter" or "gauge"; the parts of a histogram are counters
    labels: set[str]
    samples: list[dict[str, str]]  # by their labels


def board() -> dict:
    return json.loads((DEPLOY / "grafana" / "ganworks.json").read_text())


def expressions() -> dict[str, str]:
    """Every PromQL expression by where it stands, Grafana's variables filled in."""
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board()["panels"]
        for target in panel["targets"]
    }
    rules = yaml.safe_load((DEPLOY / "kubernetes" / "prometheusrule.yaml").read_text())
    found |= {rule["alert"]: rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]}
    adapter = yaml.safe_load((DEPLOY / "prometheus-adapter" / "values.yaml").read_text())
    (rule,) = adapter["rules"]["custom"]
    found["adapter, series"] = rule["seriesQuery"]
    filled = {"<<.Series>>": "gan_queue_images", "<<.LabelMatchers>>": 'namespace="n"', "<<.GroupBy>>": "pod"}
    found["adapter, metric"] = re.sub("<<.*?>>", lambda part: filled[part[0]], rule["metricsQuery"])
    variables = {"$__rate_interval": "1m"} | {f"${each['name']}": ".*" for each in board()["templating"]["list"]}
    for name, value in variables.items():
        found = {where: expression.replace(name, value) for where, expression in found.items()}
    return found


@pytest.fixture(scope="module")
def service(serve, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A service that has generated, refused, and failed to load something."""
    folder = tmp_path_factory.mktemp("deployed") / "models"
    shutil.copytree(models, folder)
    with serve(models=folder, reload_seconds=0) as running, httpx.Client(base_url=running.url, timeout=60) as http:
        for format_ in ("json", "png"):
            assert http.post("/generate", json={"n": 2, "format": format_}).status_code == 200
        assert http.post("/interpolate", json={"seeds": [1, 2], "steps": 2}).status_code == 200
        assert http.post("/generate", json={"n": 0}).status_code == 400
        for path in UNCOUNTED:
            assert http.get(path).status_code == 200
        broken = folder / "broken"
        shutil.copytree(folder / "digits", broken)
        (broken / "generator.onnx").write_bytes(b"")
        assert http.post("/models/reload").status_code == 200
        yield running


@pytest.fixture(scope="module")
def series(service) -> dict[str, Series]:
    text = httpx.get(f"{service.url}/metrics").text
    found: dict[str, Series] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            kind = "gauge" if family.type == "gauge" else "counter"
            one = found.setdefault(sample.name, Series(kind, set(), []))
            one.labels.update(sample.labels)
            one.samples.append(sample.labels)
    return found


@dataclass(frozen=True)
class Use:
    """One place where an expression reads a series."""

    name: str
    labels: set[str]  # that are matched, or that an aggregation around it keeps
    functions: list[str]  # around it, the innermost last
    matchers: list[tuple[str, str, str]]  # label, operator, value


def uses(expression: str) -> list[Use]:
    """Every series that an expression reads."""
    found: list[Use] = []
    around: list[promql_parser.Expr] = []

    def enter(node: promql_parser.Expr) -> None:
        around.append(node)
        if isinstance(node, promql_parser.VectorSelector):
            kept = [each.modifier for each in around if isinstance(each, promql_parser.AggregateExpr)]
            labels = {label for modifier in kept if modifier is not None for label in modifier.labels}
            matchers = [(each.name, OPERATORS[str(each.op)], each.value) for each in node.matchers.matchers]
            matched = {label for label, _, _ in matchers}
            functions = [each.func.name for each in around if isinstance(each, promql_parser.Call)]
            found.append(Use(node.name, labels | matched, functions, matchers))

    promql_parser.walk(promql_parser.parse(expression), enter, lambda _: around.pop() and None)
    return found


@pytest.mark.parametrize("where", expressions())
def test_expressions_read_series_that_the_service_has_in_the_way_that_fits_them(
    where: str, series: dict[str, Series]
) -> None:
    found = uses(expressions()[where])
    assert found
    for use in found:
        labels = OTHERS[use.name] if use.name in OTHERS else series[use.name].labels
        assert use.labels <= labels | TARGET_LABELS
        if use.name in OTHERS or where == "adapter, series":
            continue
        over_time = bool(set(use.functions) & set(OVER_TIME))
        assert over_time == (series[use.name].kind == "counter"), f"{use.name} is a {series[use.name].kind}"
        assert ("histogram_quantile" in use.functions) == use.name.endswith("_bucket")
        assert ("le" in use.labels) == use.name.endswith("_bucket")


@pytest.mark.parametrize("where", expressions())
def test_expressions_find_the_series_that_they_name(where: str, series: dict[str, Series]) -> None:
    """A label's value that no series has is misspelt, or not there before it is too late for a rate."""
    for use in uses(expressions()[where]):
        if use.name in OTHERS:
            continue
        kept = series[use.name].samples
        for label, operator, value in use.matchers:
            if label in TARGET_LABELS:
                continue
            for one in value.split("|"):
                assert any(re.fullmatch(one, sample[label]) for sample in kept), f"{use.name}: {label} {one}"
            wanted = operator in ("=", "=~")
            kept = [sample for sample in kept if bool(re.fullmatch(value, sample[label])) == wanted]
        assert kept, use.name


def test_shares_are_of_requests_that_callers_made_and_of_connections_that_were_refused(
    series: dict[str, Series],
) -> None:
    found = [uses(expression) for expression in expressions().values()]
    shares = [share for share in found if {"gan_rejections_total", REQUESTS} <= {use.name for use in share}]
    assert len(shares) == 4
    told = {sample["endpoint"] for sample in series[REQUESTS].samples}
    for share in shares:
        (asked,) = [use for use in share if use.name == REQUESTS]
        (probes,) = [value for label, operator, value in asked.matchers if (label, operator) == ("endpoint", "!~")]
        assert {endpoint for endpoint in told if re.fullmatch(probes, endpoint)} == UNCOUNTED
        assert any(("reason", "=", TooManyConnectionsError.code) in use.matchers for use in share)


def test_every_panel_shows_something_where_there_is_no_kubelet() -> None:
    titles = {panel["title"] for panel in board()["panels"]}
    assert titles <= {where.rpartition(" ")[0] for where in expressions()}
    for where, expression in expressions().items():
        if where.rpartition(" ")[0] in titles:
            assert {use.name for use in uses(expression)} - set(OTHERS), where


def test_every_series_of_ours_is_shown_and_written_down(series: dict[str, Series]) -> None:
    shown = {use.name for expression in expressions().values() for use in uses(expression)}
    ours = {name for name in series if name.startswith("gan_")}
    # Of a histogram, one of its parts is enough.
    families = {re.sub(PARTS, "", name): name for name in ours}
    assert len(families) >= 9
    for family in families:
        assert any(re.sub(PARTS, "", name) == family for name in shown), f"{family} is on no panel"
    page = (DEPLOY.parents[1] / "docs" / "serving.md").read_text()
    written = set(re.findall(r"^\| `((?:gan|bentoml)_\w+)` \|", page, re.MULTILINE))
    labels = re.findall(r"^\| `((?:gan|bentoml)_\w+)` \| ([^|]*) \|", page, re.MULTILINE)
    for name, told in labels:
        (found,) = {frozenset(each.labels - {"le"}) for full, each in series.items() if re.sub(PARTS, "", full) == name}
        assert set(re.sub(r"\(.*?\)", "", told).replace(",", " ").split()) == found, name
    # One worker also has what Prometheus' client says of its process.
    told = {name for name in series if not name.startswith(("process_", "python_"))}
    assert written == {re.sub(PARTS, "", name) for name in told}


def test_series_that_alerts_watch_stand_at_zero_before_anything_happens(service) -> None:
    # A counter that begins at 1 has not increased.
    text = httpx.get(f"{service.url}/metrics").text
    for needed in (
        'gan_reloads_total{outcome="failed"} 1.0',
        'gan_reloads_total{outcome="unloaded"} 0.0',
        'gan_rejections_total{reason="queue_full"} 0.0',
        'gan_rejections_total{reason="too_many_connections"} 0.0',
        'gan_rejections_total{reason="deadline"} 0.0',
        'gan_images_total{model="colours",outcome="generated"}',
        'endpoint="/generate"',
    ):
        assert needed in text


def test_probes_and_scrapes_ask_for_what_there_is(service) -> None:
    deployment = yaml.safe_load((DEPLOY / "kubernetes" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    monitor = yaml.safe_load((DEPLOY / "kubernetes" / "servicemonitor.yaml").read_text())
    (job,) = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())["scrape_configs"]
    paths = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    paths += [endpoint["path"] for endpoint in monitor["spec"]["endpoints"]] + [job["metrics_path"]]
    for path in paths:
        assert httpx.get(service.url + path).status_code == 200


def test_the_health_check_of_the_image_tells_ready_from_gone(service) -> None:
    (line,) = [
        line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.strip().startswith('CMD ["python"')
    ]
    _, *arguments = json.loads(line.strip().removeprefix("CMD "))

    def check(port: int) -> int:
        environment = os.environ | {"BENTOML_PORT": str(port)}  # as in the image
        return subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, check=False
        ).returncode

    assert check(httpx.URL(service.url).port) == 0
    assert check(1) != 0
