//! Captures of changes, by each method: what they leave out is as it was, and what they hold is little.

use std::process::Command;

use floe_core::image::{Capture, MemoryImage, PAGE_BYTES};
use floe_core::ports::{Operator, OperatorFactory};
use floe_core::{EventTime, TopicPartition};

use super::wat_module::{batch, limits, module};
use crate::{DirtyPages, Engine, Factory, Limits};

/// Each row is an order: a byte above an address to store it there, or how many pages to grow by, negative.
const ORDERS: &str = r#"
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $row) (local.get $rows)))
      (call $obey (i64.load (i32.add (local.get $data) (i32.shl (local.get $row) (i32.const 3)))))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br $next)))"#;
const OBEY: &str = r#"
  (func $obey (param $order i64)
    (if (i64.lt_s (local.get $order) (i64.const 0))
      (then (drop (memory.grow (i32.wrap_i64 (i64.sub (i64.const 0) (local.get $order))))))
      (else (i64.store8 (i32.wrap_i64 (local.get $order)) (i64.shr_u (local.get $order) (i64.const 32))))))"#;

/// Behind the region, which begins at 0x20000 and has 64 KiB.
const FREE: u64 = 0x40000;

fn order(address: u64, byte: u8) -> i64 {
    (u64::from(byte) << 32 | address) as i64
}

fn task() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// The factory of each method that works here. Where it must work, it is an error if it does not.
#[expect(
    clippy::disallowed_methods,
    reason = "whether a test may be skipped is no result of a guest"
)]
fn factories() -> Vec<(String, Factory)> {
    let methods = [DirtyPages::Userfaultfd, DirtyPages::PageHashes];
    let engines = methods.map(|it| Engine::with_dirty_pages(None, it));
    let must = std::env::var_os("CI").is_some();
    engines
        .into_iter()
        .filter_map(|engine| match engine {
            Ok(engine) => {
                let text = module(ORDERS, OBEY);
                let limits = Limits { memory_bytes: 64 << 20, ..limits() };
                let module = engine.load("test.wat", text.as_bytes(), &limits).unwrap();
                let factory = Factory::new("orders", module, "{}".into(), limits);
                Some((engine.dirty_pages(), factory))
            }
            Err(error) if must => panic!("{error}"),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        })
        .collect()
}

fn obey(operator: &mut Box<dyn Operator>, orders: &[i64]) {
    operator.process(&batch(orders), EventTime(7)).unwrap();
}

/// What a checkpoint would hold.
#[derive(Default)]
struct Kept(Vec<u8>);

