//! The smallest program that can hold a sandbox: for this crate's tests and benchmarks. The product's own
//! binary does the same in its `main`.

fn main() {
    towpath_runner::init_if_sandbox();
    eprintln!("towpath-sandbox is started by a runner, not by hand");
    std::process::exit(2);
}
