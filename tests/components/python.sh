#!/usr/bin/env bash
# Python with the independent readers: pyiceberg, and DuckDB with its iceberg extension, pinned.
# usage: python.sh          makes the environment if there is none yet; prints the interpreter's path
#        python.sh lock     writes python-requirements.txt anew from python-requirements.in
# env:   FLOE_CI_CACHE      cache dir   (default ${XDG_CACHE_HOME:-~/.cache}/floe-ci)
#        PYTHON             interpreter (default python3; 3.10 or newer)
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${FLOE_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/floe-ci}
PINS=$HERE/python-requirements.txt

install() { # DIR REQUIREMENTS
  "${PYTHON:-python3}" -m venv --clear "$1" >&2
  "$1/bin/python" -m pip -q --disable-pip-version-check install -r "$2" >&2
}
venv() {
  # Other pins are another environment, so that nobody's is changed under his feet.
  local id dir; id=$(cat "$PINS" <("${PYTHON:-python3}" -V) | sha256sum | cut -c1-12); dir=$CACHE/python-$id
  if [ ! -e "$dir/.ok" ]; then
    mkdir -p "$CACHE"
    # One at a time: two tests may ask at once.
    exec 9> "$CACHE/python-$id.lock"; flock 9
    [ -e "$dir/.ok" ] || { install "$dir" "$PINS"; touch "$dir/.ok"; }
  fi
  echo "$dir/bin/python"
}
lock() {
  local dir; dir=$(mktemp -d); install "$dir" "$HERE/python-requirements.in"
  { echo "# Written by python.sh lock from python-requirements.in."
    "$dir/bin/python" -m pip --disable-pip-version-check freeze; } > "$PINS"
  rm -rf "$dir"
}
case "${1:-}" in '') venv;; lock) lock;; *) sed -n 2,6p "$0" >&2; exit 2;; esac
