//! Good and bad pipeline files, and what each gives.

use std::path::Path;

use super::*;

const SMALLEST: &str = r#"
[pipeline]
id = "payments"

[source]
kafka = "payments"
bootstrap-servers = "127.0.0.1:9092"

[[operator]]
module = "totals.wasm"

[sink]
iceberg = "lake.payments"
catalog = { type = "sql", uri = "sqlite://lake.db", warehouse = "file://./lake" }
"#;

const FULL: &str = r#"
[pipeline]
id = "payments"
guarantee = "exactly-once"

[source]
kafka = ["payments", "refunds"]
bootstrap-servers = "${KAFKA}"
start = 2026-01-31T06:00:00Z
format = "json"
event-time = { field = "ts", unit = "s", out-of-order = "5s", idle-after = "30s" }
new-partitions = "start"
properties = { "security.protocol" = "SASL_SSL", "sasl.password" = "${PASSWORD}", "fetch.wait.max.ms" = 20 }

[[operator]]
name = "totals"
module = "target/floe/totals.wasm"
config = { currency = "INR", after = 2026-01-01, limits = [1, 2.5, true] }
on-error = "dead-letter"
limits = { memory = "512MiB", stack = "8MiB", metering = "fuel", time-per-batch = "1s", fuel-per-record = 100000, compile-time = "30s" }

[sink]
iceberg = "lake.payments"
catalog = { type = "rest", uri = "http://127.0.0.1:8181", warehouse = "lake", credential = "${PASSWORD}", "s3.endpoint" = "http://127.0.0.1:7070" }
create = false
partition-by = ["day(ts)", "bucket(16, merchant_id)"]
mode = "append"
branch = "audit"
properties = { "write.target-file-size-bytes" = 134217728 }

[checkpoint]
store = "s3://lake/checkpoints"
interval = "1s"
commit-every = 5
keep = 3
commits-pending-max = 2
commits-pending-bytes-max = "64MiB"
alignment-timeout = "5s"
dirty-pages = "page-hashes"
properties = { "s3.region" = "eu-west-1" }

[dead-letters]
iceberg = "lake.payments_dead_letters"
max = 7

[telemetry]
listen = "127.0.0.1:9900"
log = "json"

[verify]
sample = "1 of 50 epochs"
cpu = "25%"
on-divergence = "stop"

[recording]
keep = "12 epochs"
epoch-max = "64MiB"

[run]
workers = 2
batch-records = 100
"#;

