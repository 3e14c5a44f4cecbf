#!/usr/bin/env bash
# Compilers of the guests that are not in Rust, pinned, each in a folder of its own.
# usage: guest-toolchains.sh zig   ziglang of PyPI (C, C++ and Zig); prints the program, to be called with zig's arguments
#        guest-toolchains.sh asc   AssemblyScript of npm; prints the program
#        guest-toolchains.sh esbuild   of npm; prints the program
#        guest-toolchains.sh quickjs   the sources of quickjs-ng, as the crate rquickjs-sys has them; prints the folder
# env:   FLOE_CI_CACHE      cache dir   (default ${XDG_CACHE_HOME:-~/.cache}/floe-ci)
#        PYTHON             interpreter (default python3)
set -euo pipefail
CACHE=${FLOE_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/floe-ci}
ZIG=0.15.2 ASC=0.28.20 ESBUILD=0.25.12 QUICKJS=0.14.0

once() { # DIR COMMAND...   runs it if it has not succeeded before, one at a time
  local dir=$1; shift
  [ -e "$dir/.ok" ] && return
  mkdir -p "$dir"
  exec 9> "$dir.lock"; flock 9
  [ -e "$dir/.ok" ] || { "$@" "$dir" >&2 && touch "$dir/.ok"; }
}
install_zig() {
  "${PYTHON:-python3}" -m venv --clear "$1"
  "$1/bin/python" -m pip -q --disable-pip-version-check install "ziglang==$ZIG"
  printf '#!/bin/sh\nexec "%s/bin/python" -m ziglang "$@"\n' "$1" > "$1/bin/zig"
  chmod +x "$1/bin/zig"
}
install_asc() {
  npm install --silent --no-audit --no-fund --prefix "$1" "assemblyscript@$ASC"
}
install_esbuild() {
  npm install --silent --no-audit --no-fund --prefix "$1" "esbuild@$ESBUILD"
}
install_quickjs() {
  # A package that needs the crate, so that cargo fetches it and says where it is.
  rm -rf "$1/quickjs" "$1/fetch" && mkdir -p "$1/fetch/src" && touch "$1/fetch/src/lib.rs"
  printf '[package]\nname = "fetch"\nedition = "2021"\n[dependencies]\nrquickjs-sys = "=%s"\n[workspace]\n' "$QUICKJS" > "$1/fetch/Cargo.toml"
  local manifest
  manifest=$(cargo metadata --quiet --format-version 1 --manifest-path "$1/fetch/Cargo.toml" \
    | python3 -c 'import json, sys; print(*(it["manifest_path"] for it in json.load(sys.stdin)["packages"] if it["name"] == "rquickjs-sys"))')
  cp -r "$(dirname "$manifest")/quickjs" "$1/quickjs"
}
case "${1:-}" in
  zig) once "$CACHE/zig-$ZIG-1" install_zig; echo "$CACHE/zig-$ZIG-1/bin/zig";;
  asc) once "$CACHE/asc-$ASC" install_asc; echo "$CACHE/asc-$ASC/node_modules/.bin/asc";;
  esbuild) once "$CACHE/esbuild-$ESBUILD" install_esbuild; echo "$CACHE/esbuild-$ESBUILD/node_modules/.bin/esbuild";;
  quickjs) once "$CACHE/quickjs-$QUICKJS" install_quickjs; echo "$CACHE/quickjs-$QUICKJS/quickjs";;
  *) sed -n 2,8p "$0" >&2; exit 2;;
esac
