//! Every input that a fuzzer found worth keeping, crashers among them, through the same functions.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_kept_input_is_borne() {
    for (target, function) in towpath_fuzz::TARGETS {
        let folder = fuzz().join("corpus").join(target);
        let inputs = names(&folder);
        assert!(inputs.len() >= 3, "{target} has {} inputs", inputs.len());
        for name in inputs {
            let data = std::fs::read(folder.join(&name)).unwrap();
            let outcome = std::panic::catch_unwind(|| function(&data));
            assert!(outcome.is_ok(), "fuzz/corpus/{target}/{name} breaks its target");
        }
    }
}

#[test]
fn every_target_has_a_binary_and_every_binary_a_target() {
    let targets: BTreeSet<String> =
        towpath_fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let binaries = names(&fuzz().join("fuzz_targets"));
    assert_eq!(binaries, targets.iter().map(|name| format!("{name}.rs")).collect());
    assert_eq!(names(&fuzz().join("corpus")), targets);
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &targets {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no binary {name}");
    }
}
