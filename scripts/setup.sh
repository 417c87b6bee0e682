#!/bin/sh
# Makes a virtual environment with the project and a dependency group: uv when it is there, else venv and pip.
# Usage: setup.sh VENV GROUP
set -eu
venv=$1
group=$2
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Freehold needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1). Set PYTHON=... to another." >&2
    exit 1
}
if command -v uv >/dev/null 2>&1; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv"
    uv pip install --quiet --python "$venv/bin/python" --editable '.[embedded]' --group "$group"
else
    [ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
    # Dependency groups need pip 25.1.
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'pip>=25.1'
    "$venv/bin/pip" install --quiet --disable-pip-version-check --editable '.[embedded]' --group "$group"
fi
