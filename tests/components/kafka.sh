#!/usr/bin/env bash
# Apache Kafka (KRaft, single node, broker+controller) from Maven Central jars only.
# usage: kafka.sh start|stop|status      (idempotent; loopback only)
# env:   COMPONENT_CACHE  cache dir for jars   (default ${XDG_CACHE_HOME:-~/.cache}/floe-ci/components)
#        KAFKA_STATE      data/log/pid dir      (default /tmp/kafka-dev)
#        KAFKA_PORT       client port           (default 19092; controller = +1)
#        KAFKA_VERSION    default 4.3.0         KAFKA_HEAP default 384m
#        KAFKA_SASL_PORT  a second client port, for SASL_PLAINTEXT with PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512:
#                         user alice, password alice-secret; with OAUTHBEARER: any token without a signature
#        KAFKA_PROPERTIES more lines of server.properties, \n between them
set -euo pipefail
CACHE=${COMPONENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/floe-ci/components}
STATE=${KAFKA_STATE:-/tmp/kafka-dev}
PORT=${KAFKA_PORT:-19092}; CPORT=$((PORT+1))
VER=${KAFKA_VERSION:-4.3.0}; HEAP=${KAFKA_HEAP:-384m}
LIBS=$CACHE/kafka-$VER/libs
alive() { [ -s "$STATE/pid" ] && kill -0 "$(cat "$STATE/pid")" 2>/dev/null; }
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
fetch() {
  [ -e "$CACHE/kafka-$VER/.ok" ] && return 0
  mkdir -p "$CACHE/kafka-$VER"; local d; d=$(mktemp -d)
  cat > "$d/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>dev</groupId><artifactId>kafka-broker</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
 <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VER</version></dependency>
 <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$VER</version></dependency>
 <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
POM
  mvn -B -q -f "$d/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DoutputDirectory="$LIBS" -DincludeScope=runtime >&2
  rm -rf "$d"; touch "$CACHE/kafka-$VER/.ok"
}
start() {
  if alive && port_open "$PORT"; then echo "kafka ready bootstrap.servers=127.0.0.1:$PORT pid=$(cat "$STATE/pid")"; return 0; fi
  fetch; mkdir -p "$STATE"
  cat > "$STATE/server.properties" <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$CPORT
listeners=PLAINTEXT://127.0.0.1:$PORT,CONTROLLER://127.0.0.1:$CPORT
advertised.listeners=PLAINTEXT://127.0.0.1:$PORT
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$STATE/data
num.partitions=2
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=2
P
  local scram=()
  if [ -n "${KAFKA_SASL_PORT:-}" ]; then
    cat >> "$STATE/server.properties" <<P
listeners=PLAINTEXT://127.0.0.1:$PORT,CONTROLLER://127.0.0.1:$CPORT,SASL://127.0.0.1:$KAFKA_SASL_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$PORT,SASL://127.0.0.1:$KAFKA_SASL_PORT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="alice-secret";
listener.name.sasl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
P
    for it in 256 512; do scram+=(--add-scram "SCRAM-SHA-$it=[name=alice,password=alice-secret]"); done
  fi
  printf '%b\n' "${KAFKA_PROPERTIES:-}" >> "$STATE/server.properties"
  local J=(java "-Xmx$HEAP" "-Xms$HEAP" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError
           -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$LIBS/*")
  [ -e "$STATE/data/meta.properties" ] || \
    java -Xmx128m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$LIBS/*" \
      kafka.tools.StorageTool format -t "${KAFKA_CLUSTER_ID:-MkU3OEVBNTcwNTJENDM2Qk}" -c "$STATE/server.properties" ${scram[@]+"${scram[@]}"} > "$STATE/format.log" 2>&1
  setsid nohup "${J[@]}" kafka.Kafka "$STATE/server.properties" > "$STATE/kafka.log" 2>&1 < /dev/null &
  echo $! > "$STATE/pid"
  for _ in $(seq 1 300); do
    port_open "$PORT" && { echo "kafka ready bootstrap.servers=127.0.0.1:$PORT pid=$(cat "$STATE/pid")"; return 0; }
    alive || { echo "kafka died; see $STATE/kafka.log" >&2; tail -20 "$STATE/kafka.log" >&2; return 1; }
    sleep 0.1
  done
  echo "kafka not ready in 30 s" >&2; return 1
}
stop() { if alive; then kill "$(cat "$STATE/pid")"; for _ in $(seq 1 100); do alive || break; sleep 0.1; done; alive && kill -9 "$(cat "$STATE/pid")" || true; fi; rm -f "$STATE/pid"; echo stopped; }
case "${1:-start}" in start) start;; stop) stop;; status) alive && port_open "$PORT" && echo up || { echo down; exit 1; };; *) echo "start|stop|status" >&2; exit 2;; esac
