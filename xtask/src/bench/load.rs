//! A load generator: replays requests, signed beforehand, over keep-alive connections and tells how long the
//! answers took. A signature is good for minutes, so that signing is not measured as the server's work.
//!
//! The plan is JSON: `{"address": "127.0.0.1:1", "connections": 64, "seconds": 3, "requests": ["POST / …"]}`;
//! connection n sends request n modulo their number, again and again. The answer is one line of JSON.

use crate::TaskResult;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error + Send + Sync>;

pub fn run(plan: &Path) -> TaskResult {
    let plan: Value = serde_json::from_slice(&std::fs::read(plan)?)?;
    let address = plan["address"].as_str().ok_or("the plan has no address")?;
    let connections = plan["connections"].as_u64().ok_or("the plan has no connections")?;
    let duration = Duration::from_secs_f64(plan["seconds"].as_f64().ok_or("the plan has no seconds")?);
    let requests: Vec<&str> =
        plan["requests"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if requests.is_empty() {
        return Err("the plan has no requests".into());
    }
    let started = Instant::now();
    let mut times_us: Vec<u64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..connections as usize)
            .map(|number| requests[number % requests.len()].as_bytes())
            .map(|request| scope.spawn(move || client(address, request, duration)))
            .collect();
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.join().map_err(|_| "a client ended early")??);
        }
        Ok::<_, Failure>(all)
    })
    .map_err(|error| error.to_string())?;
    let seconds = started.elapsed().as_secs_f64();
    times_us.sort_unstable();
    let at = |share: f64| times_us.get((times_us.len().saturating_sub(1) as f64 * share) as usize);
    let rate = times_us.len() as f64 / seconds;
    println!(
        "{}",
        json!({ "rate": rate, "median_us": at(0.5), "p99_us": at(0.99), "count": times_us.len() })
    );
    Ok(())
}

fn client(address: &str, request: &[u8], duration: Duration) -> Result<Vec<u64>, Failure> {
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    stream.get_ref().set_nodelay(true)?;
    let (started, mut times_us) = (Instant::now(), Vec::new());
    while started.elapsed() < duration {
        let asked = Instant::now();
        stream.get_mut().write_all(request)?;
        let status = answer(&mut stream)?;
        times_us.push(asked.elapsed().as_micros() as u64);
        if status != 200 {
            return Err(format!("the server answered {status}").into());
        }
    }
    Ok(times_us)
}

/// Reads one whole answer; its status.
fn answer(stream: &mut BufReader<TcpStream>) -> Result<u16, Failure> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no HTTP status line")?;
    let (mut length, mut is_chunked) = (0u64, false);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse()?,
            "transfer-encoding" => is_chunked = true,
            _ => {}
        }
    }
    if !is_chunked {
        std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink())?;
        return Ok(status);
    }
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim_end(), 16)?;
        std::io::copy(&mut stream.by_ref().take(size + 2), &mut std::io::sink())?;
        if size == 0 {
            return Ok(status);
        }
    }
}
