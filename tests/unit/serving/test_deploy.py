"""What is deployed fits the schemas of those who read it, the service's settings, and itself."""

import copy
import inspect
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from circus.watcher import Watcher

from gan_serving.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "serving" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
COMPOSE = DEPLOY / "compose"
KUBERNETES_VERSIONS = ("1.33", "1.37")
OPERATOR_KINDS = ("ServiceMonitor", "PrometheusRule")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


MANIFESTS: dict[str, dict[str, Any]] = {path.name: load(path) for path in sorted(KUBERNETES.glob("*.yaml"))}
KUSTOMIZATION = MANIFESTS.pop("kustomization.yaml")
BY_KIND = {document["kind"]: document for document in MANIFESTS.values()}
POD = BY_KIND["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
SERVICES = load(COMPOSE / "compose.yaml")["services"]
DOCKERFILE = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE))
INSTRUCTIONS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line.strip()]


def instruction(name: str) -> str:
    """The argument of the last instruction of that name."""
    return [argument.strip() for keyword, argument in INSTRUCTIONS if keyword == name][-1]


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(instruction("ENV")))


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([sm])", text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("name", [name for name, found in MANIFESTS.items() if found["kind"] not in OPERATOR_KINDS])
def test_manifests_fit_the_schemas_of_kubernetes(name: str, version: str) -> None:
    assert kubernetes_validate.validate(MANIFESTS[name], version, strict=True) == version


@pytest.mark.parametrize("kind", OPERATOR_KINDS)
def test_manifests_fit_the_models_of_the_prometheus_operator(kind: str) -> None:
    from cloudcoil.models.prometheus_operator import v1  # 3 s, which each collection of the tests would take longer

    document = BY_KIND[kind]
    read = getattr(v1, kind).model_validate(document)
    # A field that the operator doesn't know would be lost here.
    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == document


def test_compose_fits_its_schema() -> None:
    schema = get_builtin_schema("vendor.compose-spec")
    jsonschema.validators.validator_for(schema)(schema).validate(load(COMPOSE / "compose.yaml"))


def test_the_folder_holds_what_the_kustomization_applies_and_nothing_of_somebody_elses() -> None:
    # `kubectl apply -f` takes all of it.
    assert sorted(KUSTOMIZATION["resources"]) == sorted(MANIFESTS)
    assert {(found["metadata"]["name"], found["metadata"].get("namespace")) for found in MANIFESTS.values()} == {
        (CONTAINER["name"], None)
    }
    assert [image["name"] for image in KUSTOMIZATION["images"]] == [CONTAINER["image"]]


def test_the_component_mounts_a_volume_where_the_service_looks_for_artifacts() -> None:
    component = load(KUBERNETES / "models-volume" / "kustomization.yaml")
    (patch,) = component["patches"]
    deployment = copy.deepcopy(BY_KIND["Deployment"])
    assert patch["target"] == {"kind": "Deployment", "name": deployment["metadata"]["name"]}
    for operation in yaml.safe_load(patch["patch"]):
        assert operation["op"] == "add"
        *way, end = operation["path"].strip("/").split("/")
        place: Any = deployment
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        assert end == "-"
        place.append(operation["value"])
    for version in KUBERNETES_VERSIONS:
        kubernetes_validate.validate(deployment, version, strict=True)
    pod = deployment["spec"]["template"]["spec"]
    mount, volume = pod["containers"][0]["volumeMounts"][-1], pod["volumes"][-1]
    assert mount["name"] == volume["name"]
    assert mount["readOnly"] is volume["persistentVolumeClaim"]["readOnly"] is True
    assert image_environment()["GAN_MODELS"].startswith(f"{mount['mountPath']}?:")
    assert "components: [models-volume]" in (KUBERNETES / "kustomization.yaml").read_text()


def test_the_image_that_is_built_is_the_one_that_runs() -> None:
    (image,) = KUSTOMIZATION["images"]
    name = f"{image['name']}:{image['newTag']}"
    page = (ROOT / "docs" / "serving.md").read_text()
    assert f"docker build -f serving/deploy/Dockerfile -t {name} ." in page
    assert set(re.findall(r"\bganworks:\d[\w.]*", page)) == {name} == {SERVICES["ganworks"]["image"]}


def test_every_setting_is_one_of_the_service_with_a_value_it_takes() -> None:
    config = BY_KIND["ConfigMap"]["data"]
    in_pod = config | {each["name"]: each.get("value", "2") for each in CONTAINER["env"]}
    for environment in (in_pod, SERVICES["ganworks"]["environment"], image_environment()):
        ours = {name: value for name, value in environment.items() if name.startswith("GAN_")}
        assert ours
        fields = {name.removeprefix("GAN_").lower(): value for name, value in ours.items()}
        assert set(fields) <= set(Settings.model_fields)
        Settings.model_validate_strings(fields)
    # What a file of theirs only mentions has to exist too.
    for path in [path for path in DEPLOY.rglob("*") if path.is_file()]:
        for name in re.findall(r"\bGAN_([A-Z_]+)\b", path.read_text()):
            assert name.lower() in Settings.model_fields, f"{path.name}: GAN_{name}"


