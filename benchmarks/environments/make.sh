#!/bin/bash
# Make the virtual environment of each peer of the accuracy benchmark from its file here; those there are left alone.
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
        echo "$method is there"
        continue
    fi
    # made beside its place and moved when whole; python -m pip, since the scripts in bin keep the first path
    partial=$folder/.$method
    rm -rf "$partial"
    "${PYTHON:-python3.11}" -m venv "$partial"
    "$partial/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/$method.txt"
    if [ "$method" = rctd ]; then
        echo "rctd: making its likelihood tables takes minutes"
        "$partial/bin/python" "$here/rctd_tables.py" "$partial/q_matrices.npz"
    fi
    mv "$partial" "$environment"
    echo "$method is made"
done
