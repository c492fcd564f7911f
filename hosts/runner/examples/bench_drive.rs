//! Runs `/bin/true` in sandboxes when asked to, so that a benchmark can alternate with other ways.
//!
//! Each line on standard input is `COUNT AT_A_TIME`; the answer is one line of milliseconds: how long all of
//! them took, from the first start until everything is cleaned up as a build's owner sees it.
//! Run as root for the full sandbox, as anyone else for the rootless one.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use towpath_runner::{Command, Config, Limits, Network, Runner, Spec};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    towpath_runner::init_if_sandbox();
    let state = std::env::temp_dir().join(format!("towpath-bench-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(&state));
    // The last supervisor may still be emptying the trash.
    while std::fs::remove_dir_all(&state).is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    result
}

async fn serve(state: &Path) -> Result<(), Failure> {
    let runner = Runner::new(Config::from_env(state))?;
    let mut number = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (count, at_a_time) = line.split_once(' ').ok_or("a line is COUNT AT_A_TIME")?;
        let (count, at_a_time): (usize, usize) = (count.parse()?, at_a_time.parse()?);
        let started = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..count {
            if running.len() >= at_a_time {
                running.join_next().await.ok_or("nothing runs")???;
            }
            number += 1;
            running.spawn(one(runner.clone(), number));
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        println!("{:.3}", started.elapsed().as_secs_f64() * 1000.0);
        std::io::stdout().flush()?;
    }
    Ok(())
}

async fn one(runner: Runner, number: usize) -> Result<(), Failure> {
    let mut spec = Spec::new(format!("bench-{number}"));
    spec.network = Network::None;
    spec.limits = Limits { memory_bytes: Some(1 << 30), pids: Some(512), ..Limits::default() };
    let sandbox = runner.start(spec).await?;
    let status = sandbox.exec(Command::new(["/bin/true"])).await?.wait().await?;
    sandbox.destroy().await?;
    if status.success() { Ok(()) } else { Err(format!("/bin/true ended with {status:?}").into()) }
}
