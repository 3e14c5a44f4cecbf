//! The proxy itself, before a server that counts.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::proxy::http::{Request, Response};
use crate::proxy::{Fault, Proxy, Rule, Storm};

/// Answers 200 in two chunks, and counts what it was asked. It lives as long as the test's process.
fn counting_server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut client = client;
            let Ok(Some(request)) = Request::read(&mut reader) else { continue };
            assert!(request.bytes.ends_with(b"body"), "all of it comes");
            counted.fetch_add(1, Ordering::SeqCst);
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            client.write_all(format!("{head}3\r\nyes\r\n1\r\n!\r\n0\r\n\r\n").as_bytes()).unwrap();
        }
    });
    (address, count)
}

fn ask(proxy: &Proxy) -> Result<Response> {
    let bytes = b"PUT /a/thing HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody".to_vec();
    let request = Request { method: "PUT".to_owned(), path: "/a/thing".to_owned(), bytes };
    Response::of(proxy.url().trim_start_matches("http://").parse()?, &request)
}

#[test]
fn each_fault_is_what_it_is_called() {
    let late = Duration::from_millis(50);
    // What the client sees: a status, 0 for a broken connection. How often it was done, at the end.
    let cases = [
        (Fault::CutBefore, 0, 0),
        (Fault::AnsweredInstead(503), 503, 0),
        (Fault::AnswerCut, 0, 1),
        (Fault::HalfAnswer, 0, 1),
        (Fault::AppliedAndAnswered(409), 409, 1),
        (Fault::Late(late), 0, 1),
        (Fault::Slow(late), 200, 1),
        (Fault::Twice, 200, 2),
    ];
    for (fault, seen, done) in cases {
        let (server, count) = counting_server();
        let proxy = Proxy::start(&server).unwrap();
        proxy.add(Rule { skip: 1, ..Rule::once("PUT", "/a/", fault) });
        assert_eq!(ask(&proxy).unwrap().body().unwrap(), b"yes!", "{fault:?}: the one before");
        assert_eq!(count.swap(0, Ordering::SeqCst), 1);
        let begin = Instant::now();
        let status = ask(&proxy).map_or(0, |it| it.status);
        assert_eq!(status, seen, "{fault:?}");
        if fault == Fault::Slow(late) {
            assert!(begin.elapsed() >= late);
        }
        if fault == Fault::Late(late) {
            assert_eq!(count.load(Ordering::SeqCst), 0, "not yet");
        }
        while proxy.seen().len() < 1 + done.max(1) {
            assert!(begin.elapsed() < Duration::from_secs(20), "{fault:?}: {:?}", proxy.seen());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(count.swap(0, Ordering::SeqCst), done, "{fault:?}");
        let applied = proxy.seen().iter().skip(1).filter(|it| it.is_applied()).count();
        assert_eq!(applied, done, "{fault:?}");
        assert_eq!(ask(&proxy).unwrap().status, 200, "{fault:?}: the one after");
    }
}

#[test]
fn two_that_meet_are_done_together() {
    let (server, count) = counting_server();
    let proxy = Proxy::start(&server).unwrap();
    proxy.add(Rule { times: 2, ..Rule::once("PUT", "", Fault::Meet) });
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ask(&proxy).unwrap().status);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(count.load(Ordering::SeqCst), 0, "the first one waits");
        assert_eq!(ask(&proxy).unwrap().status, 200);
        assert_eq!(first.join().unwrap(), 200);
    });
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn a_server_that_is_down_comes_back_at_its_address() {
    let check = || -> Result<()> {
        let (server, _) = counting_server();
        let proxy = Proxy::start(&server)?;
        for _ in 0..3 {
            ensure!(ask(&proxy)?.status == 200);
            proxy.refuse();
            let address = proxy.url().trim_start_matches("http://").to_owned();
            let begin = Instant::now();
            while TcpStream::connect(&address).is_ok() {
                ensure!(begin.elapsed() < Duration::from_secs(20), "it is still there");
            }
            proxy.calm();
            while ask(&proxy).is_err() {
                ensure!(begin.elapsed() < Duration::from_secs(20), "it is not back");
            }
        }
        Ok(())
    };
    check().unwrap();
}

#[test]
fn a_storm_is_a_function_of_its_seed_and_has_all_faults() {
    let request = |method: &str| Request {
        method: method.to_owned(),
        path: String::new(),
        bytes: Vec::new(),
    };
    let draw = |seed| {
        let mut storm = Storm::new(seed, 500);
        let faults = (0..2000).map(|_| storm.fault_of(&request("PUT")));
        faults.collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    let faults: Vec<Fault> = draw(7).into_iter().flatten().collect();
    assert!(faults.len() > 800 && faults.len() < 1200, "{}", faults.len());
    let has = |wanted: fn(&Fault) -> bool| assert!(faults.iter().any(wanted));
    has(|it| matches!(it, Fault::CutBefore));
    has(|it| matches!(it, Fault::AnsweredInstead(503)));
    has(|it| matches!(it, Fault::AnswerCut));
    has(|it| matches!(it, Fault::HalfAnswer));
    has(|it| matches!(it, Fault::AppliedAndAnswered(409)));
    has(|it| matches!(it, Fault::Late(_)));
    has(|it| matches!(it, Fault::Twice));
    // What only reads is not done twice or late: it does nothing.
    let mut storm = Storm::new(7, 1000);
    let only_reads = (0..500).filter_map(|_| storm.fault_of(&request("GET")));
    for fault in only_reads {
        let known = [Fault::CutBefore];
        let is_known =
            known.contains(&fault) || matches!(fault, Fault::AnsweredInstead(_) | Fault::Slow(_));
        assert!(is_known, "{fault:?}");
    }
}