def test_threads_follow_the_limit_of_the_container() -> None:
    (threads,) = [each for each in CONTAINER["env"] if each["name"] == "GAN_THREADS"]
    reference = threads["valueFrom"]["resourceFieldRef"]
    assert (reference["resource"], reference["containerName"]) == ("limits.cpu", CONTAINER["name"])
    assert CONTAINER["resources"]["limits"]["cpu"].isdigit()


def test_stopping_has_the_time_that_draining_takes() -> None:
    workers_are_killed = inspect.signature(Watcher).parameters["graceful_timeout"].default
    grace, wait = POD["terminationGracePeriodSeconds"], CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = float(BY_KIND["ConfigMap"]["data"]["GAN_DRAIN"])
    assert drain < workers_are_killed, "BentoML would kill the workers before they have drained"
    assert grace > wait + workers_are_killed
    ganworks = SERVICES["ganworks"]
    assert float(ganworks["environment"]["GAN_DRAIN"]) < workers_are_killed < seconds(ganworks["stop_grace_period"])


def test_all_agree_on_the_port() -> None:
    (port,) = CONTAINER["ports"]
    number, name = port["containerPort"], port["name"]
    assert image_environment()["BENTOML_PORT"] == instruction("EXPOSE") == str(number)
    assert image_environment()["BENTOML_HOST"] == "0.0.0.0"
    assert "'BENTOML_PORT'" in instruction("HEALTHCHECK")
    (exposed,) = BY_KIND["Service"]["spec"]["ports"]
    assert exposed["targetPort"] == name
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"]["port"] == name
    (rule,) = BY_KIND["NetworkPolicy"]["spec"]["ingress"]
    assert [each["port"] for each in rule["ports"]] == [name]
    assert [each["port"] for each in BY_KIND["ServiceMonitor"]["spec"]["endpoints"]] == [exposed["name"]]
    assert [each.split(":")[-1] for each in SERVICES["ganworks"]["ports"]] == [str(number)]
    (job,) = load(COMPOSE / "prometheus.yml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"ganworks:{number}"]}]


def test_all_mean_the_same_pods() -> None:
    deployment, service = BY_KIND["Deployment"], BY_KIND["Service"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        BY_KIND["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        BY_KIND["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *[each["labelSelector"]["matchLabels"] for each in POD["topologySpreadConstraints"]],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    monitor = BY_KIND["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    job = service["metadata"]["labels"][monitor["jobLabel"]]
    for group in BY_KIND["PrometheusRule"]["spec"]["groups"]:
        for rule in group["rules"]:
            assert set(re.findall(r'job="([^"]*)"', rule["expr"])) == {job}
    (source,) = CONTAINER["envFrom"]
    assert source["configMapRef"]["name"] == BY_KIND["ConfigMap"]["metadata"]["name"]


def test_the_autoscaler_scales_this_deployment_on_a_metric_that_the_adapter_gives() -> None:
    spec = BY_KIND["HorizontalPodAutoscaler"]["spec"]
    assert spec["scaleTargetRef"] == {
        "apiVersion": BY_KIND["Deployment"]["apiVersion"],
        "kind": "Deployment",
        "name": BY_KIND["Deployment"]["metadata"]["name"],
    }
    assert "replicas" not in BY_KIND["Deployment"]["spec"], "every `apply` would undo the autoscaler"
    assert spec["minReplicas"] > BY_KIND["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    (metric,) = spec["metrics"]
    adapter = load(DEPLOY / "prometheus-adapter" / "values.yaml")
    assert "kind" not in adapter, "an object would take the place of the cluster's own"
    (rule,) = adapter["rules"]["custom"]
    name = metric["pods"]["metric"]["name"]
    assert rule["name"]["as"] == name
    assert re.fullmatch(rule["name"]["matches"], name)
    assert rule["seriesQuery"].startswith(f"{name}{{")
    assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}


def test_nothing_runs_as_root_or_writes_outside_of_tmp() -> None:
    user, group = map(int, instruction("USER").split(":"))
    assert user > 0
    assert group > 0
    pod, container = POD["securityContext"], CONTAINER["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert (pod["runAsUser"], pod["runAsGroup"]) == (user, group)
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["readOnlyRootFilesystem"] is True
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert "add" not in container["capabilities"]
    assert [each["mountPath"] for each in CONTAINER["volumeMounts"] if not each.get("readOnly")] == ["/tmp"]
    composed = SERVICES["ganworks"]
    assert composed["read_only"] is True
    assert composed["cap_drop"] == ["ALL"]
    assert [each.split(":")[0] for each in composed["tmpfs"]] == ["/tmp"]
    assert image_environment()["BENTOML_HOME"].startswith("/tmp/")
    assert image_environment()["HOME"] == instruction("WORKDIR") == "/tmp"
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name


def test_the_keys_file_is_the_one_of_the_secret() -> None:
    (file,) = [Path(each["value"]) for each in CONTAINER["env"] if each["name"] == "GAN_API_KEYS_FILE"]
    (mount,) = [each for each in CONTAINER["volumeMounts"] if each["mountPath"] == str(file.parent)]
    (volume,) = [each for each in POD["volumes"] if each["name"] == mount["name"]]
    assert "subPath" not in mount, "a file of a subPath never changes"
    assert "optional" not in volume["secret"]
    text = (KUBERNETES / "deployment.yaml").read_text()
    assert f"kubectl create secret generic {volume['secret']['secretName']} --from-file={file.name}=" in text


def test_the_image_is_built_from_what_the_checkout_has_and_the_builder_is_sent() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        source
        for keyword, argument in INSTRUCTIONS
        if keyword == "COPY" and not argument.startswith("--from")
        for source in argument.split()[:-1]
    }
    assert "models" not in copied, "a fresh checkout has none, and COPY would end the build"
    assert copied | {"models"} == sent
    assert all((ROOT / source).exists() for source in copied)
    build = SERVICES["ganworks"]["build"]
    context = (COMPOSE / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")


@pytest.mark.parametrize("has_models", [True, False])
def test_artifacts_that_only_their_owner_may_read_are_readable_in_the_image(tmp_path: Path, has_models: bool) -> None:
    (step,) = [argument for keyword, argument in INSTRUCTIONS if keyword == "RUN" and "--mount" in argument]
    checkout, image = tmp_path / "checkout", tmp_path / "image"
    image.mkdir()
    if has_models:
        (checkout / "models" / "faces").mkdir(0o700, parents=True)
        (checkout / "models" / "faces" / "manifest.json").touch(0o600)
    script = step.partition("target=/checkout ")[2].replace("/checkout", str(checkout))
    subprocess.run(["sh", "-c", script.replace(" /models", f" {image}/models")], check=True)
    modes = {path.name: path.stat().st_mode & 0o777 for path in [image / "models", *image.glob("models/**/*")]}
    assert modes == {"models": 0o755} | ({"faces": 0o755, "manifest.json": 0o644} if has_models else {})


def test_the_image_serves_what_a_bare_service_does() -> None:
    default = Settings.model_fields["models"].default
    (copied,) = [argument.split()[-1] for _, argument in INSTRUCTIONS if argument.startswith("--from=build /models")]
    assert image_environment()["GAN_MODELS"] == f"{copied}?:zoo"
    assert default == "models?:zoo"


def test_compose_mounts_what_there_is_where_grafana_looks() -> None:
    mounts = {}
    for service in ("prometheus", "grafana"):
        for volume in SERVICES[service]["volumes"]:
            source, target, *_ = volume.split(":")
            if source.startswith("."):
                assert (COMPOSE / source).exists(), source
                mounts[target] = COMPOSE / source
    (provider,) = load(mounts["/etc/grafana/provisioning/dashboards/ganworks.yaml"])["providers"]
    assert mounts[provider["options"]["path"]].samefile(DEPLOY / "grafana")
    prometheus = load(mounts["/etc/prometheus/prometheus.yml"])
    (rules,) = [load(mounts[f"/etc/prometheus/{name}"]) for name in prometheus["rule_files"]]
    assert rules["groups"] == BY_KIND["PrometheusRule"]["spec"]["groups"]
    (job,) = prometheus["scrape_configs"]
    assert f'job="{job["job_name"]}"' in rules["groups"][0]["rules"][0]["expr"]
    (source,) = load(mounts["/etc/grafana/provisioning/datasources/ganworks.yaml"])["datasources"]
    prometheus_port = SERVICES["prometheus"]["ports"][0].split(":")[-1]
    assert source["url"] == f"http://prometheus:{prometheus_port}"


def test_no_critical_alert_rings_for_what_a_caller_can_cause() -> None:
    (group,) = BY_KIND["PrometheusRule"]["spec"]["groups"]
    critical = {rule["alert"] for rule in group["rules"] if rule["labels"]["severity"] == "critical"}
    late = {rule["alert"] for rule in group["rules"] if "deadline" in rule["expr"]}
    assert late == {"GanworksDeadlines"}, "a caller sets X-Request-Timeout"
    assert "GanworksErrors" in critical
    assert not late & critical


def test_the_dashboard_is_whole() -> None:
    board = json.loads((DEPLOY / "grafana" / "ganworks.json").read_text())
    variables = {each["name"] for each in board["templating"]["list"]}
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels) > 0
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])}
        assert not cells & taken, f"{panel['title']} covers another panel"
        taken |= cells
        assert panel["description"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
    assert set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(board))) <= variables
    assert variables == set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(panels)))
