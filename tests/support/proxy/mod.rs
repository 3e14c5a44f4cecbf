//! A proxy for HTTP that does to requests what a network and a busy server do: it loses them, loses their
//! answers, applies them late or twice, and answers what is not true. For the REST catalog and for S3.

mod fault;
pub mod http;
mod keys;

pub use fault::{Fault, Rule, Storm};
pub use keys::{Keys, SECRET};

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::proxy::http::{Request, Response};

/// One request as the proxy saw it, and what it did to it.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub method: String,
    pub path: String,
    pub fault: Option<Fault>,
    /// What the server said, if it was asked.
    pub status: Option<u16>,
}

impl Exchange {
    /// The server did what it was asked, whatever the client was told.
    pub fn is_applied(&self) -> bool {
        self.status.is_some_and(|it| (200..300).contains(&it))
    }
}

/// Ends with its listener when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: SocketAddr,
    plan: Mutex<Plan>,
    /// Two requests that wait for each other.
    meeting: Mutex<usize>,
    met: Condvar,
    refuses: AtomicBool,
    is_over: AtomicBool,
}

#[derive(Default)]
struct Plan {
    rules: Vec<Rule>,
    storm: Option<Storm>,
    seen: Vec<Exchange>,
    /// Requests that wait: they are late, slow, or to be met.
    held: usize,
    tokens: Option<Tokens>,
    /// A catalog's answers vend these.
    vends: Option<Arc<Keys>>,
    /// A store takes these alone.
    takes: Option<Arc<Keys>>,
}

/// The proxy gives tokens for a credential, and takes each for a time.
struct Tokens {
    life: Duration,
    given: Vec<Instant>,
}

impl Tokens {
    /// An answer in the server's place: a token, or that the request has none that is good.
    fn answer(&mut self, request: &Request) -> Option<Vec<u8>> {
        if request.path.contains("/oauth/tokens") {
            self.given.push(Instant::now());
            let (number, seconds) = (self.given.len(), self.life.as_secs());
            return Some(http::answer_with(
                200,
                &format!(
                    r#"{{"access_token":"granted-{number}","token_type":"bearer","expires_in":{seconds}}}"#
                ),
            ));
        }
        let text = String::from_utf8_lossy(&request.bytes);
        let number = text.split_once("granted-").map(|(_, rest)| {
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
        });
        let given = self.given.get(number.unwrap_or(0_usize).wrapping_sub(1));
        let is_good = given.is_some_and(|it| it.elapsed() < self.life);
        (!is_good).then(|| http::answer(401))
    }
}

/// Between two looks of the listener: a refusal begins and ends within it.
const TICK: Duration = Duration::from_millis(2);
/// Who is to be met does not come any more.
const MEETING_PATIENCE: Duration = Duration::from_secs(100);

