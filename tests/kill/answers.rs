//! Answers that are lost, late or untrue, between floe, the REST catalog and S3: one snapshot of each epoch (S4),
//! and the rows are exact.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floe_tests::proxy::{Exchange, Fault, Proxy, Rule, Storm};

use crate::lab::{Lab, Random, check, number, variable};
use crate::process::{End, PATIENCE, Process};
use crate::scene::{Place, Scene};

/// A scene whose floe reaches the catalog and the store through proxies.
pub(crate) struct Proxied<'a> {
    pub(crate) scene: Scene<'a>,
    pub(crate) rest: Proxy,
    pub(crate) s3: Proxy,
}

impl<'a> Proxied<'a> {
    pub(crate) fn new(lab: &'a Lab, name: &str, place: Place) -> Result<Proxied<'a>> {
        let rest = Proxy::start(&variable("FLOE_TEST_REST")?)?;
        let s3 = Proxy::start(&variable("FLOE_TEST_S3")?)?;
        let mut scene = Scene::new(lab, name, place)?;
        scene.settings.rest = Some(rest.url());
        scene.settings.s3 = Some(s3.url());
        scene.settings.interval = "100ms";
        Ok(Proxied { scene, rest, s3 })
    }

    /// Commits go on until each fault has met one; then the process is killed.
    pub(crate) fn meet_each(&self, faults: &[Fault]) -> Result<()> {
        for fault in faults {
            self.rest.add(Rule { skip: 1, ..Rule::once("POST", &self.table(), *fault) });
        }
        let feed = self.scene.feed_endlessly(2_000)?;
        let mut process = self.scene.start(&["run"])?;
        process.until("each fault meets a commit", || {
            let seen = self.rest.seen();
            Ok(faults.iter().all(|fault| seen.iter().any(|it| it.fault == Some(*fault))))
        })?;
        ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
        feed.stop()?;
        Ok(())
    }

    /// No fault any more: the rest is read, and everything is right.
    pub(crate) fn finish(self) -> Result<usize> {
        self.rest.calm();
        self.s3.calm();
        self.scene.run_until_end().context("the run after the faults")?;
        let epochs = self.scene.committed_epochs()?;
        let compared = self.scene.compare(&[])?;
        ensure!(compared.snapshots == epochs.len() as u64, "{} snapshots", compared.snapshots);
        self.scene.done();
        Ok(epochs.len())
    }

    /// The table's address as commits name it.
    pub(crate) fn table(&self) -> String {
        format!("namespaces/{}/tables/payments", self.scene.namespace())
    }
}

/// So many commits of the table reached the catalog and were done.
fn applied(proxy: &Proxy, fault: impl Fn(&Exchange) -> bool) -> usize {
    proxy.seen().iter().filter(|it| it.method == "POST" && it.is_applied() && fault(it)).count()
}

/// Of a commit. Each once, with a good one, or a good attempt, before it.
const OF_A_COMMIT: &[Fault] = &[
    Fault::AnswerCut,
    Fault::HalfAnswer,
    Fault::AppliedAndAnswered(409),
    Fault::AppliedAndAnswered(500),
    Fault::AppliedAndAnswered(503),
    Fault::AppliedAndAnswered(504),
    Fault::CutBefore,
    Fault::AnsweredInstead(409),
    Fault::AnsweredInstead(429),
    Fault::AnsweredInstead(500),
    Fault::AnsweredInstead(502),
    Fault::AnsweredInstead(503),
    Fault::Twice,
    // It lands while the next attempt is on its way, and long after that one.
    Fault::Late(Duration::from_millis(60)),
    Fault::Late(Duration::from_millis(1500)),
    Fault::Slow(Duration::from_millis(700)),
];

#[test]
fn a_commits_answer_lost_makes_one_snapshot() {
    check("answers::a_commits_answer", Place::Rest.needs(), |lab| {
        let it = Proxied::new(lab, "commit-answers", Place::Rest)?;
        it.scene.make_input(24_000, 41)?;
        it.scene.write_pipeline()?;
        it.meet_each(OF_A_COMMIT)?;
        let lost = applied(&it.rest, |it| it.fault.is_some());
        ensure!(lost >= 9, "{lost} commits were applied of which floe did not learn at once");
        let epochs = it.finish()?;
        println!("{} faults of commits, {epochs} epochs, each one snapshot", OF_A_COMMIT.len());
        Ok(())
    });
}

/// The first process's commit is on its way when a successor commits the same epoch.
enum Race {
    /// The first is killed, and its request lands so much later.
    LandsAfter(Duration),
    /// Both requests reach the catalog in the same moment, from two processes that both live.
    AtOnce,
}

#[test]
fn a_second_committer_of_an_epoch_makes_one_snapshot() {
    let after = |ms| Race::LandsAfter(Duration::from_millis(ms));
    let races = [
        ("before-its-successor", after(100)),
        ("while-it-commits", after(400)),
        ("long-after-it", after(3_000)),
        ("at-once", Race::AtOnce),
    ];
    check("answers::a_second_committer", Place::Rest.needs(), |lab| {
        for (name, race) in &races {
            second_committer(lab, name, race).with_context(|| format!("landing {name}"))?;
        }
        Ok(())
    });
}

fn second_committer(lab: &Lab, name: &str, race: &Race) -> Result<()> {
    let it = Proxied::new(lab, &format!("second-{name}"), Place::Rest)?;
    it.scene.make_input(16_000, 42)?;
    it.scene.write_pipeline()?;
    let feed = it.scene.feed_endlessly(2_000)?;
    let (fault, times) = match race {
        Race::LandsAfter(time) => (Fault::Late(*time), 1),
        Race::AtOnce => (Fault::Meet, 2),
    };
    // Not the creation of the table, and not its first commit.
    it.rest.add(Rule { skip: 1, times, ..Rule::once("POST", &it.table(), fault) });
    let mut first = it.scene.start(&["run"])?;
    let posts = |proxy: &Proxy| {
        let seen = proxy.seen();
        seen.iter().filter(|it| it.method == "POST" && it.path.contains("/tables/payments")).count()
    };
    first.until("a commit", || Ok(posts(&it.rest) >= 1))?;
    match race {
        Race::LandsAfter(_) => {
            // The request is at the proxy, which notes it when it lands: what shows is that floe asks no more.
            first.until("the next commit is sent", || Ok(it.rest.held() > 0))?;
            ensure!(first.kill()?, "it ended by itself\n{}", first.last_words());
        }
        Race::AtOnce => first.until("the next commit is sent", || Ok(it.rest.held() > 0))?,
    }
    let mut second = it.scene.start(&["run", "--take-over"])?;
    second.until("the commits land", || {
        let seen = it.rest.seen();
        Ok(seen.iter().filter(|it| it.fault == Some(fault)).count() == times)
    })?;
    if matches!(race, Race::AtOnce) {
        let end = first.wait(PATIENCE)?;
        ensure!(end == End::Code(3), "the first ended with {end:?}\n{}", first.last_words());
        let both: Vec<Exchange> =
            it.rest.seen().into_iter().filter(|it| it.fault == Some(fault)).collect();
        ensure!(both.iter().filter(|it| it.is_applied()).count() == 1, "{both:?}");
    }
    ensure!(second.kill()?, "it ended by itself\n{}", second.last_words());
    feed.stop()?;
    it.finish()?;
    Ok(())
}

/// Faults of every kind on every request to both servers, processes that are killed on top of that, and a
/// supervisor that starts them again.
#[test]
fn a_storm_of_faults_loses_nothing() {
    check("answers::a_storm", Place::Rest.needs(), |lab| {
        let mut random = Random::from_environment();
        let seed = random.0;
        println!("answers::a_storm: FLOE_KILL_SEED={seed}");
        let kills = number("FLOE_KILL_KILLS", 6);
        let records = number("FLOE_KILL_RECORDS", 30_000);
        let it = Proxied::new(lab, "storm", Place::Rest)?;
        it.scene.make_input(records, seed)?;
        it.scene.write_pipeline()?;
        let feed = it.scene.feed_endlessly(records / (kills + 1))?;
        it.rest.storm(Storm::new(seed, 120));
        it.s3.storm(Storm::new(seed ^ 1, 40));
        let faults = |proxy: &Proxy| proxy.seen().iter().filter(|it| it.fault.is_some()).count();
        let mut starts = 0;
        for number in 1..=kills {
            let life = Duration::from_millis(300 + random.below(2_000));
            let mut supervisor = Supervisor::start(&it.scene)?;
            let begin = Instant::now();
            // It lives on until the storm has struck each server once more.
            let is_struck = |proxy| faults(proxy) as u64 >= number;
            let lived = supervisor.until(life + PATIENCE, || {
                Ok(begin.elapsed() >= life && is_struck(&it.rest) && is_struck(&it.s3))
            });
            lived.with_context(|| format!("seed {seed}"))?;
            starts += supervisor.kill()?;
        }
        let records = feed.stop()?;
        let (of_rest, of_s3) = (faults(&it.rest), faults(&it.s3));
        let epochs = it.finish().with_context(|| format!("seed {seed}"))?;
        println!(
            "{records} records, {kills} kills, {starts} starts, {of_rest} faults of the catalog, {of_s3} of S3, {epochs} epochs"
        );
        Ok(())
    });
}

/// Starts floe again whenever it ends with what may be started again, and counts.
pub(crate) struct Supervisor<'a> {
    scene: &'a Scene<'a>,
    pub(crate) process: Process,
    pub(crate) starts: u32,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn start(scene: &'a Scene<'a>) -> Result<Supervisor<'a>> {
        Ok(Supervisor { scene, process: scene.start(&["run"])?, starts: 1 })
    }

    /// Until it has come; an error when it does not within the limit.
    pub(crate) fn until(
        &mut self,
        limit: Duration,
        mut come: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let begin = Instant::now();
        while !come()? {
            ensure!(begin.elapsed() < limit, "it does not come\n{}", self.process.last_words());
            if self.process.has_ended()? {
                let ended = self.process.wait(PATIENCE)?;
                let said = self.process.last_words();
                ensure!(ended == End::Code(1), "it ended with {ended:?}\n{said}");
                ensure!(!said.contains("panicked"), "{said}");
                self.process = self.scene.start(&["run"])?;
                self.starts += 1;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Until no commit has come for so long; an error when they go on.
    pub(crate) fn until_quiet(
        &mut self,
        time: Duration,
        mut meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let scene = self.scene;
        let (mut commits, mut since) = (scene.commits()?, Instant::now());
        self.until(PATIENCE, || {
            meanwhile()?;
            let now = scene.commits()?;
            if now != commits {
                (commits, since) = (now, Instant::now());
            }
            Ok(since.elapsed() >= time)
        })
        .context("commits go on")
    }

    pub(crate) fn for_a_time(&mut self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        self.until(time + PATIENCE, || Ok(begin.elapsed() >= time))
    }

    /// SIGKILL; gives the number of starts.
    pub(crate) fn kill(mut self) -> Result<u32> {
        self.process.kill()?;
        Ok(self.starts)
    }
}
