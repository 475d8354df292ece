#!/bin/sh
# Show the manager, the jobs with their states and task counts, and the runners. Live: watch -n 2 ./status.sh
# usage: ./status.sh [--base-path DIR]
set -u
cd "$(dirname "$0")"
program=.venv/bin/air-executor
[ -x "$program" ] || program=$(command -v air-executor) || { echo "Run ./setup-dev.sh first." >&2; exit 1; }
"$program" status "$@" || exit
echo
"$program" manager status "$@" 2>/dev/null || echo "no runners that a manager knows of; ./start-dev.sh starts a manager"
