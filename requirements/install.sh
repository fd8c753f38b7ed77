#!/bin/sh
# Makes .venv with what cpu.lock pins and facap itself; does nothing if that has been done already.
# Says in one sentence, and ends with 1, what is missing. PYTHON=... chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

LOCK=requirements/cpu.lock
VENV=.venv
STAMP=$VENV/.facap-installed
NEEDED_GB=8 # 4.4 for the environment, the rest for wheels in transit and a workspace
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

fail() {
    echo "facap: $*" >&2
    exit 1
}

find_python() {
    for name in ${PYTHON:-python3.11 python3.12 python3 python}; do
        if "$name" -c 'import ensurepip, venv, sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
            2>/dev/null; then
            echo "$name"
            return
        fi
    done
    fail "Python 3.11 or 3.12 with its venv module is needed, ${PYTHON:-python3.11, python3.12 or python3} is not" \
        "that or not here; install it (Debian: apt-get install python3.11-venv) or set PYTHON=/path/to/python3.11"
}

have_compiler() {
    for name in g++ c++ clang++; do
        if command -v "$name" >/dev/null 2>&1; then return; fi
    done
    fail "a C++ compiler is needed (torch compiles kernels with it), none of g++, c++ and clang++ is here;" \
        "install one (Debian: apt-get install g++)"
}

have_disk() {
    free_gb=$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')
    [ "$free_gb" -ge "$NEEDED_GB" ] ||
        fail "$NEEDED_GB GB of free disk are needed in $(pwd), $free_gb are left; make room and run again"
}

pip_install() {
    "$VENV/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-deps --no-compile "$@"
}

install_torch() {
    torch=$(grep '^torch==' "$LOCK")
    pip_install "$torch" 2>/dev/null ||
        pip_install --extra-index-url "$TORCH_CPU_INDEX" "$torch" ||
        fail "$torch could not be installed, neither from pip's indexes nor from PyTorch's own; is there a network?"
}

# All of the lock but torch, by uv, which takes a fifth of pip's time; by pip if uv does not get through: package
# indexes have bad moments, and uv does not read pip's settings.
install_others() {
    others=$VENV/others.lock
    grep -v -e '^torch==' -e '^#' "$LOCK" >"$others"
    pip_install "$(grep '^uv==' "$LOCK")" &&
        UV_HTTP_TIMEOUT=180 "$VENV/bin/uv" pip install --quiet --no-deps --python "$VENV/bin/python" -r "$others" ||
        {
            echo "facap: trying once more, with pip"
            sleep 5
            pip_install -r "$others"
        } || fail "$LOCK could not be installed; pip's message above says why"
}

wanted=$(cat "$LOCK" pyproject.toml requirements/install.sh | cksum)
if [ -x "$VENV/bin/python" ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$wanted" ]; then
    exit 0
fi

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
    fail "$LOCK is for Linux on x86_64, this is $(uname -s) on $(uname -m); use a container or a Linux machine"
python=$(find_python)
have_compiler
[ -x "$VENV/bin/python" ] || have_disk

echo "facap: installing into $VENV with $python, about two minutes"
[ -x "$VENV/bin/python" ] || "$python" -m venv "$VENV"
(install_torch) &
first=$!
(install_others) || { wait "$first" || true; exit 1; }
wait "$first" || exit 1
pip_install --no-build-isolation -e . || fail "facap itself could not be installed; pip's message above says why"
# Every process would compile what it imports, where the environment keeps Python from writing it down.
# Not what nothing here imports, two fifths of all; and some files are for other Pythons.
UNUSED='/(tests?|anthropic|databricks|numba|physics|pip|rllib)/|/(transformers|vllm)/models/(?!auto|bert|blip|llama|opt)'
"$VENV/bin/python" -m compileall -q -j 0 -x "$UNUSED" "$VENV/lib" >/dev/null 2>&1 || true
echo "$wanted" >"$STAMP"
echo "facap: installed"
