#!/usr/bin/env bash
# Iceberg REST catalog: Apache Iceberg's own reference server (RESTCatalogServer, what apache/iceberg-rest-fixture runs),
# from Maven Central jars only; JdbcCatalog on sqlite (default) or Postgres behind it.
# usage: rest-catalog.sh start|stop|status      (idempotent; loopback only)
# env: COMPONENT_CACHE, REST_STATE (/tmp/iceberg-rest-dev), REST_PORT (18181), ICEBERG_VERSION (1.10.0)
#      REST_WAREHOUSE   default file://$REST_STATE/warehouse ; s3://bucket/path uses S3FileIO with
#      REST_S3_ENDPOINT (http://127.0.0.1:19000) REST_S3_KEY REST_S3_SECRET
#      REST_JDBC_URI    default jdbc:sqlite:$REST_STATE/catalog.db
set -euo pipefail
CACHE=${COMPONENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/floe-ci/components}
STATE=${REST_STATE:-/tmp/iceberg-rest-dev}; PORT=${REST_PORT:-18181}; VER=${ICEBERG_VERSION:-1.10.0}
LIBS=$CACHE/iceberg-rest-$VER/libs; WH=${REST_WAREHOUSE:-file://$STATE/warehouse}
alive() { [ -s "$STATE/pid" ] && kill -0 "$(cat "$STATE/pid")" 2>/dev/null; }
up() { curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:$PORT/v1/config" 2>/dev/null; }
fetch() {
  [ -e "$CACHE/iceberg-rest-$VER/.ok" ] && return 0
  mkdir -p "$CACHE/iceberg-rest-$VER"; local d; d=$(mktemp -d)
  ex='<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>'
  dep() { echo "<dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version>${4:+<classifier>$4</classifier>$ex}</dependency>"; }
  { echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>dev</groupId><artifactId>iceberg-rest</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
    dep org.apache.iceberg iceberg-open-api "$VER" test-fixtures; dep org.apache.iceberg iceberg-core "$VER"; dep org.apache.iceberg iceberg-core "$VER" tests
    dep org.apache.iceberg iceberg-aws "$VER"
    for a in s3 sts kms glue dynamodb s3-access-grants; do case $a in s3|sts|kms) dep software.amazon.awssdk $a 2.33.0;; esac; done
    dep software.amazon.awssdk url-connection-client 2.33.0; dep software.amazon.awssdk apache-client 2.33.0
    dep org.apache.hadoop hadoop-client-api 3.4.1; dep org.apache.hadoop hadoop-client-runtime 3.4.1
    dep org.eclipse.jetty jetty-servlet 11.0.25; dep org.xerial sqlite-jdbc 3.50.3.0; dep org.postgresql postgresql 42.7.7; dep org.slf4j slf4j-simple 2.0.17
    echo '</dependencies></project>'; } > "$d/pom.xml"
  mvn -B -q -f "$d/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$LIBS" -DincludeScope=runtime >&2
  # RESTCatalogServer binds 0.0.0.0; this 12-line launcher binds 127.0.0.1 only.
  mkdir -p "$d/src/org/apache/iceberg/rest"; cat > "$d/src/org/apache/iceberg/rest/LoopbackRest.java" <<'J'
package org.apache.iceberg.rest;
import java.net.InetSocketAddress; import java.util.*; import org.apache.iceberg.CatalogUtil; import org.apache.iceberg.catalog.Catalog;
import org.eclipse.jetty.server.Server; import org.eclipse.jetty.servlet.*;
public class LoopbackRest {
  public static void main(String[] a) throws Exception {
    Map<String,String> p = new HashMap<>(); for (String kv : Arrays.copyOfRange(a, 1, a.length)) { int i = kv.indexOf('='); p.put(kv.substring(0,i), kv.substring(i+1)); }
    p.putIfAbsent("catalog-impl","org.apache.iceberg.jdbc.JdbcCatalog"); p.putIfAbsent("jdbc.schema-version","V1");
    Catalog c = CatalogUtil.buildIcebergCatalog("rest_backend", p, new org.apache.hadoop.conf.Configuration());
    ServletContextHandler h = new ServletContextHandler(); h.setContextPath("/"); h.addServlet(new ServletHolder(new RESTCatalogServlet(new RESTCatalogAdapter(c))), "/*");
    Server s = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(a[0]))); s.setHandler(h); s.start(); System.out.println("ready"); s.join(); } }
J
  javac -nowarn -cp "$LIBS/*" -d "$CACHE/iceberg-rest-$VER/classes" "$d/src/org/apache/iceberg/rest/LoopbackRest.java" >&2
  rm -rf "$d"; touch "$CACHE/iceberg-rest-$VER/.ok"
}
start() {
  if alive && up; then echo "rest-catalog ready uri=http://127.0.0.1:$PORT pid=$(cat "$STATE/pid")"; return 0; fi
  fetch; mkdir -p "$STATE"
  local props=("uri=${REST_JDBC_URI:-jdbc:sqlite:$STATE/catalog.db}" "warehouse=$WH")
  [ -n "${REST_JDBC_USER:-}" ] && props+=("jdbc.user=$REST_JDBC_USER" "jdbc.password=${REST_JDBC_PASSWORD:-}")
  case $WH in s3://*) props+=(io-impl=org.apache.iceberg.aws.s3.S3FileIO "s3.endpoint=${REST_S3_ENDPOINT:-http://127.0.0.1:19000}" s3.path-style-access=true
      "s3.access-key-id=${REST_S3_KEY:-test}" "s3.secret-access-key=${REST_S3_SECRET:-testtest}" client.region=us-east-1);; esac
  AWS_REGION=us-east-1 setsid nohup java -Xmx${REST_HEAP:-256m} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
     -cp "$CACHE/iceberg-rest-$VER/classes:$LIBS/*" org.apache.iceberg.rest.LoopbackRest "$PORT" "${props[@]}" > "$STATE/rest.log" 2>&1 < /dev/null &
  echo $! > "$STATE/pid"
  for _ in $(seq 1 300); do up && { echo "rest-catalog ready uri=http://127.0.0.1:$PORT pid=$(cat "$STATE/pid")"; return 0; }
    alive || { tail -20 "$STATE/rest.log" >&2; return 1; }; sleep 0.1; done
  echo "not ready in 30 s" >&2; return 1
}
stop() { if alive; then kill "$(cat "$STATE/pid")"; for _ in $(seq 1 50); do alive || break; sleep 0.1; done; fi; rm -f "$STATE/pid"; echo stopped; }
case "${1:-start}" in start) start;; stop) stop;; status) alive && up && echo up || { echo down; exit 1; };; *) exit 2;; esac
