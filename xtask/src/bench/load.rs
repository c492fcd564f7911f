//! A load generator: replays requests, signed beforehand, and tells how long the answers took. A signature is
//! good for minutes, so that signing is not measured as the server's work.
//!
//! The plan is JSON: `{"address": "127.0.0.1:1", "connections": 64, "seconds": 3, "requests": ["POST / …"]}`;
//! client n sends request n modulo their number, again and again. The answer is one line of JSON.
//!
//! A client keeps its connection as long as the server does. Where a server closes after each answer, as one
//! that speaks HTTP/1.0 does, the client connects anew, and the time that this takes belongs to the next
//! request. Nothing waits longer than [`PATIENCE`].

use crate::TaskResult;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// For one connection, one write or one read; a server that takes longer fails the measurement.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(plan: &Path) -> TaskResult {
    let plan: Value = serde_json::from_slice(&std::fs::read(plan)?)?;
    let address: SocketAddr = plan["address"].as_str().ok_or("the plan has no address")?.parse()?;
    let connections = plan["connections"].as_u64().ok_or("the plan has no connections")?;
    let duration = Duration::from_secs_f64(plan["seconds"].as_f64().ok_or("the plan has no seconds")?);
    let requests: Vec<&str> =
        plan["requests"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if requests.is_empty() {
        return Err("the plan has no requests".into());
    }
    let started = Instant::now();
    let clients = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..connections as usize)
            .map(|number| Client::new(address, requests[number % requests.len()].as_bytes()))
            .map(|client| scope.spawn(move || client.run(duration)))
            .collect();
        let joined = clients.into_iter().map(|client| client.join().map_err(|_| "a client ended early")?);
        joined.collect::<Result<Vec<Client>, Failure>>()
    })
    .map_err(|error| error.to_string())?;
    let seconds = started.elapsed().as_secs_f64();
    let mut times_us: Vec<u64> = clients.iter().flat_map(|client| &client.times_us).copied().collect();
    times_us.sort_unstable();
    let at = |share: f64| times_us.get((times_us.len().saturating_sub(1) as f64 * share) as usize);
    let rate = times_us.len() as f64 / seconds;
    let opened: u64 = clients.iter().map(|client| client.opened).sum();
    println!(
        "{}",
        json!({ "rate": rate, "median_us": at(0.5), "p99_us": at(0.99), "count": times_us.len(), "opened": opened })
    );
    Ok(())
}

struct Client<'a> {
    address: SocketAddr,
    request: &'a [u8],
    stream: Option<BufReader<TcpStream>>,
    /// Connections so far.
    opened: u64,
    times_us: Vec<u64>,
}

impl<'a> Client<'a> {
    fn new(address: SocketAddr, request: &'a [u8]) -> Client<'a> {
        Client { address, request, stream: None, opened: 0, times_us: Vec::new() }
    }

    fn run(mut self, duration: Duration) -> Result<Client<'a>, Failure> {
        let started = Instant::now();
        while started.elapsed() < duration {
            let asked = Instant::now();
            let status = self.ask()?;
            self.times_us.push(asked.elapsed().as_micros() as u64);
            if status != 200 {
                return Err(format!("the server answered {status}").into());
            }
        }
        Ok(self)
    }

    /// The status of one answer. A server may close a kept connection without a word: that is asked again, once.
    fn ask(&mut self) -> Result<u16, Failure> {
        if let Some(kept) = self.stream.take()
            && let Some(status) = self.exchange(kept)?
        {
            return Ok(status);
        }
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        self.opened += 1;
        Ok(self.exchange(BufReader::new(stream))?.ok_or("the server closed before it answered")?)
    }

    /// `None` where the connection had ended.
    fn exchange(&mut self, mut stream: BufReader<TcpStream>) -> Result<Option<u16>, Failure> {
        match stream.get_mut().write_all(self.request) {
            Err(error) if has_ended(&error) => return Ok(None),
            written => written?,
        }
        let Some(head) = Head::read(&mut stream)? else { return Ok(None) };
        head.skip_body(&mut stream)?;
        if head.is_kept {
            self.stream = Some(stream);
        }
        Ok(Some(head.status))
    }
}

fn has_ended(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

enum Body {
    Sized(u64),
    Chunked,
    UntilTheEnd,
}

/// What the lines before an answer's body say.
struct Head {
    status: u16,
    body: Body,
    is_kept: bool,
}

impl Head {
    /// `None` where the connection ended before the first byte.
    fn read(stream: &mut BufReader<TcpStream>) -> Result<Option<Head>, Failure> {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(0) => return Ok(None),
            Err(error) if has_ended(&error) => return Ok(None),
            read => read?,
        };
        let status =
            line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no HTTP status line")?;
        let mut head = Head { status, body: Body::UntilTheEnd, is_kept: !line.starts_with("HTTP/1.0") };
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.body = Body::Sized(value.trim().parse()?),
                "transfer-encoding" => head.body = Body::Chunked,
                "connection" => head.is_kept = !value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        head.is_kept &= !matches!(head.body, Body::UntilTheEnd);
        Ok(Some(head))
    }

    fn skip_body(&self, stream: &mut BufReader<TcpStream>) -> Result<(), Failure> {
        let mut skip = |size| match io::copy(&mut stream.by_ref().take(size), &mut io::sink())? {
            skipped if skipped < size && size != u64::MAX => Err(Failure::from("the answer ended early")),
            _ => Ok(()),
        };
        match self.body {
            Body::Sized(size) => return skip(size),
            Body::UntilTheEnd => return skip(u64::MAX),
            Body::Chunked => {}
        }
        let mut line = String::new();
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim_end(), 16)?;
            let read = io::copy(&mut stream.by_ref().take(size + 2), &mut io::sink())?;
            if read < size + 2 {
                return Err("the answer ended early".into());
            }
            if size == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpListener;

    /// A server that gives the answers in turn, and closes after each but those that end with `+`.
    fn serve(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut kept: Option<BufReader<TcpStream>> = None;
            for answer in answers {
                let mut stream = kept.take().unwrap_or_else(|| BufReader::new(listener.accept().unwrap().0));
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    stream.read_line(&mut line).unwrap();
                }
                stream.get_mut().write_all(answer.trim_end_matches('+').as_bytes()).unwrap();
                kept = answer.ends_with('+').then_some(stream);
            }
        });
        address
    }

    fn statuses(answers: &'static [&'static str]) -> (Vec<u16>, u64) {
        let mut client = Client::new(serve(answers), b"GET / HTTP/1.1\r\n\r\n");
        let statuses = answers.iter().map(|_| client.ask().unwrap()).collect();
        (statuses, client.opened)
    }

    #[test]
    fn a_kept_connection_is_used_again() {
        let answers = &[
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok+",
            "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n+",
        ];
        assert_eq!(statuses(answers), (vec![200, 404], 1));
        let chunked = &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n+"; 2];
        assert_eq!(statuses(chunked), (vec![200, 200], 1));
    }

    #[test]
    fn a_closed_connection_is_made_anew() {
        assert_eq!(statuses(&["HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"; 3]), (vec![200; 3], 3));
        assert_eq!(statuses(&["HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"; 3]), (vec![200; 3], 3));
        // Without a word beforehand.
        assert_eq!(statuses(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"; 3]), (vec![200; 3], 3));
    }

    #[test]
    fn an_answer_that_ends_early_is_an_error() {
        let address = serve(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"]);
        let asked = Client::new(address, b"GET / HTTP/1.1\r\n\r\n").ask();
        assert_eq!(asked.unwrap_err().to_string(), "the answer ended early");
    }
}
