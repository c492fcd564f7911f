//! The shell that a build's commands share.
//!
//! Each command is a file that a shell process of its own reads with `.`; the process loads environment,
//! folder and (with bash) functions that the command before it left, and saves its own at its end. So a
//! command's end is its process's end, told by the kernel: nothing that a command prints, `exit`s or `exec`s
//! can be mistaken for it. Where the sandbox has bash, it is the default shell too, as `/bin/sh` is in
//! Amazon Linux's images; elsewhere `/bin/sh` is used and functions do not last.
//!
//! <https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-cmd.html>.

use super::files::quoted;
use super::output::Output;
use crate::buildspec::{Shell as ShellKind, Version, is_shell_name};
use crate::sandbox::Sandbox;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use towpath_runner::{Command, ExitStatus, RunnerError};

/// Runs one command: `$1` is the folder of the shell's files, `$2` the command's, `$3` whether to save.
const BASH: &str = r#"
__towpath=$1 __towpath_command=$2 __towpath_save=$3
set --
if [ -f "$__towpath/state.sh" ]; then
  unset $(compgen -e) 2>/dev/null
  . "$__towpath/state.sh"
  [ -f "$__towpath/functions.sh" ] && . "$__towpath/functions.sh"
else
  . "$__towpath/initial.sh"
fi
. "$__towpath/build.sh"
builtin cd -- "$(<"$__towpath/folder")" 2>/dev/null || builtin cd -- "$CODEBUILD_SRC_DIR"
__towpath_keep() {
  [ "$__towpath_save" = yes ] || return 0
  __towpath_save=no
  ( set +eux +o noclobber
    umask 0
    builtin pwd >"$__towpath/folder"
    builtin declare -f >"$__towpath/functions.sh"
    unset __towpath_save __towpath_command __towpath_code
    builtin export -p >"$__towpath/state.sh" ) 2>/dev/null
}
trap __towpath_keep EXIT
set -a
builtin . "$__towpath_command"
__towpath_code=$?
set +a
__towpath_keep
exit "$__towpath_code"
"#;

const SH: &str = r#"
__towpath=$1 __towpath_command=$2 __towpath_save=$3
if [ -f "$__towpath/state.sh" ]; then . "$__towpath/state.sh"; else . "$__towpath/initial.sh"; fi
. "$__towpath/build.sh"
IFS= read -r __towpath_folder <"$__towpath/folder"
cd -- "$__towpath_folder" 2>/dev/null || cd -- "$CODEBUILD_SRC_DIR"
__towpath_keep() {
  [ "$__towpath_save" = yes ] || return 0
  __towpath_save=no
  ( set +eux +C
    umask 0
    pwd >"$__towpath/folder"
    unset __towpath_save __towpath_command __towpath_code __towpath_folder
    export -p >"$__towpath/state.sh" ) 2>/dev/null
}
trap __towpath_keep EXIT
set -a
. "$__towpath_command"
__towpath_code=$?
set +a
__towpath_keep
exit "$__towpath_code"
"#;

/// How much a captured value may print.
const MAX_CAPTURE_BYTES: usize = 256 << 10;

pub struct Shell {
    sandbox: Arc<dyn Sandbox>,
    program: String,
    /// The shell's files, on the host and inside.
    host: PathBuf,
    inside: PathBuf,
    version: Version,
    /// Variables that no shell can hold, for every process.
    odd: Vec<(String, String)>,
    commands: usize,
}

