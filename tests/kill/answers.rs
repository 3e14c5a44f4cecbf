//! Answers that are lost, late or untrue, between floe, the REST catalog and S3: one snapshot of each epoch (S4),
//! and the rows are exact.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floe_tests::proxy::{Exchange, Fault, Proxy, Rule, Storm};

use crate::lab::{Lab, Random, check, number, variable, wait_for};
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
        for fault in OF_A_COMMIT {
            it.rest.add(Rule { skip: 1, ..Rule::once("POST", &it.table(), *fault) });
        }
        // Records for so long that every fault meets a commit of its own.
        let feed = it.scene.feed_all(2_000)?;
        let mut process = it.scene.start(&["run"])?;
        let all_were = wait_for(PATIENCE, || {
            ensure!(!process.has_ended()?, "it ended by itself\n{}", process.last_words());
            let seen = it.rest.seen();
            Ok(OF_A_COMMIT.iter().all(|fault| seen.iter().any(|it| it.fault == Some(*fault))))
        })?;
        ensure!(all_were, "a fault was not met: {:?}", it.rest.seen());
        ensure!(process.kill()?, "it ended by itself\n{}", process.last_words());
        feed.finish()?;
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
    // More than what is read until the commit that is meant, however slowly the process starts.
    it.scene.make_input(16_000, 42)?;
    it.scene.write_pipeline()?;
    let feed = it.scene.feed_all(2_000)?;
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
    wait(&mut first, || Ok(posts(&it.rest) >= 1))?;
    match race {
        Race::LandsAfter(_) => {
            // The request is at the proxy, which notes it when it lands: what shows is that floe asks no more.
            wait(&mut first, || Ok(first_is_sent(&it.rest)))?;
            ensure!(first.kill()?, "it ended by itself\n{}", first.last_words());
        }
        Race::AtOnce => wait(&mut first, || Ok(first_is_sent(&it.rest)))?,
    }
    let mut second = it.scene.start(&["run", "--take-over"])?;
    let landed = wait_for(PATIENCE, || {
        ensure!(!second.has_ended()?, "it ended by itself\n{}", second.last_words());
        let seen = it.rest.seen();
        Ok(seen.iter().filter(|it| it.fault == Some(fault)).count() == times)
    })?;
    ensure!(landed, "it was not met: {:?}", it.rest.seen());
    if matches!(race, Race::AtOnce) {
        let end = first.wait(PATIENCE)?;
        ensure!(end == End::Code(3), "the first ended with {end:?}\n{}", first.last_words());
        let both: Vec<Exchange> =
            it.rest.seen().into_iter().filter(|it| it.fault == Some(fault)).collect();
        ensure!(both.iter().filter(|it| it.is_applied()).count() == 1, "{both:?}");
    }
    ensure!(second.kill()?, "it ended by itself\n{}", second.last_words());
    feed.finish()?;
    it.finish()?;
    Ok(())
}

/// The commit with the fault is at the proxy.
fn first_is_sent(proxy: &Proxy) -> bool {
    proxy.held() > 0
}

fn wait(process: &mut Process, mut come: impl FnMut() -> Result<bool>) -> Result<()> {
    let there = wait_for(PATIENCE, || {
        ensure!(!process.has_ended()?, "it ended by itself\n{}", process.last_words());
        come()
    })?;
    ensure!(there, "it does not come\n{}", process.last_words());
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
        let share = records / (kills + 1);
        let mut feed = it.scene.feed(share)?;
        it.rest.storm(Storm::new(seed, 120));
        it.s3.storm(Storm::new(seed ^ 1, 40));
        let mut starts = 0;
        for number in 1..=kills {
            feed.allow(number * share)?;
            let life = Duration::from_millis(300 + random.below(2_000));
            let mut supervisor = Supervisor::start(&it.scene)?;
            supervisor.for_a_time(life).with_context(|| format!("seed {seed}"))?;
            starts += supervisor.kill()?;
        }
        feed.finish()?;
        let faults = |proxy: &Proxy| proxy.seen().iter().filter(|it| it.fault.is_some()).count();
        let (of_rest, of_s3) = (faults(&it.rest), faults(&it.s3));
        ensure!(of_rest > 5 && of_s3 > 5, "{of_rest} and {of_s3} faults are no storm");
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
