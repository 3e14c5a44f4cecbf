//! The real components of the tests: started side by side on free ports, ended when dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::build::{is_ci, root, target};
use crate::children;

/// What runs, and the variables that tell the tests where.
#[derive(Default)]
pub(crate) struct Components {
    running: Vec<Running>,
    variables: Vec<(&'static str, String)>,
}

struct Running {
    script: &'static str,
    variables: Vec<(&'static str, String)>,
    /// Removed when it has stopped.
    state: PathBuf,
}

impl Components {
    pub(crate) fn start() -> Result<Components> {
        let mut all = Components::default();
        let parts: [fn() -> Result<Components>; 4] = [kafka, s3_and_rest, postgres, python];
        let started = thread::scope(|scope| {
            let threads = parts.map(|start| scope.spawn(start));
            threads.map(|it| it.join().expect("starting a component does not panic"))
        });
        let mut failed = Vec::new();
        for part in started {
            match part {
                Ok(part) => all.add(part),
                Err(error) => failed.push(format!("{error:#}")),
            }
        }
        all.judge(failed)
    }

    pub(crate) fn kafka_only() -> Result<Components> {
        kafka()
    }

    /// On a laptop a missing component is said; in CI it is an error.
    fn judge(self, failed: Vec<String>) -> Result<Components> {
        if is_ci() && !failed.is_empty() {
            bail!("components are missing:\n{}", failed.join("\n"));
        }
        for line in failed {
            println!("missing {line}\n        its tests are skipped");
        }
        Ok(self)
    }

    fn add(&mut self, mut part: Components) {
        self.running.append(&mut part.running);
        self.variables.append(&mut part.variables);
    }

