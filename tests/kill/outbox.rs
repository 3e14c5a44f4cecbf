//! S17: rows of a database's outbox come through a change stream that says some of them twice; each has one
//! effect, whoever dies.

use std::net::TcpListener;

use anyhow::{Context, ensure};

use crate::lab::{check, variable};
use crate::readme::{Checkout, block};

const EXAMPLE: &str = "examples/03-outbox";

/// The example's own commands, then the runtime and the connector are killed while orders come in.
#[test]
fn each_outbox_row_has_one_effect() {
    check("outbox::each_outbox_row", &["FLOE_TEST_KAFKA", "FLOE_TEST_POSTGRES"], |lab| {
        let place = Checkout::of(lab, "outbox", EXAMPLE)?;
        let unique = format!("floe_{}", std::process::id());
        // The names of the cluster that only one may have get something of this run.
        for (file, name) in
            [("connector.properties", "topic.prefix=shop"), ("pipeline.toml", "shop.public")]
        {
            let path = place.folder.join(EXAMPLE).join(file);
            let text = std::fs::read_to_string(&path)?;
            ensure!(text.contains(name), "{name} is not in {file}");
            let text = text
                .replace(name, &name.replace("shop", &unique))
                .replace("=floe_outbox", &format!("={unique}"));
            std::fs::write(&path, text)?;
        }
        let uri = variable("FLOE_TEST_POSTGRES")?;
        let (server, _) = uri.rsplit_once('/').context("a database in the URI")?;
        let port = server.rsplit_once(':').context("a port in the URI")?.1.to_owned();
        let state = place.folder.join("debezium");
        let environment = [
            ("FLOE_KAFKA", variable("FLOE_TEST_KAFKA")?),
            ("PG_PORT", port),
            ("PG_DB", unique.clone()),
            ("URI", uri.clone()),
            ("PY", lab.python.display().to_string()),
            ("TOPIC", format!("{unique}.public.outbox")),
            (
                "DEBEZIUM_CONFIG",
                place.folder.join(EXAMPLE).join("connector.properties").display().to_string(),
            ),
            ("DEBEZIUM_STATE", state.display().to_string()),
            ("DEBEZIUM_PORT", TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string()),
        ];
        let commands = block(&format!("{EXAMPLE}/README.md"), "## Run it")?;
        let is_ours = |it: &&str| {
            !["export ", "PY=", "tests/components/debezium.sh stop"]
                .iter()
                .any(|ours| it.starts_with(ours))
        };
        let commands: Vec<&str> = commands.lines().filter(is_ours).collect();
        let commands = [BEFORE, &commands.join("\n"), AFTER].join("\n");
        let said = place.run(&commands, &environment)?;
        ensure!(said.contains("600 outbox rows, each once in the table"), "{said}");
        ensure!(said.contains("1000 outbox rows, each once in the table"), "{said}");
        place.done()
    });
}

const BEFORE: &str = r#"
trap 'tests/components/debezium.sh kill' EXIT
sql() { $PY -c 'import psycopg2, sys; c = psycopg2.connect(sys.argv[1]); c.autocommit = True; c.cursor().execute(sys.argv[2])' "$1" "$2"; }
sql "$URI" "create database $PG_DB"
"#;

/// Orders come in while floe dies three times and Debezium once.
const AFTER: &str = r#"
records=$($PY tests/kill/kafka.py $FLOE_KAFKA $TOPIC consume | wc -l)
[ $records -gt 600 ] || { echo "Debezium said nothing twice: $records records"; exit 1; }
for round in 1 2 3 4; do
  $PY examples/03-outbox/shop.py $PG sell 100 & seller=$!
  if [ $round = 2 ]; then tests/components/debezium.sh kill; tests/components/debezium.sh start; fi
  timeout --signal=KILL 1.5 floe run examples/03-outbox/pipeline.toml || true
  wait $seller
done
take 1000
floe rows examples/03-outbox/pipeline.toml --json | $PY examples/03-outbox/shop.py $PG compare
tests/components/debezium.sh kill
trap - EXIT
sql "$URI" "select pg_drop_replication_slot('$PG_DB')"
"#;
