"""Deploys the service from its Serve config file; needs Ray running.

>>> deploy(ServeConfig(), workspace, model_folder, "3", index_folder)        # doctest: +SKIP
'http://127.0.0.1:8000'
"""

import socket
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from facap.config import read_yaml
from facap.errors import ConfigError, ResourceError, StageFailed
from facap.index.build import read_metadata, require_model
from facap.model.checkpoints import weights_hash
from serve_app.config import ServeArgs, ServeConfig

if TYPE_CHECKING:
    from ray.serve.schema import ServeDeploySchema

APPLICATION = "facap"
CONFIG_FILE = Path(__file__).resolve().parents[1] / "cluster" / "serve.yaml"
POLL_S = 0.2


def deploy(
    config: ServeConfig, workspace: str, model_folder: str, model_version: str, index_folder: str
) -> str:
    """Deploys, waits until every replica is ready, and returns the address of the search page.

    Raises ContractError if the index was made by another model, ResourceError if the port is taken,
    StageFailed if the application does not come up.
    """
    from ray.serve.context import _get_global_client

    deadline = time.monotonic() + config.ready_timeout_s
    require_model(read_metadata(index_folder), model_version, weights_hash(model_folder))
    schema = fill_in(config, workspace, model_folder, model_version, index_folder)
    if not _serving(config):
        check_port(config.host, config.port)
        _start(schema, deadline)
    client = _get_global_client()  # what `serve run` uses; a config deploy keeps unchanged replicas
    assert client is not None
    client.deploy_apps(schema, _blocking=False)
    _wait_for_replicas(config, deadline)
    _wait_for_http(config, deadline)
    return url(config)


def url(config: ServeConfig) -> str:
    """The address of the search page on this machine."""
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host
    return f"http://{host}:{config.port}"


def fill_in(
    config: ServeConfig, workspace: str, model_folder: str, model_version: str, index_folder: str
) -> "ServeDeploySchema":
    """The Serve config file with the paths of a run, checked."""
    from pydantic import ValidationError
    from ray.serve.schema import ServeDeploySchema

    path = config.config_file or str(CONFIG_FILE)
    content = read_yaml(path)
    content["http_options"] = {
        **(content.get("http_options") or {}),
        "host": config.host,
        "port": config.port,
    }
    run = {
        "workspace": workspace,
        "model_folder": model_folder,
        "model_version": model_version,
        "index_folder": index_folder,
    }
    try:
        schema = ServeDeploySchema.model_validate(content)
        for application in schema.applications:
            if application.name == APPLICATION:
                application.args = {**application.args, **run}
                ServeArgs.model_validate(application.args)
                return schema
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: '{key}': {first['msg'].lower()}") from error
    raise ConfigError(f"{path} should have an application named '{APPLICATION}', has none")


def check_port(host: str, port: int) -> None:
    """Raises ResourceError if something else listens on `port`."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ResourceError(
                f"port {port} of {host} cannot be listened on ({error.strerror}); stop what uses it, or "
                "choose another with --serve.port"
            ) from error


def _serving(config: ServeConfig) -> bool:
    """Whether this Ray serves on the wanted port already; ResourceError if it does on another one."""
    from ray.serve.context import _get_global_client

    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return False
    port = client.http_config.port
    if port != config.port:
        raise ResourceError(
            f"this Ray serves on port {port} already and can serve on one only; set serve.port to {port}"
        )
    return True


def _start(schema: "ServeDeploySchema", deadline: float) -> None:
    """Starts Serve's controller and HTTP proxy.

    A proxy that a busy machine starts too slowly is replaced by Serve, but reported as an error:
    asking again finds the controller running, and `_wait_for_http` waits for the replacement.
    """
    from ray import serve
    from ray.exceptions import RayActorError

    while True:
        try:
            return serve.start(
                proxy_location=schema.proxy_location,
                http_options=schema.http_options.model_dump(),
                logging_config=schema.logging_config,
                controller_options=schema.controller_options,
            )
        except (TimeoutError, RayActorError) as error:
            if time.monotonic() > deadline:
                raise StageFailed(f"serve: Ray Serve did not start: {error}") from error


def _wait_for_replicas(config: ServeConfig, deadline: float) -> None:
    from ray import serve

    while True:
        application = serve.status().applications.get(APPLICATION)
        status = application.status if application else "NOT_STARTED"
        message = application.message.strip() if application else ""
        if status == "RUNNING":
            return
        if status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise StageFailed(f"serve: the application did not come up: {message}")
        if time.monotonic() > deadline:
            raise StageFailed(
                f"serve: replicas not ready after {config.ready_timeout_s:.0f} s ({status}: {message}); look "
                "for free CPU cores in `ray status`, or raise serve.ready_timeout_s"
            )
        time.sleep(POLL_S)


def _wait_for_http(config: ServeConfig, deadline: float) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine, so no proxy
    while True:
        try:
            with opener.open(url(config) + "/healthz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError as error:  # HTTPError and time-outs are OSErrors
            if time.monotonic() > deadline:
                raise StageFailed(
                    f"serve: {url(config)} does not answer after {config.ready_timeout_s:.0f} s ({error}); "
                    "raise serve.ready_timeout_s on a slow machine"
                ) from error
        time.sleep(POLL_S)
