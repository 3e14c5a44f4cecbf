//! As much of HTTP/1.1 as a proxy between our own programs needs: whole messages, with a length or in chunks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// The whole message as it came: signatures stay good.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub bytes: Vec<u8>,
}

/// A server that is asked takes no longer.
const PATIENCE: Duration = Duration::from_secs(60);
const HEAD_BYTES_MAX: usize = 64 << 10;

impl Request {
    /// `None` when the client has ended the connection.
    pub fn read(reader: &mut impl BufRead) -> Result<Option<Request>> {
        let Some(head) = Head::read(reader)? else { return Ok(None) };
        let mut words = head.first().split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (method, path) = (method.to_owned(), path.to_owned());
        let mut bytes = head.bytes.clone();
        match head.body_length()? {
            Length::Bytes(length) => take(reader, length, &mut bytes)?,
            Length::Chunks => take_chunks(reader, &mut bytes)?,
            Length::Unsaid => {}
        }
        Ok(Some(Request { method, path, bytes }))
    }
}

impl Response {
    /// Sends a request over a connection of its own, and waits for all of the answer.
    pub fn of(server: SocketAddr, request: &Request) -> Result<Response> {
        let mut server = TcpStream::connect(server).context("reach the server")?;
        server.set_nodelay(true)?;
        server.set_read_timeout(Some(PATIENCE))?;
        server.write_all(&request.bytes)?;
        let mut reader = BufReader::new(server);
        loop {
            let head = Head::read(&mut reader)?.context("the server ended the connection")?;
            let status = head.first().split(' ').nth(1).unwrap_or_default();
            let status: u16 = status.parse().with_context(|| format!("a status: {status:?}"))?;
            if (100..200).contains(&status) {
                continue;
            }
            let mut bytes = head.bytes.clone();
            let empty = request.method == "HEAD" || status == 204 || status == 304;
            match head.body_length()? {
                _ if empty => {}
                Length::Bytes(length) => take(&mut reader, length, &mut bytes)?,
                Length::Chunks => take_chunks(&mut reader, &mut bytes)?,
                Length::Unsaid => drop(reader.read_to_end(&mut bytes)?),
            }
            return Ok(Response { status, bytes });
        }
    }

    /// What it carries, chunks put together.
    pub fn body(&self) -> Result<Vec<u8>> {
        let mut reader = BufReader::new(&self.bytes[..]);
        let head = Head::read(&mut reader)?.context("a response has a head")?;
        let mut body = Vec::new();
        match head.body_length()? {
            Length::Bytes(_) | Length::Unsaid => drop(reader.read_to_end(&mut body)?),
            Length::Chunks => while chunk(&mut reader, &mut Vec::new(), &mut body)? {},
        }
        Ok(body)
    }
}

/// Asks for what is at a URL of loopback.
pub fn get(url: &str) -> Result<Vec<u8>> {
    let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap_or((url, ""));
    let bytes = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let server = host.parse().with_context(|| format!("address {host:?}"))?;
    let request =
        Request { method: "GET".to_owned(), path: path.to_owned(), bytes: bytes.into_bytes() };
    let response = Response::of(server, &request)?;
    ensure!(response.status == 200, "{url}: status {}", response.status);
    response.body()
}

/// An answer that no server gave.
pub(crate) fn answer(status: u16) -> Vec<u8> {
    let body = format!(
        r#"{{"error":{{"message":"a fault was injected","type":"InjectedFault","code":{status}}}}}"#
    );
    answer_with(status, &body)
}

pub(crate) fn answer_with(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Injected\r\nContent-Type: application/json");
    format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

struct Head {
    bytes: Vec<u8>,
    text: String,
}

enum Length {
    Bytes(usize),
    Chunks,
    Unsaid,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> Result<Option<Head>> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let read = reader.read_until(b'\n', &mut bytes)?;
            if read == 0 && bytes.is_empty() {
                return Ok(None);
            }
            ensure!(read > 0, "the connection ended within a head");
            ensure!(bytes.len() <= HEAD_BYTES_MAX, "a head of more than {HEAD_BYTES_MAX} bytes");
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Some(Head { bytes, text }))
    }

    fn first(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.text.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn body_length(&self) -> Result<Length> {
        if let Some(coding) = self.field("transfer-encoding") {
            ensure!(coding.eq_ignore_ascii_case("chunked"), "transfer-encoding {coding}");
            return Ok(Length::Chunks);
        }
        match self.field("content-length") {
            Some(length) => {
                Ok(Length::Bytes(length.parse().with_context(|| format!("length {length:?}"))?))
            }
            None => Ok(Length::Unsaid),
        }
    }
}

fn take(reader: &mut impl BufRead, length: usize, bytes: &mut Vec<u8>) -> Result<()> {
    let read = reader.take(length as u64).read_to_end(bytes)?;
    ensure!(read == length, "the connection ended within a body");
    Ok(())
}

fn take_chunks(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> Result<()> {
    while chunk(reader, bytes, &mut Vec::new())? {}
    Ok(())
}

/// One chunk, as it came and what it carries. `false` after the last.
fn chunk(reader: &mut impl BufRead, bytes: &mut Vec<u8>, carried: &mut Vec<u8>) -> Result<bool> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let digits = line.trim_end().split(';').next().unwrap_or_default();
    let Ok(length) = usize::from_str_radix(digits, 16) else {
        bail!("no length of a chunk: {line:?}");
    };
    bytes.extend_from_slice(line.as_bytes());
    let begin = bytes.len();
    take(reader, length + 2, bytes)?;
    carried.extend_from_slice(&bytes[begin..begin + length]);
    Ok(length > 0)
}
