//! One small operation through the whole stack, over keep-alive connections on loopback: signature,
//! decoding, validation, a handler that does nothing, encoding.
//!
//! `cargo run --release -p towpath-wire --example bench [CONNECTIONS] [SECONDS]`
#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::*;
use towpath_api::Node;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap());
    let connections = arguments.next().unwrap_or(4);
    let duration = Duration::from_secs(arguments.next().unwrap_or(5));
    let running = start(|builder| {
        builder.service(Fake::new(&towpath_api_codepipeline::MODEL, |_, _, input| {
            let name = input.get("name").cloned().unwrap_or_default();
            Ok(map(vec![("pipeline", map(vec![("name", name), ("version", Node::Int(1))]))]))
        }))
    });
    let bytes = Ask::json("codepipeline", "CodePipeline_20150709.GetPipeline", r#"{"name":"demo"}"#)
        .bytes(running.address);
    let mut times_us: Vec<u128> = std::thread::scope(|scope| {
        let one = || {
            let mut stream = BufReader::new(TcpStream::connect(running.address).unwrap());
            stream.get_ref().set_nodelay(true).unwrap();
            let (start, mut times_us) = (Instant::now(), Vec::new());
            while start.elapsed() < duration {
                let asked = Instant::now();
                stream.get_mut().write_all(&bytes).unwrap();
                assert_eq!(Answer::read(&mut stream, false).status, 200);
                times_us.push(asked.elapsed().as_micros());
            }
            times_us
        };
        let clients: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    times_us.sort_unstable();
    let at = |share: f64| times_us[((times_us.len() - 1) as f64 * share) as usize];
    println!(
        "{connections} connections: {} requests/s, median {} us, p99 {} us",
        times_us.len() as u64 / duration.as_secs(),
        at(0.5),
        at(0.99)
    );
}
