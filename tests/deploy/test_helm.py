"""The chart, linted and rendered by Helm itself; what it renders is held to Kubernetes' own schemas and to deploy/."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("yaml")
import yaml

from tests.deploy.helm import Helm, find

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "medseg"
TAG = "image.tag=25.10"
OPTIONS = {
    "gpu": "target=gpu",
    "cpu": "target=cpu",
    "slice": "gpu.resource=nvidia.com/mig-1g.10gb,gpu.runtimeClass=nvidia,image.pullSecrets[0].name=registry",
    "placed": "nodeSelector.pool=gpu,tolerations[0].key=nvidia.com/gpu,tolerations[0].operator=Exists",
    "open": "front.enabled=false,front.openToTheCluster=true",
    "outside": "service.type=LoadBalancer,replicas=3,drainSeconds=600,startSeconds=7,shm=4Gi",
    "scaled": "autoscaling.enabled=true,monitor.enabled=true,monitor.labels.release=prometheus",
    "second": "autoscaling.enabled=true,monitor.enabled=true,monitor.rules=false",
}
Objects = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return find(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module", params=OPTIONS)
def rendered(helm: Helm, request: pytest.FixtureRequest) -> Objects:
    return _render(helm, OPTIONS[request.param])


def _render(helm: Helm, options: str = "target=gpu", chart: Path = CHART) -> Objects:
    """The objects by kind; there is one of each."""
    done = helm("template", "one", str(chart), "--set", f"{TAG},{options}")
    assert done.returncode == 0, done.stderr
    documents = [one for one in yaml.safe_load_all(done.stdout) if one]
    objects = {one["kind"]: one for one in documents}
    assert len(objects) == len(documents)
    return objects


def _pod(objects: Objects) -> dict[str, Any]:
    return objects["Deployment"]["spec"]["template"]["spec"]


def _containers(objects: Objects) -> dict[str, dict[str, Any]]:
    return {container["name"]: container for container in _pod(objects)["containers"]}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
    else:
        yield str(value)


def _yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def _bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([mg])i?b?", quantity.lower()).groups()
    return int(number) << {"m": 20, "g": 30}[unit]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_lint_finds_nothing(helm: Helm, options: str) -> None:
    done = helm("lint", "--strict", str(CHART), "--set", f"{TAG},{options}")
    assert done.returncode == 0, done.stdout
    assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout


def test_the_schemas_of_kubernetes_hold(rendered: Objects) -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    operators = {"PodMonitor", "PrometheusRule"}  # no part of Kubernetes
    oldest = _yaml("helm/medseg/Chart.yaml")["kubeVersion"].removeprefix(">=").removesuffix("-0")
    for version in (oldest, schemas.latest_version()):
        for kind in rendered.keys() - operators:
            schemas.validate(rendered[kind], version, strict=True)


def test_objects_find_each_other(rendered: Objects) -> None:
    name = rendered["Deployment"]["metadata"]["name"]
    labels = rendered["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
        assert kind not in rendered or rendered[kind]["spec"]["selector"]["matchLabels"] == labels
    assert rendered["Service"]["spec"]["selector"] == labels
    ports = {port["name"] for container in _containers(rendered).values() for port in container["ports"]}
    asked = {port["targetPort"] for port in rendered["Service"]["spec"]["ports"]}
    if "PodMonitor" in rendered:
        asked |= {endpoint["port"] for endpoint in rendered["PodMonitor"]["spec"]["podMetricsEndpoints"]}
    assert asked <= ports
    if "HorizontalPodAutoscaler" in rendered:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        assert rendered["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"] == target
    assert ("replicas" in rendered["Deployment"]["spec"]) == ("HorizontalPodAutoscaler" not in rendered)


def test_every_volume_is_mounted_and_every_mount_has_its_volume(rendered: Objects) -> None:
    volumes = {volume["name"]: volume for volume in _pod(rendered)["volumes"]}
    mounts = {mount["name"] for container in _containers(rendered).values() for mount in container["volumeMounts"]}
    assert mounts == volumes.keys()
    assert volumes["models"]["persistentVolumeClaim"] == {"claimName": "medseg-models", "readOnly": True}
    if "front" in volumes:
        assert volumes["front"]["configMap"]["name"] == rendered["ConfigMap"]["metadata"]["name"]
        assert rendered["ConfigMap"]["data"] == {"front.conf.template": (DEPLOY / "front.conf.template").read_text()}


def test_nothing_runs_as_root_or_writes_where_it_should_not(rendered: Objects) -> None:
    pod = _pod(rendered)
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] >= 1000
    assert not pod["automountServiceAccountToken"]
    for container in _containers(rendered).values():
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert container["readinessProbe"] and container["livenessProbe"]


def test_shared_memory_is_no_less_than_that_of_compose(rendered: Objects) -> None:
    (shm,) = (volume["emptyDir"] for volume in _pod(rendered)["volumes"] if volume["name"] == "shm")
    assert shm["medium"] == "Memory"
    assert _bytes(shm["sizeLimit"]) >= _bytes(_yaml("compose.yaml")["x-triton"]["shm_size"])
    limits = _containers(rendered)["triton"]["resources"]["limits"]
    assert _bytes(limits["memory"]) > _bytes(shm["sizeLimit"])


def test_a_stopped_server_has_the_time_it_asks_for(rendered: Objects) -> None:
    triton = _containers(rendered)["triton"]
    (exit_seconds,) = (int(text.split("=")[1]) for text in triton["args"] if text.startswith("--exit-timeout-secs"))
    sleep = int(triton["lifecycle"]["preStop"]["exec"]["command"][1])
    assert _pod(rendered)["terminationGracePeriodSeconds"] > exit_seconds + sleep


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("target=gpu", {"nvidia.com/gpu": 1}),
        ("target=gpu,gpu.count=2", {"nvidia.com/gpu": 2}),
        (OPTIONS["slice"], {"nvidia.com/mig-1g.10gb": 1}),
        ("target=cpu,gpu.runtimeClass=nvidia", {}),
    ],
)
def test_the_target_decides_whether_a_gpu_is_asked_for(helm: Helm, options: str, wanted: dict[str, int]) -> None:
    objects = _render(helm, options)
    limits = _containers(objects)["triton"]["resources"]["limits"]
    assert {name: count for name, count in limits.items() if name.startswith("nvidia.com/")} == wanted
    assert ("nvidia" in options and "target=cpu" not in options) == ("runtimeClassName" in _pod(objects))


def test_triton_is_started_as_in_the_image(helm: Helm) -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    image = ast.literal_eval(text[text.index('CMD ["python3", "-m"') + 4 :].replace("\\\n", ""))
    behind_front = [argument.replace("--grpc-address=0.0.0.0", "--grpc-address=127.0.0.1") for argument in image]
    assert _containers(_render(helm))["triton"]["args"] == behind_front


def test_every_option_of_the_server_exists(rendered: Objects) -> None:
    pytest.importorskip("pytriton")
    from tests.deploy.options import server_options

    options = {text.split("=")[0] for text in _containers(rendered)["triton"]["args"] if text.startswith("--")}
    assert options <= server_options()


def test_without_the_front_grpc_is_reached_and_with_it_nothing_else_is(helm: Helm) -> None:
    bare, fronted = _render(helm, OPTIONS["open"]), _render(helm)
    assert {port["name"] for port in bare["Service"]["spec"]["ports"]} == {"grpc"}
    assert "--grpc-address=0.0.0.0" in _containers(bare)["triton"]["args"]
    assert "medseg-front" not in set(_texts(bare)) and "ConfigMap" not in bare
    assert {port["name"] for port in fronted["Service"]["spec"]["ports"]} == {"grpcs"}
    assert [port["name"] for port in _containers(fronted)["triton"]["ports"]] == ["metrics"]


def test_scaling_follows_the_queue_time_that_is_recorded_and_offered(helm: Helm) -> None:
    objects = _render(helm, OPTIONS["scaled"])
    (metric,) = objects["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "0.5"}
    rules = _yaml("rules.yml")
    assert name in {rule.get("record") for group in rules["groups"] for rule in group["rules"]}
    (offered,) = _yaml("helm/adapter.yaml")["rules"]["custom"]
    assert offered["seriesQuery"].startswith(name + "{")
    assert set(offered["resources"]["overrides"]) == {"namespace", "pod"}
    assert objects["PrometheusRule"]["spec"] == rules


def test_the_operator_scrapes_under_the_name_that_rules_and_dashboard_know(helm: Helm) -> None:
    objects = _render(helm, OPTIONS["scaled"])
    (job,) = (scrape["job_name"] for scrape in _yaml("prometheus.yml")["scrape_configs"])
    monitor = objects["PodMonitor"]
    pod = objects["Deployment"]["spec"]["template"]["metadata"]
    assert pod["labels"][monitor["spec"]["jobLabel"]] == job
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert not any(name.startswith("prometheus.io/") for name in pod["annotations"])
    assert "PrometheusRule" not in _render(helm, OPTIONS["second"])


def test_a_packed_chart_renders_the_same_far_from_its_checkout(helm: Helm, tmp_path: Path) -> None:
    done = helm("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (packed,) = tmp_path.glob("medseg-*.tgz")
    assert _render(helm, OPTIONS["scaled"], packed) == _render(helm, OPTIONS["scaled"])


def test_every_value_has_a_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = _yaml("helm/medseg/values.yaml")
    assert schema["properties"].keys() - values.keys() == {"global"}  # which Helm itself adds
    for name, value in values.items():
        inner = schema["properties"][name].get("properties")
        assert inner is None or inner.keys() == value.keys()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("image.tag=", "image.tag is needed"),
        ("target=tpu", "'/target': value must be one of 'gpu', 'cpu'"),
        ("shm=2", "'/shm'"),
        ("replicas=0", "'/replicas'"),
        ("gpu.count=0", "'/gpu/count'"),
        ("autoscaling.enabeld=true", "'enabeld' not allowed"),
        ("autoscaling.queueSeconds=0", "'/autoscaling/queueSeconds'"),
        ("front.enabled=false", "'/front/openToTheCluster'"),
        ("service.type=LoadBalancer,front.enabled=false,front.openToTheCluster=true", "neither encrypted nor checked"),
    ],
)
def test_a_bad_value_is_refused_by_name(helm: Helm, options: str, complaint: str) -> None:
    done = helm("template", "one", str(CHART), "--set", f"{TAG},{options}")
    assert done.returncode != 0 and not done.stdout
    assert complaint in done.stderr


def test_a_month_that_yaml_reads_as_a_number_is_refused(helm: Helm, tmp_path: Path) -> None:
    """25.10 without quotes would become 25.1, another month's image."""
    (tmp_path / "values.yaml").write_text("image: {tag: 25.10}\n")
    done = helm("template", "one", str(CHART), "--values", str(tmp_path / "values.yaml"))
    assert done.returncode != 0 and "'/image/tag': got number, want string" in done.stderr