    pub(crate) fn export(&self, command: &mut Command) {
        for (name, value) in &self.variables {
            command.env(name, value);
        }
    }
}

impl Drop for Components {
    fn drop(&mut self) {
        for it in self.running.drain(..).rev() {
            it.stop();
        }
    }
}

impl Running {
    fn stop(&self) {
        let mut stop = script(self.script);
        stop.arg("stop").envs(self.variables.iter().cloned()).stdout(Stdio::null());
        match stop.status() {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("xtask: {} stop: {status}", self.script),
            Err(error) => eprintln!("xtask: {} stop: {error}", self.script),
        }
        if let Err(error) = std::fs::remove_dir_all(&self.state) {
            eprintln!("xtask: {} stays: {error}", self.state.display());
        }
    }
}

fn kafka() -> Result<Components> {
    need("Kafka", &["java", "mvn"])?;
    // The controller takes the next one, and the listener that asks for passwords the one behind it.
    let port = free_ports(3)?;
    let with_passwords = port + 2;
    let state = state("kafka")?;
    let running = start("kafka.sh", state, |state| {
        vec![
            ("KAFKA_PORT", port.to_string()),
            ("KAFKA_SASL_PORT", with_passwords.to_string()),
            ("KAFKA_STATE", state),
        ]
    })?;
    let variables = vec![
        ("FLOE_TEST_KAFKA", format!("127.0.0.1:{port}")),
        ("FLOE_TEST_KAFKA_SASL", format!("127.0.0.1:{with_passwords}")),
    ];
    Ok(Components { running: vec![running], variables })
}

fn s3_and_rest() -> Result<Components> {
    need("S3 and the REST catalog", &["go", "java", "javac", "mvn", "curl"])?;
    let port = free_ports(1)?;
    let endpoint = format!("http://127.0.0.1:{port}");
    // Under target and not in a temporary folder: it must take extended attributes.
    let s3_state = state("s3")?;
    let data = s3_state.join("data");
    let s3 =
        start("s3.sh", s3_state, |state| vec![("S3_PORT", port.to_string()), ("S3_STATE", state)])?;
    let mut all = Components {
        running: vec![s3],
        variables: vec![
            ("FLOE_TEST_S3", endpoint.clone()),
            // Tests watch it for objects that appear.
            ("FLOE_TEST_S3_FOLDER", data.display().to_string()),
        ],
    };
    let port = free_ports(1)?;
    let rest = start("rest-catalog.sh", state("rest")?, |state| {
        vec![
            ("REST_PORT", port.to_string()),
            ("REST_STATE", state),
            ("REST_WAREHOUSE", "s3://lake/warehouse".to_owned()),
            ("REST_S3_ENDPOINT", endpoint),
        ]
    })?;
    all.running.push(rest);
    all.variables.push(("FLOE_TEST_REST", format!("http://127.0.0.1:{port}")));
    Ok(all)
}

fn postgres() -> Result<Components> {
    // The script would install it; that is CI's to ask for.
    if !is_ci() && !Path::new("/usr/lib/postgresql").exists() {
        bail!("Postgres: not installed (apt-get install postgresql)");
    }
    let port = free_ports(1)?;
    // In the temporary folder: Postgres runs as another user when we are root, who cannot enter a home.
    let state = std::env::temp_dir().join(format!("floe-xtask-postgres-{}", std::process::id()));
    std::fs::create_dir_all(&state).with_context(|| format!("make {}", state.display()))?;
    let running = start("postgres.sh", state, |state| {
        vec![("PG_PORT", port.to_string()), ("PG_STATE", state)]
    })?;
    let uri = format!("postgres://ice:ice@127.0.0.1:{port}/iceberg");
    Ok(Components { running: vec![running], variables: vec![("FLOE_TEST_POSTGRES", uri)] })
}

fn python() -> Result<Components> {
    need("Python with the readers", &["python3"])?;
    let interpreter =
        children::output(&mut script("python.sh")).context("Python with the readers")?;
    let variables = vec![("FLOE_TEST_PYTHON", interpreter.trim().to_owned())];
    Ok(Components { running: Vec::new(), variables })
}

fn start(
    name: &'static str,
    state: PathBuf,
    variables: impl FnOnce(String) -> Vec<(&'static str, String)>,
) -> Result<Running> {
    let variables = variables(state.display().to_string());
    let running = Running { script: name, variables, state };
    let mut command = script(name);
    command.arg("start").envs(running.variables.iter().cloned());
    // A server keeps what it inherits: were it our stdout, whoever reads us would wait for it.
    let said = running.state.join("start.log");
    let log = std::fs::File::create(&said).with_context(|| format!("make {}", said.display()))?;
    command.stdout(log.try_clone()?).stderr(log);
    let status = command.status().with_context(|| format!("start {name}"))?;
    let text = std::fs::read_to_string(&said).unwrap_or_default();
    if !status.success() {
        let last: Vec<&str> = text.lines().rev().take(5).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        running.stop();
        bail!("{name} start: {status}\n{last}");
    }
    println!("{}", text.lines().last().unwrap_or(name));
    Ok(running)
}

fn script(name: &str) -> Command {
    let mut command = Command::new("bash");
    command.arg(root().join("tests/components").join(name)).stdin(Stdio::null());
    command
}

fn state(name: &str) -> Result<PathBuf> {
    let folder = target().join("components").join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

fn need(what: &str, programs: &[&str]) -> Result<()> {
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| !folders.iter().any(|it| it.join(program).exists()))
        .collect();
    if !missing.is_empty() {
        bail!("{what}: no {} here", missing.join(", no "));
    }
    Ok(())
}

/// A free port with so many free ones from it on. Somebody may take it before the component does: then
/// that start fails and says so.
fn free_ports(count: u16) -> Result<u16> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
        let port = first.local_addr()?.port();
        let next = (1..count).map(|it| TcpListener::bind(("127.0.0.1", port.saturating_add(it))));
        // All are held until all are found.
        if next.collect::<Result<Vec<_>, _>>().is_ok() {
            return Ok(port);
        }
    }
    bail!("no {count} free ports side by side")
}

/// `components start|stop`: the same ports each time, for trying things by hand.
pub(crate) fn command(verb: &str) -> Result<()> {
    if !["start", "stop"].contains(&verb) {
        bail!("components takes start or stop, not {verb:?}");
    }
    // S3 before the catalog that keeps its tables there; the other way round at the end.
    let mut scripts = ["kafka.sh", "s3.sh", "rest-catalog.sh", "postgres.sh"];
    if verb == "stop" {
        scripts.reverse();
    }
    let mut failed = Vec::new();
    for name in scripts {
        let mut command = script(name);
        command.arg(verb).env("REST_WAREHOUSE", "s3://lake/warehouse");
        if let Err(error) = children::run(&mut command) {
            failed.push(format!("{error:#}"));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    if verb == "start" {
        println!(
            "\nexport FLOE_KAFKA=127.0.0.1:19092 CATALOG_URI=http://127.0.0.1:18181\n\
             export S3_ENDPOINT=http://127.0.0.1:19000 S3_KEY=test S3_SECRET=testtest"
        );
    }
    Ok(())
}
