"""The environment variables that a job's processes get from facap, said here and nowhere else.

What is named already stays as it is: in the job's shell, in its pod's `env`, or in the runtime environment of
`ray job submit`. Ray refuses a job whose runtime environment and whose code name the same variable, so what
goes to Ray passes through `unnamed`.

>>> set_here()
>>> of_workers()["HF_HUB_DISABLE_TELEMETRY"]
'1'
"""

import json
import os
from collections.abc import Mapping

VARIABLES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",  # its threads do not survive a fork
}
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # in it `ray job submit` hands its runtime environment on


def set_here() -> None:
    """Sets those that this process does not have; its children get them too."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


def of_workers() -> dict[str, str]:
    """Those of them as they are set here, for the job's workers on a cluster."""
    return unnamed({name: os.environ[name] for name in VARIABLES if name in os.environ})


def unnamed(wanted: Mapping[str, str]) -> dict[str, str]:
    """Those of `wanted` that the runtime environment of the submitted job does not name."""
    submitted = json.loads(os.environ.get(SUBMITTED) or "{}")
    named = (submitted.get("runtime_env") or {}).get("env_vars") or {}
    return {name: value for name, value in wanted.items() if name not in named}
