//! Hosts by hand: `host STATE_DIR run NAME | list | exec NAME COMMAND… | shell NAME | stop NAME`.

use std::os::fd::AsFd;

use towpath_runner::host::{self, HostSpec};
use towpath_runner::{Command, Config};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    towpath_runner::init_if_sandbox();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [state_dir, action, rest @ ..] = &words[..] else {
        return Err("see the first lines of this file".into());
    };
    let config = Config::from_env(state_dir);
    let state_dir = &config.state_dir;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        match (*action, rest) {
            ("run", [name]) => println!("{:?}", host::run(&config, HostSpec::new(*name)).await?),
            ("list", []) => println!("{:?}", host::list(state_dir)?),
            ("stop", [name]) => host::stop(state_dir, name).await?,
            ("exec", [name, command @ ..]) => {
                let command = Command::new(command.iter().copied())
                    .stdin(std::io::stdin().as_fd().try_clone_to_owned()?)
                    .stdout(std::io::stdout().as_fd().try_clone_to_owned()?)
                    .stderr(std::io::stderr().as_fd().try_clone_to_owned()?);
                return Ok(host::exec(state_dir, name, command).await?.code);
            }
            ("shell", [name]) => {
                let mut command = Command::new(["bash", "-i"]);
                command.terminal = host::terminal_size();
                return Ok(host::exec(state_dir, name, command).await?.code);
            }
            _ => return Err("see the first lines of this file".into()),
        }
        Ok::<i32, Box<dyn std::error::Error>>(0)
    })?;
    std::process::exit(code)
}
