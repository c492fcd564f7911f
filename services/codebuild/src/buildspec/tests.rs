#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::artifacts::glob;
use super::*;

const FULL: &str = r#"
version: 0.2
run-as: builder
env:
  shell: bash
  variables:
    JAVA_HOME: "/usr/lib/jvm/java-8-openjdk-amd64"
    VERSION: 3.10
    EMPTY:
  exported-variables:
    - VERSION
  git-credential-helper: yes
phases:
  install:
    on-failure: RETRY-2-timed out
    runtime-versions:
      python: 3.x
      ruby: "$MY_RUBY"
    commands:
      - echo install
  pre_build:
    run-as: other
    commands:
      - "echo a: b"
    finally:
      - echo finally
  build:
    on-failure: ABORT
    commands:
      - |
        cat <<EOF
        text
        EOF
      - exit 3
  post_build:
    commands: [echo post]
reports:
  unit:
    files: ['**/*.xml']
    base-directory: out
    discard-paths: yes
    file-format: JunitXml
artifacts:
  files:
    - '**/*'
  name: app-$(date +%Y-%m-%d)
  base-directory: 'dist*'
  exclude-paths: ['**/*.log']
  enable-symlinks: yes
  s3-prefix: releases
  secondary-artifacts:
    docs:
      files: 'docs/**/*'
      discard-paths: yes
"#;

#[test]
fn reads_everything() {
    let spec = parse(FULL).unwrap();
    assert_eq!(spec.version, Version::V02);
    assert_eq!(spec.run_as.as_deref(), Some("builder"));
    assert_eq!(spec.shell, Shell::Bash);
    assert_eq!(spec.variables["VERSION"], "3.10");
    assert_eq!(spec.variables["EMPTY"], "");
    assert_eq!(spec.exported_variables, ["VERSION"]);
    assert!(spec.git_credential_helper);
    assert_eq!(spec.phases.iter().map(|phase| phase.name).collect::<Vec<_>>(), PhaseName::ALL);
    let install = spec.phase(PhaseName::Install).unwrap();
    assert_eq!(install.runtime_versions["python"], "3.x");
    let Some(OnFailure::Retry { times: 2, pattern: Some(pattern) }) = &install.on_failure else { panic!() };
    assert_eq!(pattern.as_str(), "timed out");
    assert_eq!(spec.phase(PhaseName::PreBuild).unwrap().finally, ["echo finally"]);
    assert_eq!(spec.phase(PhaseName::Build).unwrap().commands[0], "cat <<EOF\ntext\nEOF\n");
    assert_eq!(spec.phase(PhaseName::Build).unwrap().on_failure, Some(OnFailure::Abort));
    assert_eq!(spec.reports[0].group, "unit");
    assert_eq!(spec.reports[0].base_directory.as_deref(), Some("out"));
    let artifacts = spec.artifacts.unwrap();
    assert_eq!(artifacts.files, ["**/*"]);
    assert!(artifacts.enable_symlinks && !artifacts.discard_paths);
    assert!(spec.secondary_artifacts["docs"].discard_paths);
}

