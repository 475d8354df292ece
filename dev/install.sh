#!/bin/sh
# Install this checkout, editable, with its extras into a virtual environment, at the tested versions.
# usage: dev/install.sh VENV CONSTRAINTS EXTRAS     for example: dev/install.sh .venv constraints.txt airflow,dev
# uv installs several times faster than pip; where it cannot be had or fails, pip does the same work.
set -eu
venv=$1 constraints=$2 extras=$3
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1

pip_install() { "$venv/bin/python" -m pip install --quiet --no-input "$@"; }

echo "Installing air-executor[$extras] into $venv (the first time takes a minute or two) ..."
if [ "${USE_UV:-1}" = 1 ] && { [ -x "$venv/bin/uv" ] || pip_install uv 2>/dev/null; } \
    && VIRTUAL_ENV="$PWD/$venv" UV_NO_PROGRESS=1 UV_LINK_MODE=copy "$venv/bin/uv" --quiet pip install --no-config \
        -c "$constraints" -e ".[$extras]"; then
    exit 0
fi
[ "${USE_UV:-1}" != 1 ] || echo "uv is not usable here; pip does it."
pip_install -c "$constraints" -e ".[$extras]"
