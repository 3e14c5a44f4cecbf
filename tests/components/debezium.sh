#!/usr/bin/env bash
# Debezium's Postgres connector in Kafka Connect (standalone, without its REST server's default port), from Maven Central jars only.
# usage: debezium.sh start|stop|kill|status      (idempotent; loopback only)
# env:   COMPONENT_CACHE    cache dir for jars      (default ${XDG_CACHE_HOME:-~/.cache}/floe-ci/components)
#        DEBEZIUM_STATE     offsets/log/pid dir     (default /tmp/debezium-dev)
#        DEBEZIUM_PORT      port of Connect's REST  (default 18083)
#        DEBEZIUM_CONFIG    the connector's properties; FLOE_KAFKA, PG_PORT and PG_DB in ${…} are filled in
#        FLOE_KAFKA         the broker              (default 127.0.0.1:19092)
#        PG_PORT, PG_DB     the database            (default 15432, iceberg)
#        KAFKA_VERSION      default 4.3.0           DEBEZIUM_VERSION default 3.3.1.Final
set -euo pipefail
CACHE=${COMPONENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/floe-ci/components}
STATE=${DEBEZIUM_STATE:-/tmp/debezium-dev}
PORT=${DEBEZIUM_PORT:-18083}
export FLOE_KAFKA=${FLOE_KAFKA:-127.0.0.1:19092} PG_PORT=${PG_PORT:-15432} PG_DB=${PG_DB:-iceberg}
KAFKA=${KAFKA_VERSION:-4.3.0}; VER=${DEBEZIUM_VERSION:-3.3.1.Final}
HOME_DIR=$CACHE/debezium-$VER-$KAFKA; LIBS=$HOME_DIR/libs
alive() { [ -s "$STATE/pid" ] && kill -0 "$(cat "$STATE/pid")" 2>/dev/null; }
fetch() {
  [ -e "$HOME_DIR/.ok" ] && return 0
  mkdir -p "$HOME_DIR"; local d; d=$(mktemp -d)
  cat > "$d/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>dev</groupId><artifactId>debezium</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
 <dependency><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId><version>$KAFKA</version></dependency>
 <dependency><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId><version>$KAFKA</version></dependency>
 <dependency><groupId>io.debezium</groupId><artifactId>debezium-connector-postgres</artifactId><version>$VER</version></dependency>
 <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
POM
  mvn -B -q -f "$d/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DoutputDirectory="$LIBS" -DincludeScope=runtime >&2
  rm -rf "$d"; rm -f "$LIBS"/log4j-slf4j* "$LIBS"/slf4j-log4j* "$LIBS"/slf4j-reload4j*; touch "$HOME_DIR/.ok"
}
start() {
  if alive; then echo "debezium ready pid=$(cat "$STATE/pid")"; return 0; fi
  fetch; mkdir -p "$STATE"
  cat > "$STATE/worker.properties" <<P
bootstrap.servers=$FLOE_KAFKA
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter.schemas.enable=false
offset.storage.file.filename=$STATE/offsets
offset.flush.interval.ms=60000
listeners=http://127.0.0.1:$PORT
P
  local text; text=$(cat "${DEBEZIUM_CONFIG:?the properties file of the connector}")
  for name in FLOE_KAFKA PG_PORT PG_DB; do text=${text//\$\{$name\}/${!name}}; done
  printf '%s\n' "$text" > "$STATE/connector.properties"
  java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$LIBS/*" \
    org.apache.kafka.connect.cli.ConnectStandalone "$STATE/worker.properties" "$STATE/connector.properties" \
    >> "$STATE/log" 2>&1 < /dev/null &
  echo $! > "$STATE/pid"
  for _ in $(seq 240); do
    alive || { echo "debezium ended:" >&2; tail -20 "$STATE/log" >&2; exit 1; }
    if curl -fsS "http://127.0.0.1:$PORT/connectors?expand=status" 2>/dev/null | grep -q '"tasks":\[{"id":0,"state":"RUNNING"'; then
      echo "debezium ready pid=$(cat "$STATE/pid")"; return 0
    fi
    sleep 0.25
  done
  echo "debezium did not come up:" >&2; tail -20 "$STATE/log" >&2; exit 1
}
finish() { # SIGNAL
  alive || return 0
  local pid; pid=$(cat "$STATE/pid"); kill "-$1" "$pid"
  for _ in $(seq 120); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  rm -f "$STATE/pid"
}
case "${1:-start}" in
  start) start ;;
  stop) finish TERM ;;
  kill) finish KILL ;;
  status) alive && echo "debezium runs pid=$(cat "$STATE/pid")" ;;
  *) sed -n 2,4p "$0"; exit 2 ;;
esac
