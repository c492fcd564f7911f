//! Runs one shell command in a fresh sandbox: `run [none|egress] COMMAND`. For trying things by hand.

use towpath_runner::{Command, Config, Network, Runner, Spec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    towpath_runner::init_if_sandbox();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, script] = &arguments[..] else { return Err("run none|egress COMMAND".into()) };
    let state = std::env::temp_dir().join(format!("towpath-run-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let runner = Runner::new(Config::from_env(&state))?;
        let mut spec = Spec::new("run");
        spec.network = if network == "egress" { Network::Egress } else { Network::None };
        let sandbox = runner.start(spec).await?;
        eprintln!("{:?}\ngiven: {:?}", sandbox.report(), runner.folders());
        let output = sandbox.run(Command::new(["/bin/bash", "-c", script]), 1 << 20).await?;
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        eprintln!("{:?}", output.status);
        sandbox.destroy().await?;
        Ok(())
    });
    // The last supervisor may still be emptying the trash.
    while std::fs::remove_dir_all(&state).is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    result
}