fn message(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn with(extra: &str) -> String {
    format!("version: 0.2\nphases:\n  build:\n    commands:\n      - echo\n{extra}")
}

#[test]
fn errors_name_key_and_line() {
    assert_eq!(
        message("version: 0.2\nphase:\n  build: {}\n"),
        "unknown key 'phase'; allowed: version, run-as, env, phases, reports, artifacts, batch, cache, proxy at line 2"
    );
    assert_eq!(message("phases:\n  build:\n    commands: [x]\n"), "missing key 'version' at line 1");
    assert!(message("version: 0.3\nphases: {}\n").starts_with("Invalid buildspec version '0.3'"));
    assert_eq!(message("version: 0.2\n"), "missing key 'phases' at line 1");
    assert_eq!(
        message("version: 0.2\nphases:\n  test:\n    commands: [x]\n"),
        "unknown key 'test'; allowed: install, pre_build, build, post_build at line 3"
    );
    assert!(message("version: 0.2\nphases:\n  build: {}\n").starts_with("No commands found"));
    assert_eq!(
        message("version: 0.2\nphases:\n  build:\n    commands:\n      - echo a: b\n"),
        "Expected Commands[0] to be of string type: found subkeys instead at line 5"
    );
    assert!(
        message("version: 0.2\nphases:\n  build:\n    commands: echo\n").contains("Commands to be a list")
    );
    assert!(
        message("version: 0.2\nphases:\n  build:\n    runtime-versions: {}\n    commands: [x]\n")
            .starts_with("unknown key 'runtime-versions'")
    );
    assert!(message(&with("artifacts:\n  name: x\n")).starts_with("missing key 'files' at line 7"));
    assert!(message(&with("artifacts:\n  files: []\n")).contains("at least one file"));
    assert!(message(&with("artifacts:\n  files: ['[']\n")).contains("is no file pattern"));
    assert!(message(&with("artifacts:\n  files: [x]\n  discard-paths: maybe\n")).contains("yes or no"));
    assert!(message(&with("env:\n  variables: {CODEBUILD_X: 1}\n")).contains("reserved"));
    assert!(message(&with("env:\n  variables: {'A-B': 1}\n")).contains("not a variable's name"));
    assert!(message(&with("env:\n  exported-variables: [AWS_KEY]\n")).contains("cannot be exported"));
    assert!(message(&with("env:\n  shell: fish\n")).contains("not supported"));
    assert!(message(&with("run-as: 'a; b'\n")).contains("Linux user"));
    assert!(message(&with("reports:\n  x: {files: [a]}\n")).contains("2 to 128"));
    assert!(message("a: b: c\n").contains("line 1"));
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (extra, name) in [
        ("proxy: {logs: yes}\n", "proxy/logs: yes"),
        ("env:\n  parameter-store: {A: b}\n", "env/parameter-store"),
        ("env:\n  secrets-manager: {A: b}\n", "env/secrets-manager"),
    ] {
        let text = message(&with(extra));
        assert!(text.contains(&format!("does not support '{name}'")), "{text}");
    }
    assert!(message(&with("reports:\n  unit: {files: [a], file-format: TestNGXML}\n")).contains("TESTNGXML"));
    assert!(parse(&with("env:\n  parameter-store: {}\n")).is_ok(), "an empty mapping asks for nothing");
}

#[test]
fn sections_of_other_builds_are_read_and_left_alone() {
    for good in [
        "cache:\n  key: a\n  fallback-keys: [b]\n  paths: ['node_modules/**/*']\n",
        "batch:\n  fast-fail: true\n  build-graph:\n    - identifier: a\n    - identifier: b\n      depend-on: [a]\n",
        "batch:\n  build-matrix:\n    static: {ignore-failure: true}\n    dynamic: {env: {variables: {A: [1, 2]}}}\n",
        "proxy: {logs: no, upload-artifacts: no}\n",
    ] {
        parse(&with(good)).unwrap();
    }
    for (bad, expected) in [
        ("cache: {path: [x]}\n", "path"),
        ("batch: {build-list: [{env: {}}]}\n", "identifier"),
        ("batch: {fast-fail: maybe}\n", "fast-fail"),
        ("proxy: {uploads: no}\n", "uploads"),
    ] {
        let text = message(&with(bad));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn version_0_1_has_its_own_keys() {
    let text = "version: 0.1\nenvironment_variables:\n  plaintext:\n    A: b\nphases:\n  build:\n    commands: [x]\nartifacts:\n  type: zip\n  files: [a]\n";
    let spec = parse(text).unwrap();
    assert_eq!(spec.version, Version::V01);
    assert_eq!(spec.variables["A"], "b");
    assert!(message(&text.replace("0.1", "0.2")).contains("environment_variables"));
}

#[test]
fn on_failure_in_all_forms() {
    let read = |value: &str| {
        let spec = parse(&format!(
            "version: 0.2\nphases:\n  build:\n    on-failure: '{value}'\n    commands: [x]\n"
        ));
        spec.map(|spec| spec.phases[0].on_failure.clone().unwrap())
    };
    let retry = |value: &str| match read(value).unwrap() {
        OnFailure::Retry { times, pattern } => (times, pattern.map(|pattern| pattern.as_str().to_owned())),
        other => panic!("{other:?}"),
    };
    assert_eq!(retry("RETRY"), (3, None));
    assert_eq!(retry("RETRY-100"), (100, None));
    assert_eq!(retry("RETRY-0"), (0, None));
    assert_eq!(retry("RETRY-.*Error.*"), (3, Some(".*Error.*".into())));
    assert_eq!(retry("RETRY-5-a-b"), (5, Some("a-b".into())));
    assert_eq!(retry("RETRY-503 Service"), (3, Some("503 Service".into())));
    for wrong in
        ["retry", "RETRY-", "RETRY-101", "RETRY-99999999999", "RETRY-3-(", "STOP", "RETRY-(a{1000}){1000}"]
    {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn patterns_match_as_documented() {
    let matches = |pattern: &str, path: &str| glob(pattern).unwrap().is_match(path);
    assert!(matches("**/*", "a") && matches("**/*", "a/b/c.txt") && matches("**/*", ".hidden"));
    assert!(matches("dir/*", "dir/a") && !matches("dir/*", "dir/a/b"));
    assert!(matches("dir/**/*", "dir/a") && matches("dir/**/*", "dir/a/b"));
    assert!(matches("./a.jar", "a.jar") && !matches("*.jar", "x/a.jar"));
}
