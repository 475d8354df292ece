#!/bin/sh
# Start the manager in the background, on .air-executor in this directory unless told otherwise.
# usage: ./start-dev.sh [--base-path DIR] [--slots N] ...     (options of `air-executor manager start`)
set -eu
cd "$(dirname "$0")"
program=.venv/bin/air-executor
[ -x "$program" ] || program=$(command -v air-executor) || { echo "Run ./setup-dev.sh first." >&2; exit 1; }
"$program" manager start "$@"
echo "Jobs now run. See them: ./status.sh    Stop: $program manager stop"
