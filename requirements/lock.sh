#!/bin/sh
# stdin: `pip freeze --all` of a working environment; stdout: cpu.lock (see cpu.in for the command).
set -eu
cat <<'HEAD'
# Made by requirements/lock.sh from an environment that passed `make test`; cpu.in says how and why.
# Python 3.11 or 3.12, Linux x86_64. Install with --no-deps, as requirements/install.sh does.
HEAD
# left out: pip itself, facap, local paths, what cpu.in keeps out, and what is installed for trials only
OUT='pip|wheel|facap|torchvision|torchaudio|torchcodec|scikit-learn|scipy|skops|joblib|threadpoolctl'
grep -E '^[A-Za-z0-9._-]+==' | grep -viE "^($OUT|skia-python|pybind11|defusedxml)==" |
    sort -f
