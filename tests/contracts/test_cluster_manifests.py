"""cluster/: manifests against KubeRay's own schemas, and against what this repository really contains.

Kubernetes drops fields it does not know, so the schemas are made strict first: a typo must fail here.
"""

import copy
import importlib
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
MANIFESTS = {
    "raycluster.yaml": "rayclusters",
    "rayjob.yaml": "rayjobs",
    "rayservice.yaml": "rayservices",
}


def load(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text())


def strict(schema: Any) -> Any:
    """A custom resource's OpenAPI v3 schema as JSON schema in which unknown fields are errors."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    is_object = isinstance(schema.get("properties"), dict) and isinstance(schema.get("type"), str)
    kept = {
        k: v for k, v in schema.items() if not k.startswith("x-") and not (is_object and k == "properties")
    }
    out = {key: strict(value) for key, value in kept.items()}
    if is_object:
        out["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            out.setdefault("additionalProperties", False)
    if schema.get("nullable") and "type" in schema:
        out["type"] = [schema["type"], "null"]
        out.pop("nullable")
    return out


@pytest.fixture(scope="module")
def schemas(shared_dir: Path) -> dict[str, dict]:
    """kind in plural -> strict JSON schema of its stored version."""
    found = {}
    for plural in MANIFESTS.values():
        text = (shared_dir / "kuberay-crds" / f"ray.io_{plural}.yaml").read_text()
        definition = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        (version,) = [v for v in definition["spec"]["versions"] if v["storage"]]
        schema = strict(version["schema"]["openAPIV3Schema"])
        group = f"{definition['spec']['group']}/{version['name']}"
        schema["properties"]["apiVersion"] = {"const": group}
        schema["properties"]["kind"] = {"const": definition["spec"]["names"]["kind"]}
        schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
        found[plural] = schema
    return found


def errors(manifest: Any, schema: dict) -> list[str]:
    found = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
    return [f"{'.'.join(str(p) for p in e.absolute_path)}: {e.message[:200]}" for e in found]


@pytest.mark.parametrize(("file", "plural"), MANIFESTS.items())
def test_manifests_are_what_kuberay_accepts(file: str, plural: str, schemas: dict[str, dict]):
    assert errors(load(file), schemas[plural]) == []


def _typo_in_group(manifest: dict) -> None:
    manifest["spec"]["workerGroupSpecs"][0]["minReplica"] = 1


def _typo_in_container(manifest: dict) -> None:
    manifest["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagePullPolcy"] = "Always"


def _number_where_text_is_wanted(manifest: dict) -> None:
    manifest["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def _unknown_mode(manifest: dict) -> None:
    manifest["spec"]["authOptions"]["mode"] = "tokens"


def _no_head(manifest: dict) -> None:
    del manifest["spec"]["headGroupSpec"]


def _old_api(manifest: dict) -> None:
    manifest["apiVersion"] = "ray.io/v1alpha1"


@pytest.mark.parametrize(
    "mistake",
    [
        _typo_in_group,
        _typo_in_container,
        _number_where_text_is_wanted,
        _unknown_mode,
        _no_head,
        _old_api,
    ],
)
def test_a_mistake_in_a_manifest_is_found(mistake: Any, schemas: dict[str, dict]):
    manifest = copy.deepcopy(load("raycluster.yaml"))
    mistake(manifest)
    assert errors(manifest, schemas["rayclusters"])


def cluster_specs() -> list[dict]:
    return [
        load("raycluster.yaml")["spec"],
        load("rayjob.yaml")["spec"]["rayClusterSpec"],
        load("rayservice.yaml")["spec"]["rayClusterConfig"],
    ]


@pytest.mark.parametrize("spec", cluster_specs(), ids=list(MANIFESTS))
def test_clusters_want_a_token_the_pinned_ray_and_volumes_that_exist(spec: dict):
    lock = (ROOT / "requirements" / "cpu.lock").read_text()
    assert f"ray=={spec['rayVersion']}\n" in lock
    assert spec["authOptions"] == {"mode": "token"}
    claim = load("workspace.yaml")["metadata"]["name"]
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["workspace"]["persistentVolumeClaim"]["claimName"] == claim
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
            image = re.fullmatch(r"facap-(cpu|gpu):(.+)", container["image"])
            assert image
            assert (CLUSTER / f"Dockerfile.{image[1]}").exists()
            assert image[2] == importlib.import_module("facap").__version__


def test_the_job_of_the_rayjob_exists():
    words = load("rayjob.yaml")["spec"]["entrypoint"].split()
    assert words[:2] == ["python", "-m"]
    assert (ROOT / Path(*words[2].split(".")).with_suffix(".py")).exists()


def test_the_rayservice_serves_what_serve_yaml_serves():
    """Only addresses, paths and numbers of replicas may differ."""
    ours, theirs = load("serve.yaml"), yaml.safe_load(load("rayservice.yaml")["spec"]["serveConfigV2"])
    free = {"workspace", "model_folder", "model_version", "index_folder"}
    for config in (ours, theirs):
        del config["http_options"]["host"]
        (application,) = config["applications"]
        for name in list(application["args"]):
            if name in free or name.endswith("_replicas"):
                del application["args"][name]
    assert theirs == ours


def test_the_serve_config_of_the_rayservice_is_one():
    from ray.serve.schema import ServeDeploySchema

    from serve_app.config import ServeArgs

    config = yaml.safe_load(load("rayservice.yaml")["spec"]["serveConfigV2"])
    application = ServeDeploySchema.model_validate(config).applications[0]
    args = ServeArgs.model_validate(application.args)
    assert args.workspace
    assert args.model_version
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_the_runtime_env_ships_the_three_packages_and_little_else():
    env = load("runtime_env.yaml")
    assert env["py_modules"] == ["platform/facap"]
    assert env["working_dir"] == "."
    assert all((ROOT / module / "__init__.py").exists() for module in env["py_modules"])
    assert {"/.venv", "/.git", "/workspace*", "/benchmarks", "/platform"} <= set(env["excludes"])
    assert not {"/jobs", "/serve_app", "/cluster"} & set(env["excludes"])