impl Kept {
    fn take(&mut self, operator: &mut Box<dyn Operator>) -> MemoryImage {
        let image = operator.capture(Capture::Changes).unwrap().memory;
        if image.whole {
            self.0.clear();
        }
        self.0.resize(image.bytes as usize, 0);
        for (page, content) in image.pages() {
            self.0[page as usize * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(content);
        }
        assert!(image.runs.is_sorted_by_key(|it| it.first_page));
        self.check(operator);
        image
    }

    fn check(&self, operator: &mut Box<dyn Operator>) {
        let whole = operator.capture(Capture::Whole).unwrap().memory;
        assert!(whole.whole);
        assert!(whole.to_vec() == self.0, "the changes do not add up to the memory");
    }
}

fn pages(image: &MemoryImage) -> Vec<u32> {
    image.pages().filter(|(page, _)| u64::from(*page) >= FREE / 4096).map(|it| it.0).collect()
}

#[test]
fn changes_add_up_whatever_the_guest_does() {
    for (method, factory) in factories() {
        let mut operator = factory.open(&task(), 1).unwrap();
        let mut kept = Kept::default();
        let mut random = 7u64;
        let mut next = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        obey(&mut operator, &[-20]);
        for round in 0..60 {
            let size = operator.memory_bytes();
            let mut orders: Vec<i64> =
                (0..next(60)).map(|_| order(FREE + next(size - FREE), next(3) as u8)).collect();
            if next(4) == 0 {
                orders.push(-(next(5) as i64 + 1));
            }
            // Written at once, before any further barrier.
            orders.push(order(size - 1, round as u8));
            obey(&mut operator, &orders);
            match next(6) {
                // An image that no checkpoint holds disturbs nothing.
                0 => drop(operator.capture(Capture::Whole).unwrap()),
                // As after a poisoned record.
                1 => {
                    let image = operator.capture(Capture::Whole).unwrap();
                    operator = factory.restore(&task(), &image).unwrap();
                    operator.forget_captures();
                    obey(&mut operator, &orders);
                }
                // As after a crash: the checkpoint's image, and the epoch's input again.
                2 => {
                    let image = operator.capture(Capture::Whole).unwrap();
                    kept.take(&mut operator);
                    operator = factory.restore(&task(), &image).unwrap();
                    obey(&mut operator, &orders);
                }
                _ => {}
            }
            let image = kept.take(&mut operator);
            assert!(image.held_bytes() <= image.bytes, "{method}");
        }
    }
}

#[test]
fn a_capture_holds_what_was_written_and_no_more() {
    for (method, factory) in factories() {
        let mut operator = factory.open(&task(), 1).unwrap();
        let mut kept = Kept::default();
        obey(&mut operator, &[-100, order(FREE, 1), order(FREE + 50 * 4096, 2)]);
        let first = kept.take(&mut operator);
        assert!(first.whole, "{method}");
        assert_eq!(pages(&first), [64, 114], "{method}: untouched pages cost nothing");
        obey(
            &mut operator,
            &[order(FREE + 4096, 3), order(FREE + 50 * 4096, 0), order(FREE + 90 * 4096, 7)],
        );
        let second = kept.take(&mut operator);
        assert!(!second.whole, "{method}");
        assert_eq!(pages(&second), [65, 114, 154], "{method}: one of them is zeros now");
        let third = kept.take(&mut operator);
        assert_eq!(pages(&third), [0; 0], "{method}");
    }
}

/// Growth is known before the guest can use it: the same call grows and writes.
#[test]
fn memory_that_grows_counts_from_its_first_byte() {
    for (method, factory) in factories() {
        let mut operator = factory.open(&task(), 1).unwrap();
        let mut kept = Kept::default();
        kept.take(&mut operator);
        for _ in 0..10 {
            let size = operator.memory_bytes();
            obey(&mut operator, &[-3, order(size, 5), order(size + 2 * 65_536 + 9, 6)]);
            let image = kept.take(&mut operator);
            assert!(!image.whole, "{method}");
            let grown: Vec<u32> =
                pages(&image).into_iter().filter(|it| *it >= (size / 4096) as u32).collect();
            // The method that compares has nothing to compare new pages with.
            match method.as_str() {
                "userfaultfd" => {
                    assert_eq!(grown, [(size / 4096) as u32, (size / 4096) as u32 + 32])
                }
                _ => assert_eq!(grown.len(), 48),
            }
        }
    }
}

/// The host's own writes: the batch in the input region, and what it takes out again before the capture.
#[test]
fn what_the_host_writes_counts() {
    for (method, factory) in factories() {
        let mut operator = factory.open(&task(), 1).unwrap();
        let mut kept = Kept::default();
        kept.take(&mut operator);
        // A guest that scribbles into its region behind the batch; the host zeroes it before the capture.
        obey(&mut operator, &[order(0x2_8000, 9); 900]);
        kept.take(&mut operator);
        obey(&mut operator, &[order(FREE - 65_536, 1); 3]);
        let image = kept.take(&mut operator);
        let in_region: Vec<&[u8]> =
            image.pages().filter(|(page, _)| (0x20..0x30).contains(page)).map(|it| it.1).collect();
        if method == "userfaultfd" {
            assert!(!in_region.is_empty(), "{method}: the batch was written by the host");
        }
        assert!(in_region.iter().all(|page| page.iter().all(|it| *it == 0)), "{method}: A13");
    }
}

#[test]
fn tracking_goes_on_from_a_restored_image() {
    for (method, factory) in factories() {
        let mut first = factory.open(&task(), 1).unwrap();
        let mut kept = Kept::default();
        obey(&mut first, &[-40, order(FREE, 1), order(FREE + 3 * 4096, 2)]);
        kept.take(&mut first);
        let image = first.capture(Capture::Whole).unwrap();
        drop(first);
        let mut second = factory.restore(&task(), &image).unwrap();
        obey(&mut second, &[order(FREE + 9 * 4096, 4)]);
        let changes = kept.take(&mut second);
        assert!(!changes.whole, "{method}");
        assert_eq!(pages(&changes), [73], "{method}: the restored pages are known");
        second.forget_captures();
        assert!(kept.take(&mut second).whole, "{method}: no checkpoint holds what it came from");
    }
}

#[test]
fn what_is_asked_for_by_name_is_what_runs() {
    let hashes = Engine::with_dirty_pages(None, DirtyPages::PageHashes).unwrap();
    assert_eq!(hashes.dirty_pages(), "page-hashes");
    let auto = Engine::with_dirty_pages(None, DirtyPages::Auto).unwrap();
    match Engine::with_dirty_pages(None, DirtyPages::Userfaultfd) {
        Ok(asked) => assert_eq!(
            (asked.dirty_pages(), auto.dirty_pages()),
            ("userfaultfd".into(), "userfaultfd".into())
        ),
        Err(error) => {
            assert!(error.message.contains("dirty-pages = \"auto\""), "{error}");
            assert!(auto.dirty_pages().starts_with("page-hashes ("));
        }
    }
}

/// A user who is not root may open userfaultfd for faults of user mode only, and that is enough.
#[test]
fn root_is_not_needed() {
    let itself = std::env::current_exe().unwrap();
    let run = |user: &str| {
        Command::new("setpriv")
            .args(["--reuid", user, "--clear-groups"])
            .arg(&itself)
            .arg("--exact")
            .arg("tests::dirty::what_is_asked_for_by_name_is_what_runs")
            .arg("tests::dirty::a_capture_holds_what_was_written_and_no_more")
            .env("CI", "true")
            .output()
    };
    // SAFETY: the call takes and returns numbers.
    let root = unsafe { libc::geteuid() } == 0;
    let works = Engine::with_dirty_pages(None, DirtyPages::Userfaultfd).is_ok();
    let may = Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups"])
        .arg(&itself)
        .arg("--list")
        .output();
    if !root || !works || !may.is_ok_and(|it| it.status.success()) {
        eprintln!("skipped: this is not root, or it can't run a program as somebody else");
        return;
    }
    let done = run("65534").unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}
