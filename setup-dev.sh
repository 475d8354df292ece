#!/bin/sh
# Make .venv and install Air-Executor and all it needs for development into it.
set -eu
cd "$(dirname "$0")"
make --no-print-directory setup
echo "Ready. ./start-dev.sh starts the manager, ./status.sh shows what it does, make demo shows it under Airflow."
