"""The environment variables that a job's processes get from facap, said here and nowhere else.

What is named already, in the shell, in a pod's `env` or in the runtime environment of `ray job submit`, stays
as it is. Ray refuses a job whose runtime environment and whose code name the same variable, so what goes to
Ray passes through `unnamed`.

>>> variables(hub=False)["HF_HUB_OFFLINE"]
'1'
"""

import json
import os
from collections.abc import Mapping

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",  # its threads do not survive a fork
}
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # in it `ray job submit` hands its runtime environment on


def variables(hub: bool) -> dict[str, str]:
    """What a job sets; `hub`: whether it loads a model of a hub, else none is asked for anything."""
    return QUIET if hub else QUIET | {"HF_HUB_OFFLINE": "1"}


def set_here(wanted: Mapping[str, str]) -> None:
    """Sets those of `wanted` that this process does not have; its children get them too."""
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def of_workers() -> dict[str, str]:
    """Those of them that are set here, for the job's workers on a cluster."""
    return unnamed({name: os.environ[name] for name in variables(hub=False) if name in os.environ})


def unnamed(wanted: Mapping[str, str]) -> dict[str, str]:
    """Those of `wanted` that the runtime environment of the submitted job does not name."""
    submitted = json.loads(os.environ.get(SUBMITTED) or "{}")
    named = (submitted.get("runtime_env") or {}).get("env_vars") or {}
    return {name: value for name, value in wanted.items() if name not in named}
