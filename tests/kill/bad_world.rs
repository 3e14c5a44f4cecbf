//! A world that is not there, or full: said within bounds, and nothing is lost when it is back.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::answers::Supervisor;
use crate::lab::check;
use crate::process::{End, PATIENCE};
use crate::scene::{Place, Scene};

/// An address where nobody listens.
fn nobody() -> Result<String> {
    let port = TcpListener::bind("127.0.0.1:0").context("find a free port")?.local_addr()?.port();
    Ok(format!("127.0.0.1:{port}"))
}

fn unreachable(name: &str, what: &str, change: fn(&mut Scene<'_>, &str)) {
    check(&format!("bad_world::{name}"), &[], |lab| {
        let address = nobody()?;
        let mut scene = Scene::new(lab, name, Place::Local)?;
        scene.make_input(50, 1)?;
        scene.feed(1)?.finish()?;
        change(&mut scene, &address);
        scene.write_pipeline()?;
        for verb in [&["check"][..], &["run", "--until-end"]] {
            let mut process = scene.start(verb)?;
            let end = process.wait(PATIENCE)?;
            let said = process.said();
            ensure!(end == End::Code(1), "floe {} ended with {end:?}\n{said}", verb[0]);
            for word in [what, &address] {
                ensure!(
                    said.contains(word),
                    "{word:?} is not in what floe {} said\n{said}",
                    verb[0]
                );
            }
            ensure!(!said.contains("panicked"), "{said}");
        }
        scene.done();
        Ok(())
    });
}

#[test]
fn an_unreachable_broker_is_named() {
    unreachable("an_unreachable_broker", "Kafka", |scene, address| {
        let lines = format!("kafka = \"payments\"\nbootstrap-servers = \"{address}\"");
        scene.settings.source = Some(lines);
    });
}

#[test]
fn an_unreachable_catalog_is_named() {
    unreachable("an_unreachable_catalog", "catalog", |scene, address| {
        let lines = format!("type = \"rest\"\nuri = \"http://{address}\"");
        scene.settings.catalog = Some(lines);
    });
}

#[test]
fn an_unreachable_store_is_named() {
    unreachable("an_unreachable_store", "store", |scene, address| {
        scene.settings.store = Some("s3://checkpoints/payments".to_owned());
        let lines = format!(
            r#"type = "sql"
uri = "sqlite://lake.db"
warehouse = "file://./lake"
"s3.endpoint" = "http://{address}"
"s3.region" = "us-east-1"
"s3.access-key-id" = "test"
"s3.secret-access-key" = "testtest"
"s3.path-style-access" = true"#
        );
        scene.settings.catalog = Some(lines);
    });
}

/// A limit on the length of files stands for a full disk: both make a write fail in its middle.
#[test]
fn a_full_disk_loses_nothing() {
    check("bad_world::a_full_disk", &[], |lab| {
        let mut scene = Scene::new(lab, "full-disk", Place::Local)?;
        scene.settings.interval = "40ms";
        scene.make_input(40_000, 31)?;
        scene.write_pipeline()?;
        let mut feed = scene.feed(20_000)?;
        feed.allow(20_000)?;
        // The module is compiled and kept, and there are checkpoints, before there is no room any more.
        let mut first = scene.start(&["run"])?;
        first.until_commits(1)?;
        ensure!(first.kill()?, "it ended by itself\n{}", first.last_words());
        feed.finish()?;
        // What is left goes into one epoch, which is longer than each limit.
        scene.settings.interval = "1h";
        scene.write_pipeline()?;
        for blocks in [400, 100, 32, 8] {
            let (end, said) = limited(&scene, blocks)?;
            ensure!(end == Some(1), "with {blocks} blocks it ended with {end:?}\n{said}");
            ensure!(said.contains("error:"), "{said}");
            ensure!(!said.contains("panicked"), "{said}");
        }
        scene.run_until_end()?;
        scene.compare(&[])?;
        scene.done();
        Ok(())
    });
}

/// `floe run` under a limit, in blocks of 512 bytes: its exit code, and what it said. SIGXFSZ is ignored, so
/// that the write fails as it does on a full disk.
fn limited(scene: &Scene<'_>, blocks: u32) -> Result<(Option<i32>, String)> {
    let (floe, _) = scene.floe(&["run", "--until-end"])?;
    let mut command = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(floe.get_program()).args(floe.get_args());
    // To pipes: a log file would be cut off too.
    let out = command.current_dir(&scene.folder).output().context("start sh")?;
    let said = [out.stdout, out.stderr].concat();
    Ok((out.status.code(), String::from_utf8_lossy(&said).into_owned()))
}

/// A disk that is really full: a small one in memory, where mounting is allowed.
#[test]
fn a_disk_without_room_loses_nothing() {
    check("bad_world::a_disk_without_room", &[], |lab| {
        for (name, folder) in [("full-store", "checkpoints"), ("full-lake", "lake")] {
            let mut scene = Scene::new(lab, name, Place::Local)?;
            let Some(disk) = Disk::mount(scene.folder.join(folder))? else {
                println!("skipped bad_world::a_disk_without_room: mounting is not allowed here");
                scene.done();
                return Ok(());
            };
            scene.settings.interval = "40ms";
            scene.settings.catalog = Some(
                "type = \"sql\"\nuri = \"sqlite://lake/lake.db\"\nwarehouse = \"file://./lake\""
                    .into(),
            );
            scene.make_input(30_000, 32)?;
            scene.write_pipeline()?;
            let feed = scene.feed_endlessly(6_000)?;
            let mut supervisor = Supervisor::start(&scene)?;
            for _ in 0..3 {
                let before = scene.commits()?;
                supervisor.until(PATIENCE, || Ok(scene.commits()? >= before + 2))?;
                // What a sweep deletes is taken as well. What is on its way may still come.
                supervisor.until_quiet(Duration::from_millis(500), || disk.fill())?;
                disk.make_room()?;
            }
            let before = scene.commits()?;
            supervisor.until(PATIENCE, || Ok(scene.commits()? > before))?;
            let starts = supervisor.kill()?;
            println!("{name}: full three times, {starts} starts");
            feed.stop()?;
            scene.run_until_end()?;
            let rows = scene.rows()?.len();
            // The readers know the catalog at its usual place.
            std::fs::copy(scene.folder.join("lake/lake.db"), scene.folder.join("lake.db"))?;
            let compared = scene.compare(&[])?;
            ensure!(compared.rows == rows as u64, "{rows} rows, and {} are right", compared.rows);
            drop(disk);
            scene.done();
        }
        Ok(())
    });
}

/// Some megabytes of memory as a disk. Unmounted when dropped.
struct Disk {
    at: PathBuf,
}

impl Disk {
    /// `None` where mounting is not allowed.
    fn mount(at: PathBuf) -> Result<Option<Disk>> {
        std::fs::create_dir_all(&at)?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&at);
        let out = command.output().context("start mount")?;
        Ok(out.status.success().then_some(Disk { at }))
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Writes until there is no room.
    fn fill(&self) -> Result<()> {
        let mut filler = File::options().create(true).append(true).open(self.filler())?;
        let block = [1_u8; 4096];
        loop {
            match filler.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("fill the disk"),
            }
        }
    }

    fn make_room(&self) -> Result<()> {
        std::fs::remove_file(self.filler()).context("make room")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that the test did not end may still have a file open there.
        match Command::new("umount").arg("--lazy").arg(&self.at).status() {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("umount {}: {status}", self.at.display()),
            Err(error) => eprintln!("umount {}: {error}", self.at.display()),
        }
    }
}
