#!/usr/bin/env bash
# S3-compatible store with correct conditional PUT (If-None-Match / If-Match). usage: s3.sh start|stop|status ; loopback only; idempotent
# env: S3_KIND=versitygw (default; Go module proxy, persistent files) | moto (PyPI, in-memory, fast install)
#      COMPONENT_CACHE, S3_STATE (/tmp/s3-dev), S3_PORT (19000), S3_KEY=test, S3_SECRET=testtest, S3_BUCKETS="lake checkpoints"
set -euo pipefail
CACHE=${COMPONENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/floe-ci/components}; STATE=${S3_STATE:-/tmp/s3-dev}; PORT=${S3_PORT:-19000}
KIND=${S3_KIND:-versitygw}; KEY=${S3_KEY:-test}; SECRET=${S3_SECRET:-testtest}; BUCKETS=${S3_BUCKETS:-lake checkpoints}
VGW=${VERSITYGW_VERSION:-v1.8.0}; MOTO=${MOTO_VERSION:-5.2.5}
alive() { [ -s "$STATE/pid" ] && kill -0 "$(cat "$STATE/pid")" 2>/dev/null; }
up() { curl -s -o /dev/null --max-time 2 "http://127.0.0.1:$PORT/"; }
mkbuckets() { for b in $BUCKETS; do curl -s -o /dev/null --aws-sigv4 "aws:amz:us-east-1:s3" --user "$KEY:$SECRET" -H 'x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' -X PUT "http://127.0.0.1:$PORT/$b" || true; done; }
users() { mkdir -p "$STATE/iam"; for n in $(seq -w 0 63); do printf '"vended-%s":{"access":"vended-%s","secret":"vended-secret","role":"admin","userID":0,"groupID":0,"projectID":0}\n' "$n" "$n"; done | paste -sd, | sed 's/.*/{"accessAccounts":{&}}/' > "$STATE/iam/users.json"; }
say() { echo "s3 ready endpoint=http://127.0.0.1:$PORT kind=$KIND key=$KEY secret=$SECRET region=us-east-1 path-style pid=$(cat "$STATE/pid")"; }
start() {
  if alive && up; then mkbuckets; say; return; fi
  mkdir -p "$STATE" "$CACHE"
  case $KIND in
    versitygw) [ -x "$CACHE/versitygw-$VGW/versitygw" ] || { mkdir -p "$CACHE/versitygw-$VGW"; GOBIN="$CACHE/versitygw-$VGW" go install "github.com/versity/versitygw/cmd/versitygw@$VGW" >&2; }
      users # keys that a catalog vends in tests
      mkdir -p "$STATE/data" # needs a filesystem with user xattrs (ext4, xfs, overlay ok; else add --sidecar DIR); never --nometa: it drops ETags and with them conditional PUT
      ROOT_ACCESS_KEY=$KEY ROOT_SECRET_KEY=$SECRET setsid nohup "$CACHE/versitygw-$VGW/versitygw" --port "127.0.0.1:$PORT" --iam-dir "$STATE/iam" posix "$STATE/data" > "$STATE/s3.log" 2>&1 < /dev/null & ;;
    moto) [ -x "$CACHE/moto-$MOTO/bin/moto_server" ] || { python3 -m venv "$CACHE/moto-$MOTO" && "$CACHE/moto-$MOTO/bin/pip" -q install "moto[server,s3]==$MOTO" >&2; }
      setsid nohup "$CACHE/moto-$MOTO/bin/moto_server" -H 127.0.0.1 -p "$PORT" > "$STATE/s3.log" 2>&1 < /dev/null & ;;
    *) echo "unknown S3_KIND" >&2; exit 2;; esac
  echo $! > "$STATE/pid"
  for _ in $(seq 1 200); do up && { mkbuckets; say; return; }; alive || { tail -20 "$STATE/s3.log" >&2; return 1; }; sleep 0.1; done
  echo "not ready" >&2; return 1
}
stop() { if alive; then kill "$(cat "$STATE/pid")"; for _ in $(seq 1 50); do alive || break; sleep 0.1; done; fi; rm -f "$STATE/pid"; echo stopped; }
case "${1:-start}" in start) start;; stop) stop;; status) alive && up && echo up || { echo down; exit 1; };; *) exit 2;; esac
