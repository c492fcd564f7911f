//! Times a sandbox from start to end of `/bin/true`: `bench_true [COUNT] [none|egress]`. Prints milliseconds.
//!
//! Run as root for the full sandbox, as anyone else for the rootless one.

use std::time::Instant;

use towpath_runner::{Command, Config, Limits, Network, Runner, Spec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    towpath_runner::init_if_sandbox();
    let count: usize = std::env::args().nth(1).map_or(Ok(50), |n| n.parse())?;
    let network = match std::env::args().nth(2).as_deref() {
        Some("egress") => Network::Egress,
        _ => Network::None,
    };
    let state = std::env::temp_dir().join(format!("towpath-bench-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(measure(&state, count, network));
    // The last supervisor may still be emptying the trash.
    while std::fs::remove_dir_all(&state).is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    result
}

async fn measure(
    state: &std::path::Path,
    count: usize,
    network: Network,
) -> Result<(), Box<dyn std::error::Error>> {
    let runner = Runner::new(Config::from_env(state))?;
    let (mut whole, mut setup, mut until_exit) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let mut spec = Spec::new(format!("bench-{number}"));
        spec.network = network;
        spec.limits = Limits { memory_bytes: Some(1 << 30), pids: Some(512), ..Limits::default() };
        let started = Instant::now();
        let sandbox = runner.start(spec).await?;
        if number == 0 {
            println!("{:?}", sandbox.report());
        }
        let status = sandbox.exec(Command::new(["/bin/true"])).await?.wait().await?;
        until_exit.push(started.elapsed());
        assert!(status.success());
        setup.push(std::time::Duration::from_micros(sandbox.report().setup_us));
        sandbox.destroy().await?;
        whole.push(started.elapsed());
    }
    for (name, mut times) in [("setup", setup), ("start to exit", until_exit), ("start to cleaned up", whole)]
    {
        times.sort();
        let ms = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1000.0;
        println!("{name}: median {:.1} min {:.1} p95 {:.1}", ms(count / 2), ms(0), ms(count * 95 / 100));
    }
    Ok(())
}
