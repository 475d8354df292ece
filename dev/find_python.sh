#!/bin/sh
# Print the best Python found that really works: 3.10 to 3.13, able to make a virtual environment.
# usage: dev/find_python.sh [VERSION...]     for example: dev/find_python.sh 3.10 3.11
# A name on PATH may be a shim that only says which versions exist, so each candidate is run.
set -u
[ $# -gt 0 ] || set -- 3.12 3.13 3.11 3.10

works() {
    "$1" - "$2" >/dev/null 2>&1 <<'PROBE'
import sys
import ensurepip, sqlite3, ssl, venv  # what a Debian without python3-venv, or a hasty build, lacks
wanted = sys.argv[1]
assert (3, 10) <= sys.version_info[:2] <= (3, 13)
assert not wanted or "%d.%d" % sys.version_info[:2] == wanted
PROBE
}

for version in "$@"; do
    for candidate in "python$version" python3 python /usr/bin/python3 \
        "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/"$version"*/bin/python3 /usr/local/bin/python"$version" /opt/python*/bin/python"$version"; do
        if works "$candidate" "$version"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            exit 0
        fi
    done
done
echo "No working Python of the versions $* was found." >&2
echo "Install one with its venv module, for example: sudo apt-get install python3 python3-venv" >&2
exit 1
