//! Values in Avro and Protobuf: decoded by the schemas of a registry that is away, comes, goes and lies.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::feed::Feed;
use crate::lab::{Lab, check, root, variable, wait_for};
use crate::offsets::kafka;
use crate::process::{End, PATIENCE, Process};
use crate::replay::{epochs, json, must, without_network};
use crate::scene::{Place, Scene};

const RECORDS: u64 = 8_000;
const LIVES: u64 = 4;

#[test]
fn payments_in_avro_are_those_in_json() {
    typed("avro", "2", "null or long", Door::Password, "typed::payments_in_avro");
}

#[test]
fn payments_in_protobuf_are_those_in_json() {
    typed("protobuf", "12", "int64", Door::Tls, "typed::payments_in_protobuf");
}

/// How the registry is reached, and who it lets in.
#[derive(Clone, Copy)]
enum Door {
    Password,
    /// A certificate of a CA of our own, a client's certificate, and a token.
    Tls,
}

impl Door {
    fn config(self, port: u16) -> String {
        let tls = root().join("tests/kill/tls");
        let file = |name: &str| tls.join(name).display().to_string();
        match self {
            Door::Password => {
                format!("url = \"http://127.0.0.1:{port}\", basic-auth-user-info = \"floe:secret\"")
            }
            Door::Tls => format!(
                "url = \"https://127.0.0.1:{port}\", bearer-auth-token = \"a-token\", ssl-ca-location = '{}', ssl-certificate-location = '{}', ssl-key-location = '{}'",
                file("ca.pem"),
                file("client.pem"),
                file("client.key")
            ),
        }
    }

    fn of_server(self) -> Vec<String> {
        let tls = root().join("tests/kill/tls").display().to_string();
        match self {
            Door::Password => Vec::new(),
            Door::Tls => ["--token", "a-token", "--tls", &tls].map(str::to_owned).to_vec(),
        }
    }
}

/// A registry of the tests' own; it ends with this.
struct Registry(Child);

impl Registry {
    fn serve(lab: &Lab, port: u16, door: Door, more: &[&str]) -> Result<Registry> {
        let mut child = Command::new(&lab.python)
            .arg(root().join("tests/kill/typed.py"))
            .args(["serve", "--user", "floe:secret", "--port", &port.to_string()])
            .args(door.of_server())
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start typed.py")?;
        let stdout = child.stdout.take().context("its stdout")?;
        let registry = Registry(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.trim() == port.to_string(), "the registry listens on {line:?}");
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended: then there is nobody to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until_said(process: &mut Process, word: &str, times: u64) -> Result<()> {
    let said = wait_for(PATIENCE, || {
        ensure!(!process.has_ended()?, "it ended by itself\n{}", process.last_words());
        Ok(process.said().matches(word).count() as u64 >= times)
    })?;
    ensure!(said, "{word:?} was not said\n{}", process.last_words());
    Ok(())
}

/// `newest` is the id of the schema that is wider, and `wide` how the amount stands in it.
fn typed(format: &str, newest: &str, wide: &str, door: Door, name: &str) {
    check(name, Place::Kafka.needs(), |lab| {
        let mut scene = Scene::new(lab, &format!("typed-{format}"), Place::Kafka)?;
        let broker = variable("FLOE_TEST_KAFKA")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        scene.settings.keep = 1000;
        scene.settings.on_error = "skip";
        scene.settings.source = Some(format!(
            "kafka = \"{}\"\nbootstrap-servers = \"{broker}\"\nformat = \"{format}\"\nschema-registry = {{ {} }}",
            scene.id,
            door.config(port)
        ));
        scene.make_input(RECORDS, 61)?;
        scene.write_pipeline()?;
        let encoded = scene.folder.join("typed.jsonl");
        let written = Command::new(&lab.python)
            .arg(root().join("tests/kill/typed.py"))
            .args(["encode", format])
            .arg(scene.input())
            .stdout(File::create(&encoded)?)
            .status()?;
        ensure!(written.success(), "typed.py encode: {written}");
        let mut feed = Feed::kafka(lab, &broker, &encoded, &scene.id, 1_000_000)?;

        // Nobody answers: records wait, and no epoch holds any of them.
        feed.allow(RECORDS / LIVES)?;
        let mut process = scene.start(&["run"])?;
        until_said(&mut process, "cannot be had, asking again", 1)?;
        let place = format!("of {}/", scene.id);
        ensure!(process.said().contains(&place), "{}", process.last_words());
        ensure!(scene.commits()? == 0, "{}", process.last_words());
        let registry = Registry::serve(lab, port, door, &["--newest", newest])?;
        until_said(&mut process, "committed epoch=", 1)?;
        ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());

        // The newest schema of the topic is held against the columns.
        let scheme = match door {
            Door::Password => "http",
            Door::Tls => "https",
        };
        let subject = format!("{}-value at {scheme}://127.0.0.1:{port}", scene.id);
        must(&scene, 0, &[&subject, "✓ amount_minor", wide], &["check", "pipeline.toml"])?;
        for life in 2..=LIVES {
            let mut process = scene.start(&["run"])?;
            feed.allow(life * RECORDS / LIVES)?;
            until_said(&mut process, "committed epoch=", 1)?;
            ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
        }
        feed.finish()?;
        let said = scene.run_until_end()?;
        ensure!(said.contains("schema 77 is unknown to the registry"), "{said}");
        ensure!(said.contains("6e 6f 20 66 72"), "the value without a frame is not shown\n{said}");
        scene.compare(&[])?;
        // The schemas that were kept are enough to hold the table against its topic.
        let by_key = ["--key", "merchant_id", "--sum", "amount_minor", "--distinct", "txn_id"];
        let verify = [&["verify", "pipeline.toml"][..], &by_key].concat();
        must(&scene, 0, &["equal: "], &verify)?;

        // What was decided is run again without the registry, and without anything.
        drop(registry);
        let last = epochs(&scene)?.to_string();
        let again = ["replay", "pipeline.toml", "--checkpoint", "0", "--to", &last, "--json"];
        let report = json(&scene, &again)?;
        ensure!(report["identical"] == true, "{report}");
        let bundle =
            ["bundle", "pipeline.toml", "--checkpoint", "0", "--to", &last, "-o", "a.bundle"];
        must(&scene, 0, &[], &bundle)?;
        let mut alone = without_network(lab.floe.clone());
        let out = alone.args(["replay", "a.bundle"]).current_dir(&scene.folder).output()?;
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        ensure!(out.status.success() && said.contains("identical ✓"), "{said}");

        // The same numbers, other schemas: somebody made the registry anew.
        let _liar = Registry::serve(lab, port, door, &["--changed"])?;
        let encoded = encoded.display().to_string();
        kafka(&scene, &["produce", "--rate", "1000000", "--input", &encoded])?;
        let mut process = scene.start(&["run", "--until-end"])?;
        let ended = process.wait(PATIENCE)?;
        ensure!(ended == End::Code(4), "{ended:?}\n{}", process.last_words());
        ensure!(process.said().contains("is another text"), "{}", process.last_words());
        scene.done();
        Ok(())
    });
}