impl Proxy {
    /// Listens on a free port of loopback. `upstream` is `http://HOST:PORT`, or without the scheme.
    pub fn start(upstream: &str) -> Result<Proxy> {
        let upstream = upstream.trim_start_matches("http://").trim_end_matches('/');
        let upstream = upstream.parse().with_context(|| format!("upstream {upstream:?}"))?;
        let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            plan: Mutex::default(),
            meeting: Mutex::new(0),
            met: Condvar::new(),
            refuses: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(&shared, listener, address)
        });
        Ok(Proxy { address, shared, listener: Some(thread) })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next requests that fit get this fault. The first rule that fits counts, until it is used up.
    pub fn add(&self, rule: Rule) {
        self.shared.plan().rules.push(rule);
    }

    /// From now on a request needs a token, which is good for so long.
    pub fn give_tokens(&self, life: Duration) {
        self.shared.plan().tokens = Some(Tokens { life, given: Vec::new() });
    }

    pub fn tokens_given(&self) -> usize {
        self.shared.plan().tokens.as_ref().map_or(0, |it| it.given.len())
    }

    /// From now on the tables that this catalog gives come with keys.
    pub fn vend(&self, keys: &Arc<Keys>) {
        self.shared.plan().vends = Some(Arc::clone(keys));
    }

    /// From now on this store takes no other keys, and each for its time.
    pub fn take_only(&self, keys: &Arc<Keys>) {
        self.shared.plan().takes = Some(Arc::clone(keys));
    }

    /// Requests that no rule fits meet faults at random.
    pub fn storm(&self, storm: Storm) {
        self.shared.plan().storm = Some(storm);
    }

    /// From now on nothing goes wrong.
    pub fn calm(&self) {
        let mut plan = self.shared.plan();
        (plan.rules, plan.storm) = (Vec::new(), None);
        drop(plan);
        self.shared.refuses.store(false, Ordering::SeqCst);
    }

    /// As if the server were down: connections are refused, and those that are open are cut at their next request.
    pub fn refuse(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
    }

    /// What was done or refused so far. A late request is there when it has landed.
    pub fn seen(&self) -> Vec<Exchange> {
        self.shared.plan().seen.clone()
    }

    /// Requests that have come and wait for their time.
    pub fn held(&self) -> usize {
        self.shared.plan().held
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.met.notify_all();
        if let Some(listener) = self.listener.take()
            && listener.join().is_err()
        {
            eprintln!("the proxy's listener panicked");
        }
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no holder of this lock panics")
    }

    fn note(&self, request: &Request, fault: Option<Fault>, status: Option<u16>) {
        let (method, path) = (request.method.clone(), request.path.clone());
        self.plan().seen.push(Exchange { method, path, fault, status });
    }

    fn fate(&self, request: &Request) -> Option<Fault> {
        let mut plan = self.plan();
        match plan.rules.iter_mut().find(|it| it.fits(request)) {
            Some(rule) => rule.take(),
            None => plan.storm.as_mut()?.fault_of(request),
        }
    }

    fn hold(&self, wait: impl FnOnce()) {
        self.plan().held += 1;
        wait();
        self.plan().held -= 1;
    }

    /// Waits until two are here.
    fn meet(&self) {
        let begin = Instant::now();
        let mut here = self.meeting.lock().expect("no holder of this lock panics");
        *here += 1;
        self.met.notify_all();
        while *here < 2 && begin.elapsed() < MEETING_PATIENCE {
            let waited = self.met.wait_timeout(here, MEETING_PATIENCE);
            (here, _) = waited.expect("no holder of this lock panics");
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

fn listen(shared: &Arc<Shared>, first: TcpListener, address: SocketAddr) {
    let mut listener = Some(first);
    while !shared.is_over.load(Ordering::SeqCst) {
        if shared.refuses.load(Ordering::SeqCst) {
            // Nobody listens any more: connecting is refused by the kernel.
            listener = None;
            std::thread::sleep(TICK);
            continue;
        }
        let open = match &listener {
            Some(open) => open,
            // The port may be held by a connection that is being cut: again in a moment.
            None => match TcpListener::bind(address) {
                Ok(bound) => listener.insert(bound),
                Err(_) => {
                    std::thread::sleep(TICK);
                    continue;
                }
            },
        };
        if open.set_nonblocking(true).is_err() {
            listener = None;
            continue;
        }
        match open.accept() {
            Ok((client, _)) => {
                let shared = Arc::clone(shared);
                std::thread::spawn(move || {
                    // A connection that breaks is the client's to notice.
                    let _ = serve(&shared, client);
                });
            }
            Err(_) => std::thread::sleep(TICK),
        }
    }
}

/// One connection of a client, until one of the two ends it.
fn serve(shared: &Arc<Shared>, client: TcpStream) -> Result<()> {
    client.set_nonblocking(false)?;
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client.try_clone()?);
    let mut client = client;
    while let Some(request) = Request::read(&mut reader)? {
        if shared.is_over.load(Ordering::SeqCst) || shared.refuses.load(Ordering::SeqCst) {
            return Ok(());
        }
        let refused = shared.plan().tokens.as_mut().and_then(|it| it.answer(&request));
        let takes = shared.plan().takes.clone();
        let refused = refused.or_else(|| takes?.refusal(&request));
        if let Some(answer) = refused {
            client.write_all(&answer)?;
            continue;
        }
        let fault = shared.fate(&request);
        let answer = suffer(shared, &request, fault)?;
        let Some(answer) = answer else { return Ok(()) };
        let vends = shared.plan().vends.clone();
        let answer = match vends {
            Some(keys) => keys.vended(&request, answer),
            None => answer,
        };
        client.write_all(&answer)?;
        if fault == Some(Fault::HalfAnswer) {
            return Ok(());
        }
    }
    Ok(())
}

/// Does to a request what its fate is. `None` cuts the connection.
fn suffer(
    shared: &Arc<Shared>,
    request: &Request,
    fault: Option<Fault>,
) -> Result<Option<Vec<u8>>> {
    let forward = || {
        let response = Response::of(shared.upstream, request);
        shared.note(request, fault, response.as_ref().ok().map(|it| it.status));
        response
    };
    let Some(fault) = fault else { return Ok(Some(forward()?.bytes)) };
    Ok(match fault {
        Fault::CutBefore => {
            shared.note(request, Some(fault), None);
            None
        }
        Fault::AnsweredInstead(status) => {
            shared.note(request, Some(fault), None);
            Some(http::answer(status))
        }
        Fault::AnswerCut => {
            forward()?;
            None
        }
        Fault::HalfAnswer => {
            let bytes = forward()?.bytes;
            Some(bytes[..bytes.len() / 2].to_vec())
        }
        Fault::AppliedAndAnswered(status) => {
            forward()?;
            Some(http::answer(status))
        }
        Fault::Late(after) => {
            let (shared, request) = (Arc::clone(shared), request.clone());
            shared.plan().held += 1;
            std::thread::spawn(move || {
                std::thread::sleep(after);
                shared.plan().held -= 1;
                let status = Response::of(shared.upstream, &request).ok().map(|it| it.status);
                shared.note(&request, Some(fault), status);
            });
            None
        }
        Fault::Slow(after) => {
            shared.hold(|| std::thread::sleep(after));
            Some(forward()?.bytes)
        }
        Fault::Twice => {
            let first = forward()?.bytes;
            forward()?;
            Some(first)
        }
        Fault::Meet => {
            shared.hold(|| shared.meet());
            Some(forward()?.bytes)
        }
    })
}

#[cfg(test)]
mod tests;