impl Shell {
    /// Prepares the shell's files. `variables` are the environment before the first command.
    pub async fn new(
        sandbox: Arc<dyn Sandbox>,
        (host, inside): (PathBuf, PathBuf),
        (kind, version): (ShellKind, Version),
        variables: &[(String, String)],
        folder: &Path,
    ) -> Result<Shell, ShellError> {
        let bash = find_bash(sandbox.as_ref()).await?;
        let program = match (&bash, kind) {
            (Some(bash), _) => bash.clone(),
            (None, ShellKind::Sh) => "/bin/sh".to_owned(),
            (None, ShellKind::Bash) => return Err(ShellError::NoBash),
        };
        let (plain, odd): (Vec<_>, Vec<_>) =
            variables.iter().cloned().partition(|(name, _)| is_shell_name(name));
        let initial: String =
            plain.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
        let write = |name: &str, text: &str| std::fs::write(host.join(name), text);
        write("initial.sh", &initial)?;
        write("run.sh", if bash.is_some() { BASH } else { SH })?;
        write("folder", &format!("{}\n", folder.display()))?;
        // Commands of several users of the sandbox write it.
        std::fs::set_permissions(host.join("folder"), std::fs::Permissions::from_mode(0o666))?;
        let shell = Shell { sandbox, program, host, inside, version, odd, commands: 0 };
        shell.set_succeeding(true)?;
        Ok(shell)
    }

    /// `CODEBUILD_BUILD_SUCCEEDING`, for the commands from here on.
    pub fn set_succeeding(&self, succeeding: bool) -> std::io::Result<()> {
        let text = format!("export CODEBUILD_BUILD_SUCCEEDING={}\n", u8::from(succeeding));
        std::fs::write(self.host.join("build.sh"), text)
    }

    /// Runs one command of the buildspec to its end.
    pub async fn run(
        &mut self,
        text: &str,
        user: Option<&str>,
        output: &Output,
    ) -> Result<ExitStatus, ShellError> {
        let save = self.version == Version::V02;
        let command = self.command(text, user, save)?.stdout(output.end()?).stderr(output.end()?);
        Ok(self.sandbox.exec(command).await?)
    }

    /// What a script prints on its standard output, in the environment as it is now, changing nothing.
    pub async fn capture(&mut self, text: &str) -> Result<Vec<u8>, ShellError> {
        let (reader, writer) = std::io::pipe()?;
        let command = self.command(text, None, false)?.stdout(std::os::fd::OwnedFd::from(writer));
        let reading = tokio::task::spawn_blocking(move || {
            use std::io::Read;
            let mut bytes = Vec::new();
            reader.take(MAX_CAPTURE_BYTES as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
        });
        let status = self.sandbox.exec(command).await?;
        let bytes = reading.await.map_err(|_| std::io::Error::other("reading was interrupted"))??;
        if bytes.len() > MAX_CAPTURE_BYTES {
            return Err(ShellError::TooMuch);
        }
        if status.success() { Ok(bytes) } else { Err(ShellError::Capture(status.code)) }
    }

    fn command(&mut self, text: &str, user: Option<&str>, save: bool) -> Result<Command, ShellError> {
        self.commands += 1;
        let name = format!("command-{}", self.commands);
        std::fs::write(self.host.join(&name), format!("{text}\n"))?;
        let inside = |name: &str| self.inside.join(name).display().to_string();
        let mut command = Command::new([
            self.program.clone(),
            inside("run.sh"),
            self.inside.display().to_string(),
            inside(&name),
            if save { "yes" } else { "no" }.to_owned(),
        ]);
        if let Some(user) = user {
            command = command.user(user);
        }
        for (name, value) in &self.odd {
            command = command.env(name, value);
        }
        Ok(command)
    }
}

async fn find_bash(sandbox: &dyn Sandbox) -> Result<Option<String>, ShellError> {
    for path in ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"] {
        let command = Command::new(["/bin/sh", "-c", "test -x \"$1\"", "sh", path]);
        if sandbox.exec(command).await?.success() {
            return Ok(Some(path.to_owned()));
        }
    }
    Ok(None)
}

#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    #[error("the buildspec asks for bash, and there is none")]
    NoBash,
    #[error("the output is larger than {MAX_CAPTURE_BYTES} bytes")]
    TooMuch,
    #[error("exit status {0}")]
    Capture(i32),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error("the shell's files: {0}")]
    Io(#[from] std::io::Error),
}
