#!/bin/sh
# A Ray head on this machine with token authentication and the dashboard, as a cluster would have it;
# runs until Ctrl-C, which stops it and nothing else. Arguments go to `ray start`.
#
#     cluster/local_cluster.sh --dashboard-port 8265
#
# The token is read from RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token by default, and made if it is not there.
set -eu
cd "$(dirname "$0")/.."

dashboard_port=8265
next_is_port=
for word in "$@"; do
    if [ -n "$next_is_port" ]; then dashboard_port=$word; fi
    next_is_port=
    case $word in
    --dashboard-port) next_is_port=1 ;;
    --dashboard-port=*) dashboard_port=${word#*=} ;;
    esac
done

export PATH="$(pwd)/.venv/bin:$PATH" # so that a job's `python` is the one with the libraries
export RAY_AUTH_MODE=token
# a busy machine takes its time; Ray's own patience with its dashboard and agents is a minute and half of one
export RAY_DASHBOARD_STARTUP_TIMEOUT_S=180 RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT=120
export RAY_agent_register_timeout_ms=120000
export RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
    mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")"
    (umask 077 && python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH")
fi

cat <<END
Ray starts with token authentication. Submit a job from another shell, in this folder:

    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$RAY_AUTH_TOKEN_PATH
    .venv/bin/ray job submit --address http://127.0.0.1:$dashboard_port \\
        --runtime-env cluster/runtime_env.yaml \\
        -- python -m jobs.build_catalog --workspace $(pwd)/workspace

The dashboard at http://127.0.0.1:$dashboard_port asks for the token in that file. Ctrl-C stops the cluster.
END
exec ray start --head --block --disable-usage-stats --node-ip-address 127.0.0.1 \
    --include-dashboard true --dashboard-host 127.0.0.1 "$@"
