#!/bin/bash
# Make the virtual environment of each published method from its file here; environments that exist stay as they are.
#
#     make.sh FOLDER [METHOD...]
#
# PYTHON names the interpreter, python3.11 if not set: the files are pinned for it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if [ $# -eq 0 ]; then
    echo "usage: make.sh FOLDER [METHOD...]" >&2
    exit 2
fi
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
if [ $# -eq 0 ]; then
    set -- $(cd "$here" && ls ./*.txt | xargs -n 1 basename -s .txt)
fi

for method; do
    environment=$folder/$method
    if [ -x "$environment/bin/python" ]; then
        echo "$method exists"
        continue
    fi
    # made under another name and moved when complete; python -m pip, because the scripts in bin keep the first path
    partial=$folder/.$method
    rm -rf "$partial"
    "${PYTHON:-python3.11}" -m venv "$partial"
    "$partial/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/$method.txt"
    if [ "$method" = rctd ]; then
        echo "rctd: its likelihood tables take minutes"
        "$partial/bin/python" "$here/rctd_tables.py" "$partial/q_matrices.npz"
    fi
    mv "$partial" "$environment"
    echo "$method is made"
done