fn env(name: &str) -> Option<String> {
    match name {
        "KAFKA" => Some("broker:9092".to_owned()),
        "PASSWORD" => Some("hunter2".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<PipelineSpec, ConfigError> {
    PipelineSpec::parse(text, Path::new("/pipe/payments.toml"), &env)
}

#[test]
fn the_smallest_has_every_default() {
    let spec = parse(SMALLEST).unwrap();
    assert_eq!(spec.guarantee, Guarantee::ExactlyOnce);
    assert_eq!(spec.sources[0].start, StartAt::Earliest);
    assert_eq!(spec.sources[0].format, Format::Json);
    assert_eq!(spec.sources[0].new_partitions, NewPartitions::Fail);
    assert_eq!(spec.sources[0].event_time, None);
    assert_eq!(spec.operators[0].module, Path::new("/pipe/totals.wasm"));
    assert_eq!(spec.operators[0].config, "{}");
    assert_eq!(spec.operators[0].on_error, OnError::Fail);
    assert_eq!(spec.operators[0].limits, LimitsSpec::default());
    assert_eq!(spec.sink().table().unwrap().catalog.uri.expose(), "sqlite:///pipe/lake.db");
    assert_eq!(
        spec.sink().table().unwrap().catalog.warehouse.as_deref(),
        Some("file:///pipe/lake")
    );
    assert!(spec.sink().table().unwrap().create);
    assert_eq!(spec.sink().table().unwrap().branch, "main");
    assert_eq!(spec.checkpoint.store, "file:///pipe/lake/.floe/checkpoints");
    assert_eq!(spec.checkpoint.interval, Duration::from_secs(10));
    assert_eq!((spec.checkpoint.keep, spec.checkpoint.commits_pending_max), (10, 4));
    assert_eq!(spec.checkpoint.dirty_pages, DirtyPages::Auto);
    assert_eq!(spec.checkpoint.overtaking, None);
    assert_eq!((spec.run.workers, spec.run.batch_records_max), (None, 8192));
    assert_eq!(spec.telemetry.listen, None);
    assert!(spec.dead_letters.is_none());
}

#[test]
fn the_full_one_is_read_whole() {
    let spec = parse(FULL).unwrap();
    let Origin::Kafka { topics, bootstrap_servers, properties } = &spec.sources[0].origin else {
        panic!("kafka");
    };
    assert_eq!(*topics, Topics::Named(vec!["payments".into(), "refunds".into()]));
    assert_eq!(bootstrap_servers, "broker:9092");
    assert_eq!(properties.get("sasl.password"), Some("hunter2"));
    assert_eq!(properties.get("fetch.wait.max.ms"), Some("20"));
    assert_eq!(spec.sources[0].start, StartAt::Timestamp(floe_core::EventTime(1_769_839_200_000)));
    let event_time = spec.sources[0].event_time.as_ref().unwrap();
    assert_eq!(event_time.field.as_deref(), Some("ts"));
    assert_eq!(event_time.unit, Some(TimeUnit::Second));
    assert_eq!(event_time.out_of_order, Duration::from_secs(5));
    assert_eq!(event_time.idle_after, Some(Duration::from_secs(30)));
    let operator = &spec.operators[0];
    assert_eq!(operator.config, r#"{"after":"2026-01-01","currency":"INR","limits":[1,2.5,true]}"#);
    assert_eq!(operator.limits.memory_bytes, Some(512 << 20));
    assert_eq!(operator.limits.stack_bytes, Some(8 << 20));
    assert_eq!(operator.limits.compile_time, Some(Duration::from_secs(30)));
    assert_eq!(operator.on_error, OnError::DeadLetter);
    assert_eq!(spec.sink().table().unwrap().catalog.properties.get("credential"), Some("hunter2"));
    let overtaking = Overtaking { after: Duration::from_secs(5), in_flight_bytes_max: 64 << 20 };
    assert_eq!(spec.checkpoint.overtaking, Some(overtaking));
    assert_eq!(spec.checkpoint.store, "s3://lake/checkpoints");
    assert_eq!(spec.checkpoint.properties.get("s3.endpoint"), Some("http://127.0.0.1:7070"));
    assert_eq!(spec.checkpoint.properties.get("s3.region"), Some("eu-west-1"));
    assert_eq!(spec.checkpoint.properties.get("credential"), None);
    assert_eq!(spec.dead_letters.as_ref().map(|it| it.max), Some(7));
    assert_eq!(spec.telemetry.log, LogFormat::Json);
    let verify = VerifySpec { one_of: 50, cpu_percent: 25, on_divergence: OnDivergence::Stop };
    assert_eq!(spec.verify, Some(verify));
    let recording = RecordingSpec { keep_epochs: 12, epoch_bytes_max: 64 << 20 };
    assert_eq!(spec.recording, Some(recording));
    assert_eq!((spec.run.workers, spec.run.batch_records_max), (Some(2), 100));
    assert!(!format!("{spec:?}").contains("hunter2"));
}

/// Each case changes the smallest file: what is replaced, by what, and what the message says.
#[test]
fn what_is_wrong_is_said_with_its_place() {
    let id = "id = \"payments\"";
    let kafka = "kafka = \"payments\"";
    let servers = "bootstrap-servers = \"127.0.0.1:9092\"";
    let module = "module = \"totals.wasm\"";
    let table = "iceberg = \"lake.payments\"";
    let sql = "type = \"sql\"";
    for (what, by, place, words) in [
        (id, "idd = \"x\"", "3:1", &["unknown key \"idd\" in [pipeline]", "mean \"id\""][..]),
        (id, "", "2:1", &["id is missing in [pipeline]"]),
        (id, "id = \"a/b\"", "3:1", &["\"a/b\" cannot be"]),
        (id, "id = 5", "3:6", &["expected a string"]),
        (id, "id = \"x", "3:", &["invalid"]),
        (id, "id = \"${NOPE}\"", "3:6", &["no environment variable NOPE", "export NOPE"]),
        ("[pipeline]", "[pipelines]", "2:2", &["unknown section [pipelines]", "mean \"pipeline\""]),
        (
            "[source]",
            "[checkpoint]\nintervall = \"1s\"\n[source]",
            "6:1",
            &["mean \"interval\"", "[checkpoint]"],
        ),
        (
            "[source]",
            "[checkpoint]\ninterval = \"1 fortnight\"\n[source]",
            "6:12",
            &["no duration"],
        ),
        ("[source]", "[checkpoint]\ninterval = 10\n[source]", "6:12", &["has no unit", "10s"]),
        ("[source]", "[checkpoint]\ninterval = \"1ms\"\n[source]", "6:1", &["below 10ms"]),
        ("[source]", "[checkpoint]\ncommit-every = 0\n[source]", "6:1", &["0 is too few"]),
        (
            "[source]",
            "[checkpoint]\nin-flight-bytes-max = \"1MiB\"\n[source]",
            "6:1",
            &["without alignment-timeout"],
        ),
        (
            "id = \"payments\"",
            "id = \"p\"\nguarantee = \"at-least-once\"\n[checkpoint]\ncommit-every = 2",
            "6:1",
            &["at-least-once", "before its checkpoint"],
        ),
        ("[source]", "[checkpoint]\nkeep = 0\n[source]", "6:1", &["0 is too few"]),
        ("[source]", "[run]\nbatch-records = 70000\n[source]", "6:1", &["65536"]),
        ("[source]", "[telemetry]\nlisten = \"9900\"\n[source]", "6:1", &["no address"]),
        ("[source]", "[verify]\nsample = \"1 of 0 epochs\"\n[source]", "6:1", &["1 of 100 epochs"]),
        ("[source]", "[recording]\nkeep = \"1 day\"\n[source]", "6:1", &["\"10 epochs\""]),
        ("[source]", "[verify]\nsample = \"all\"\n[source]", "6:1", &["no sample of epochs"]),
        (
            "[source]",
            "[verify]\nsample = \"1 of 9 epochs\"\ncpu = \"0%\"\n[source]",
            "7:1",
            &["no share of a core"],
        ),
        (
            id,
            "id = \"p\"\nguarantee = \"at-last-once\"",
            "4:13",
            &["mean \"at-least-once\"", "at-most-once"],
        ),
        (kafka, "", "5:2", &["neither kafka nor recording"]),
        (kafka, "kafka = [\"a\", \"b c\"]", "6:1", &["\"b c\" cannot be a topic"]),
        (kafka, "kafka = []", "6:1", &["empty"]),
        (kafka, "kafka = 7", "6:9", &["a topic or a list of topics"]),
        (kafka, "kafka = \"p\"\nrecording = \"r\"", "7:1", &["both kafka and recording"]),
        (kafka, "recording = \"r\"", "7:1", &["is for kafka"]),
        (servers, "", "5:2", &["no Kafka server", "FLOE_KAFKA"]),
        (servers, "bootstrap-server = \"x\"", "7:1", &["mean \"bootstrap-servers\""]),
        (
            servers,
            "bootstrap-servers = \"h\"\nformat = \"avro\"",
            "8:1",
            &["no schema", "schema-registry"],
        ),
        (servers, "bootstrap-servers = \"h\"\nschema = \"a.avsc\"", "8:1", &["is for Avro"]),
        (
            servers,
            "bootstrap-servers = \"h\"\nmessage = \"a.B\"",
            "8:1",
            &["is for Avro and Protobuf"],
        ),
        (
            servers,
            "bootstrap-servers = \"h\"\nformat = \"avro\"\nschema = \"a\"\nschema-registry = { url = \"http://h\" }",
            "9:1",
            &["both schema and schema-registry"],
        ),
        (
            servers,
            "bootstrap-servers = \"h\"\nformat = \"avro\"\nschema-registry = { url = \"h:8081\" }",
            "9:21",
            &["no URL"],
        ),
        (
            servers,
            "bootstrap-servers = \"h\"\nformat = \"avro\"\nschema-registry = { url = \"http://h\", basic-auth-user-info = \"u\" }",
            "9:39",
            &["no colon"],
        ),
        (servers, "bootstrap-servers = \"h\"\nformat = \"jsn\"", "8:10", &["mean \"json\""]),
        (servers, "bootstrap-servers = \"h\"\nstart = \"later\"", "8:1", &["a timestamp such as"]),
        (
            servers,
            "bootstrap-servers = \"h\"\nevent-time = { unit = \"s\" }",
            "8:16",
            &["unit is for a field"],
        ),
        (
            servers,
            "bootstrap-servers = \"h\"\nevent-time = { feild = \"ts\" }",
            "8:16",
            &["mean \"field\"", "[source.event-time]"],
        ),
        (
            servers,
            "bootstrap-servers = \"h\"\nevent-time = { idle-after = \"1ms\" }",
            "8:16",
            &["below 10ms"],
        ),
        ("[[operator]]\nmodule = \"totals.wasm\"", "", "", &["there is no [[operator]]"]),
        (module, "plugin = \"\"", "9:1", &["neither module nor plugin", "floe plugin list"]),
        (module, "module = \"x.wasm\"\nplugin = \"dedup\"", "10:1", &["both module and plugin"]),
        (
            servers,
            "columns = [\"a: long\", \"b: text\"]",
            "7:23",
            &["\"b: text\" is no column", "decimal(10,2)"],
        ),
        (
            module,
            "module = \"a\"\nlimits = { memry = 1 }",
            "11:12",
            &["mean \"memory\"", "[operator.limits]"],
        ),
        (module, "module = \"a\"\nlimits = { memory = \"big\" }", "11:21", &["no size"]),
        (
            module,
            "module = \"a\"\nlimits = { stack = \"63KiB\" }",
            "11:12",
            &["64512 bytes is too small", "64KiB to 256MiB"],
        ),
        (
            module,
            "module = \"a\"\n[operator.limits]\nstack = \"257MiB\"",
            "12:1",
            &["too large", "64KiB to 256MiB"],
        ),
        (
            module,
            "module = \"a\"\non-error = \"dead-letter\"",
            "11:1",
            &["[dead-letters]", "lake.payments_dead_letters"],
        ),
        (
            module,
            "module = \"a\"\nname=\"x\"\n[[operator]]\nmodule=\"b\"\nname=\"x\"",
            "14:1",
            &["two operators"],
        ),
        (table, "iceberg = \"payments\"", "13:1", &["namespace.table"]),
        (table, "iceberg = \"a.b\"\nkafka = \"out\"", "14:1", &["both iceberg and kafka"]),
        (table, "kafka = \"out\"", "14:1", &["catalog is for a table"]),
        (table, "iceberg = \"a.b\"\nkey = [\"id\"]", "14:1", &["key is for a topic"]),
        (table, "", "12:2", &["neither iceberg nor kafka"]),
        (table, "iceberg = \"a.b\"\nmode = \"upsert\"", "14:1", &["no key is named", "key = ["]),
        (
            table,
            "iceberg = \"a.b\"\nmode = \"overwrite-partition\"",
            "14:1",
            &["replaces partitions", "partition-by = ["],
        ),
        (table, "iceberg = \"a.b\"\nschema-evolution = \"all\"", "14:20", &["additive", "none"]),
        (table, "iceberg = \"a.b\"\nop-column = \"x\"", "14:1", &["rows are appended", "upsert"]),
        (
            table,
            "iceberg = \"a.b\"\nmode = \"upsert\"\nkey = [\"a\", \"a\"]",
            "15:1",
            &["in the key twice"],
        ),
        (
            table,
            "iceberg = \"a.b\"\n[dead-letters]\niceberg=\"a.b\"\n[sink]",
            "",
            &["duplicate key"],
        ),
        (sql, "type = \"hive\"", "14:13", &["no catalog is of type \"hive\""]),
        (sql, "tipe = \"sql\"", "14:1", &["type is missing in the catalog"]),
        (sql, "type = \"rest\"", "14:", &["is no address of such a catalog", "http://"]),
        ("sqlite://lake.db", "sqlite::memory:", "14:", &["forgets the table"]),
        (", warehouse = \"file://./lake\"", "", "14:", &["warehouse is missing"]),
    ] {
        assert!(SMALLEST.contains(what), "{what}");
        let text = SMALLEST.replacen(what, by, 1);
        let error = parse(&text).expect_err(&text).to_string();
        let wanted =
            format!("/pipe/payments.toml{}{place}", if place.is_empty() { "" } else { ":" });
        assert!(error.contains(&wanted), "{wanted}: {error}");
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}

#[test]
fn other_shapes_are_good_too() {
    for (what, by) in [
        ("kafka = \"payments\"", "kafka = \"/pay.*/\""),
        ("kafka = \"payments\"\nbootstrap-servers = \"127.0.0.1:9092\"", "recording = \"r.jsonl\""),
        ("sqlite://lake.db", "${DB:-postgres://floe:pw@127.0.0.1/lake}"),
        ("file://./lake", "s3://lake/warehouse"),
        ("type = \"sql\", uri = \"sqlite://lake.db\"", "type = \"rest\", uri = \"http://h:8181\""),
    ] {
        assert!(SMALLEST.contains(what), "{what}");
        parse(&SMALLEST.replacen(what, by, 1)).unwrap();
    }
}

#[test]
fn a_rest_catalog_by_name_wants_a_checkpoint_store() {
    let text = SMALLEST
        .replace(
            "type = \"sql\", uri = \"sqlite://lake.db\"",
            "type = \"rest\", uri = \"http://h\"",
        )
        .replace("file://./lake", "lake");
    let error = parse(&text).unwrap_err().to_string();
    assert!(error.contains("where checkpoints are kept"), "{error}");
    let spec = parse(&format!("{text}\n[checkpoint]\nstore = \"./kept\"")).unwrap();
    assert_eq!(spec.checkpoint.store, "file:///pipe/kept");
}

#[test]
fn a_topic_may_be_the_sink() {
    let text = r#"
[pipeline]
id = "p"
[source]
recording = "r.jsonl"
[[operator]]
module = "a.wasm"
[sink]
kafka = "out"
bootstrap-servers = "k:9092"
key = ["merchant_id"]
[checkpoint]
store = "file://./checkpoints"
"#;
    let spec = parse(text).unwrap();
    let SinkSpec::Topic(topic) = spec.sink() else { panic!("{:?}", spec.sink()) };
    assert_eq!((topic.topic.as_str(), topic.bootstrap_servers.as_str()), ("out", "k:9092"));
    assert_eq!(
        (spec.sink().name(), topic.key.as_slice()),
        ("out", ["merchant_id".to_owned()].as_slice())
    );
    assert_eq!(spec.checkpoint.store, "file:///pipe/checkpoints");
    let place = "[checkpoint]\nstore = \"file://./checkpoints\"";
    let letters = "[dead-letters]\nkafka = \"d\"\nbootstrap-servers = \"k:9092\"";
    let spec = parse(&format!("{text}\n{letters}")).unwrap();
    assert_eq!(spec.dead_letters.unwrap().sink.name(), "d");
    for (what, by, word) in [
        (place, "", "where checkpoints are kept"),
        ("\"out\"", "\"a b\"", "cannot be a topic"),
        (
            place,
            "[checkpoint]\nstore = \"file://./c\"\n[dead-letters]\niceberg = \"a.b\"",
            "catalog is missing in [dead-letters]",
        ),
        (
            place,
            &format!("{place}\n[dead-letters]\nkafka = \"out\"\nbootstrap-servers = \"k:9092\""),
            "sink's own topic",
        ),
        (place, &format!("{place}\n[dead-letters]\nkafka = \"d\""), "no Kafka server is named"),
        (place, &format!("{place}\n[dead-letters]\nmax = 3"), "neither iceberg nor kafka"),
    ] {
        let error = parse(&text.replace(what, by)).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn there_may_be_several_sinks() {
    let (before, sink) = SMALLEST.split_once("[sink]").unwrap();
    let of = |name: &str, table: &str| {
        format!("[[sink]]\n{name}{}", sink.replace("lake.payments", table))
    };
    let late = of("name = \"late\"\ninput = \"totals.late\"\n", "lake.late");
    let spec = parse(&format!("{before}{}{late}", of("", "lake.payments"))).unwrap();
    let sinks: Vec<_> = spec
        .sinks
        .iter()
        .map(|it| (it.name.as_str(), it.input.join(" "), it.spec.name()))
        .collect();
    let wanted =
        [("sink", String::new(), "lake.payments"), ("late", "totals.late".to_owned(), "lake.late")];
    assert_eq!(sinks, wanted);
    assert_eq!(parse(SMALLEST).unwrap().sinks[0].name, "sink");

    let first = of("name = \"a\"\n", "lake.a");
    for (second, word, line) in [
        (of("name = \"a\"\n", "lake.b"), "two sinks are named \"a\"", 18),
        (of("name = \"b\"\n", "lake.a"), "lake.a is where sink \"a\" writes", 20),
        (of("name = \"dead-letters\"\n", "lake.b"), "cannot be a sink's name", 18),
        (of("name = \"b\"\n", "b"), "cannot be a table", 20),
        (of("name = \"b\"\nnome = 1\n", "lake.b"), "nome", 19),
    ] {
        let error = parse(&format!("{before}{first}{second}")).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(error.place.map(|it| it.0), Some(line), "{error}");
    }
}

const TWO_SOURCES: &str = r#"[pipeline]
id = "priced"

[[source]]
name = "orders"
kafka = ["orders", "returns"]
bootstrap-servers = "127.0.0.1:9092"
start = "latest"
event-time = {}

[[source]]
name = "rates"
recording = "rates-2026.jsonl"
format = "raw"
event-time = { field = "ts" }

[[operator]]
module = "pricing.wasm"
input = ["orders", "rates"]

[sink]
iceberg = "lake.priced"
catalog = { type = "sql", uri = "sqlite://lake.db", warehouse = "file://./lake" }
"#;

#[test]
fn each_source_has_its_own_settings_and_topics() {
    let spec = parse(TWO_SOURCES).unwrap();
    let [orders, rates] = spec.sources.as_slice() else { panic!("two sources") };
    assert_eq!((orders.name.as_str(), rates.name.as_str()), ("orders", "rates"));
    assert_eq!((orders.start, rates.start), (StartAt::Latest, StartAt::Earliest));
    assert_eq!((&orders.format, &rates.format), (&Format::Json, &Format::Raw));
    assert_eq!(orders.topics(), ["orders", "returns"]);
    assert_eq!(rates.topics(), ["rates-2026"]);
    assert_eq!(spec.operators[0].input, ["orders", "rates"]);
    assert_eq!(spec.recording_file(), None);
    let shared = TWO_SOURCES
        .replace("kafka = [\"orders\", \"returns\"]", "recording = \"all.jsonl\"\ntopics = \"a\"")
        .replace("bootstrap-servers = \"127.0.0.1:9092\"\n", "")
        .replace("\"rates-2026.jsonl\"", "\"all.jsonl\"\ntopics = [\"b\", \"c\"]");
    let spec = parse(&shared).unwrap();
    assert_eq!(spec.sources[1].topics(), ["b", "c"]);
    assert_eq!(spec.recording_file(), Some(Path::new("/pipe/all.jsonl")));
    // One that stands in a list is as one that does not.
    let one = parse(&SMALLEST.replace("[source]", "[[source]]")).unwrap();
    assert_eq!((one.sources.len(), one.sources[0].name.as_str()), (1, "source"));
}

#[test]
fn sources_that_do_not_go_together_are_refused_in_their_place() {
    for (what, by, line, wanted) in [
        ("name = \"rates\"\n", "", 11, "of several sources each has a name"),
        ("\"rates\"\nrec", "\"orders\"\nrec", 12, "two sources are named \"orders\""),
        ("\"rates\"\nrec", "\"ra.tes\"\nrec", 12, "\"ra.tes\" cannot be a source's name"),
        ("rates-2026.jsonl", "orders.jsonl", 11, "topic orders is read by source \"orders\""),
        ("event-time = { field = \"ts\" }", "", 11, "source \"rates\" has no event-time"),
        ("format = \"raw\"", "new-partitions = \"start\"", 14, "not the same in all sources"),
        ("[\"orders\", \"returns\"]", "\"/orders.*/\"", 6, "a pattern of topics is for a source"),
        ("format = \"raw\"", "topics = []", 14, "the list of topics is empty"),
        ("start = \"latest\"", "topics = \"x\"", 8, "topics is for a recording"),
        ("start = \"latest\"", "start = \"late\"", 8, "\"late\" is not \"earliest\""),
    ] {
        let text = TWO_SOURCES.replace(what, by);
        assert_ne!(text, TWO_SOURCES, "{what}");
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{by}: {error}");
        assert!(error.contains(&format!("payments.toml:{line}:")), "{by}: {error}");
    }
    let alone = SMALLEST.replace("kafka = \"payments\"", "recording = \"r.jsonl\"\ntopics = \"x\"");
    let alone = alone.replace("bootstrap-servers = \"127.0.0.1:9092\"\n", "");
    assert!(parse(&alone).unwrap_err().to_string().contains("topics is for several sources"));
}
