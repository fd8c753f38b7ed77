"""Deploys the champion and its index on Ray Serve, tries a query, and keeps serving until Ctrl-C."""

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from facap.errors import ResourceError
from facap.progress import Progress, StageReport
from facap.quoting import without_secrets
from facap.store import Store
from jobs.build_index import model_to_serve
from jobs.job_runner import run_jobs
from jobs.job_settings import Settings

MLFLOW_READY_S = 60.0


def serve_search(store: Store, settings: Settings, progress: Progress) -> StageReport:
    """Deploys and runs the sample query; the service lives as long as this job's Ray."""
    from serve_app.deploy import deploy

    started = time.monotonic()
    champion = model_to_serve(store, settings, progress)
    progress.say(f"deploying version {champion.version} of {settings.registry.name}")
    url = deploy(settings.serve, store.root, champion.path, champion.version, store.folder("index"))
    answer = sample_query(url, settings.serve.sample_text, settings.serve.sample_k)
    progress.say(f'sample query: {answer["reference_id"]} + "{settings.serve.sample_text}"')
    for rank, result in enumerate(answer["results"], 1):
        progress.say(f"  {rank}. {result['category']:<8} {result['image_id']}  score {result['score']:.3f}")
    served = int(store.require("index").extra["count"])
    return StageReport("serve", served, served, seconds=time.monotonic() - started, note=url)


def sample_query(url: str, text: str, k: int) -> dict:
    """Searches for the first picture of the catalogue, changed as `text` says; the API's answer."""
    catalog = _json(f"{url}/api/catalog?limit=1")
    reference_id = catalog["items"][0]["image_id"]
    body = json.dumps({"reference_id": reference_id, "text": text, "k": k}).encode()
    request = urllib.request.Request(
        f"{url}/api/search", data=body, headers={"Content-Type": "application/json"}
    )
    return {"reference_id": reference_id, **_json(request)}


def _json(request: urllib.request.Request | str) -> dict:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)


@contextlib.contextmanager
def mlflow_ui(store: Store, settings: Settings) -> Iterator[str]:
    """Address of the MLflow UI: the server's if one is configured, else one started until the block ends."""
    from facap.tracking import tracking_uri
    from serve_app.deploy import check_port

    if settings.mlflow_uri.startswith("http"):
        yield without_secrets(settings.mlflow_uri)
        return
    host, port = "127.0.0.1", settings.serve.mlflow_port
    try:
        check_port(host, port)
    except ResourceError as error:
        raise ResourceError(f"port {port} for the MLflow UI is taken; set --serve.mlflow_port") from error
    Path(store.path("logs")).mkdir(parents=True, exist_ok=True)
    command = ["-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    backend = ["--backend-store-uri", tracking_uri(store, settings.mlflow_uri)]
    with open(store.path("logs", "mlflow.log"), "a") as log:
        process = subprocess.Popen(
            [sys.executable, *command, *backend], stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield f"http://{host}:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def keep_serving(store: Store, settings: Settings, out: TextIO) -> None:
    """Prints where to look and waits for Ctrl-C or SIGTERM."""
    from serve_app.deploy import url

    with mlflow_ui(store, settings) as mlflow_url:
        print(f"search page  {url(settings.serve)}\nMLflow       {mlflow_url}\nCtrl-C ends both.", file=out)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def serve_alone(store: Store, settings: Settings, out: TextIO) -> None:
    """After the job's table: stay up, unless told not to."""
    if settings.serve_after:
        keep_serving(store, settings, out)


if __name__ == "__main__":
    sys.exit(run_jobs(__doc__, {"serve": serve_search}, afterwards=serve_alone))
