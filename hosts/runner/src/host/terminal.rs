//! This process's own terminal, connected to a command's terminal inside a host.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::termios::{self, SetArg, Termios};

use tokio::signal::unix::{SignalKind, signal};

use crate::{ExitStatus, RunnerError, WindowSize};

/// This process's terminal in raw mode, until dropped.
struct Raw(Termios);

impl Raw {
    fn set() -> Option<Raw> {
        let before = termios::tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0).ok();
    }
}

/// The size of this process's terminal, if it has one.
pub fn size() -> Option<WindowSize> {
    let mut window = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure outlives the call.
    let asked = unsafe { libc::ioctl(0, libc::TIOCGWINSZ, &raw mut window) };
    (asked == 0).then_some(WindowSize { rows: window.ws_row, columns: window.ws_col })
}

/// Carries keys in and output out until the command ends.
pub async fn attend(
    inside: BorrowedFd<'_>,
    wait: impl Future<Output = Result<ExitStatus, RunnerError>>,
) -> Result<ExitStatus, RunnerError> {
    let raw = Raw::set();
    let near = File::from(inside.try_clone_to_owned()?);
    // The keyboard is read by a thread: a terminal shared with other processes must not be set non-blocking.
    let mut keys_to = near.try_clone()?;
    std::thread::spawn(move || {
        let mut keys = [0; 1024];
        while let Ok(size @ 1..) = std::io::stdin().read(&mut keys) {
            if keys_to.write_all(&keys[..size]).is_err() {
                return;
            }
        }
    });
    let output = tokio::task::spawn_blocking(move || {
        let (mut near, mut part) = (near, [0; 16 * 1024]);
        // EIO: the command and all that shared its terminal have closed it.
        while let Ok(size @ 1..) = near.read(&mut part) {
            let mut stdout = std::io::stdout();
            if stdout.write_all(&part[..size]).and_then(|()| stdout.flush()).is_err() {
                return;
            }
        }
    });
    let mut resized = signal(SignalKind::window_change())?;
    tokio::pin!(wait);
    let status = loop {
        tokio::select! {
            status = &mut wait => break status,
            _ = resized.recv() => resize(inside),
        }
    };
    // What it wrote last is on its way; what it left running may keep the terminal open for good.
    tokio::time::timeout(std::time::Duration::from_millis(200), output).await.ok();
    drop(raw);
    status
}

fn resize(inside: BorrowedFd<'_>) {
    let Some(size) = size() else { return };
    let window = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure outlives the call.
    unsafe { libc::ioctl(inside.as_raw_fd(), libc::TIOCSWINSZ, &raw const window) };
}
