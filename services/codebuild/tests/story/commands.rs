//! What commands may do to the shell, and what they may not.

use super::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn environment_folder_and_functions_last_between_commands_and_phases() {
    let world = World::new().await;
    let text = "version: 0.2
env:
  exported-variables: [RESULT, MISSING]
phases:
  install:
    commands:
      - greet() { echo \"hi $1\"; }
      - export A=1
      - B='two words'
      - mkdir -p deep && cd deep
      - unset HOME
  build:
    commands:
      - greet \"$A $B\"
      - basename \"$PWD\"
      - echo home=${HOME-none}
      - export RESULT='a
        b'
  post_build:
    commands:
      - echo succeeding=$CODEBUILD_BUILD_SUCCEEDING
";
    let build = world.build(text).await;
    assert_eq!(build.build_status.as_deref(), Some("SUCCEEDED"));
    assert_eq!(world.printed(&build), ["hi 1 two words", "deep", "home=none", "succeeding=1"]);
    let exported = build.exported_environment_variables.unwrap();
    assert_eq!(exported[0].value.as_deref(), Some("a b"));
    assert_eq!((exported[1].name.as_deref(), exported[1].value.as_deref()), (Some("MISSING"), Some("")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_command_does_confuses_its_end() {
    let world = World::new().await;
    let build = world
        .build(&spec(&[
            "export KEPT=yes",
            "exit 0",
            "exec echo replaced",
            "set -e; false || true",
            "cat <<'EOF'\nheredoc $X\nEOF",
            "printf 'no newline'",
            "printf '\\033[1mbold\\000\\n'",
            "sleep 60 & echo background",
            "set -euo pipefail",
            "trap 'echo trapped' EXIT",
            "PATH=/nowhere",
            "echo kept=$KEPT",
            "exec >/dev/null",
            "echo still here",
        ]))
        .await;
    assert_eq!(
        build.build_status.as_deref(),
        Some("SUCCEEDED"),
        "{:#?}",
        world.log(build.id.as_ref().unwrap())
    );
    assert_eq!(
        world.printed(&build),
        [
            "replaced",
            "heredoc $X",
            "no newline",
            "\u{1b}[1mbold\0",
            "background",
            "trapped",
            "kept=yes",
            "still here"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_arrives_whole_in_pieces() {
    let world = World::new().await;
    let build = world.build(&spec(&["head -c 3000000 /dev/zero | tr '\\0' x"])).await;
    let printed = world.printed(&build);
    assert!(printed.len() > 50 && printed.iter().all(|line| line.len() <= 32 << 10));
    assert_eq!(printed.iter().map(String::len).sum::<usize>(), 3_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_beyond_its_bound_says_so_and_the_build_goes_on() {
    let world = World::new().await;
    let build = world.build(&spec(&["head -c 9000000 /dev/zero | tr '\\0' x", "exit 0"])).await;
    assert_eq!(build.build_status.as_deref(), Some("SUCCEEDED"));
    let kept: usize = world.printed(&build).iter().map(String::len).sum();
    // What is read at once may go beyond it.
    let most = (4 << 20) + (64 << 10);
    assert!((3 << 20..=most).contains(&kept), "{kept} bytes were kept of 4 MiB");
    let log = world.log(build.id.as_deref().unwrap());
    assert!(log.iter().any(|line| line.contains("The log is full at 4194304 bytes")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_runs_finally_and_post_build_and_says_why() {
    let world = World::new().await;
    let text = "version: 0.2
phases:
  build:
    commands: ['echo one', 'exit 3', 'echo never']
    finally: ['echo finally']
  post_build:
    commands: ['echo succeeding=$CODEBUILD_BUILD_SUCCEEDING']
";
    let build = world.build(text).await;
    assert_eq!(build.build_status.as_deref(), Some("FAILED"));
    assert!(phases(&build).contains("BUILD:FAILED POST_BUILD:SUCCEEDED UPLOAD_ARTIFACTS:SUCCEEDED"));
    assert_eq!(
        context(&build, "BUILD"),
        "COMMAND_EXECUTION_ERROR: Error while executing command: exit 3. Reason: exit status 3"
    );
    assert_eq!(world.printed(&build), ["one", "finally", "succeeding=0"]);
    let log = world.log(build.id.as_ref().unwrap());
    assert!(log.iter().any(|line| line.ends_with("Command did not exit successfully exit 3 exit status 3")));
    assert!(log.iter().any(|line| line.ends_with("Phase complete: BUILD State: FAILED")));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_failure_in_its_forms() {
    let world = World::new().await;
    let text = |phase: &str, on_failure: &str, command: &str| {
        format!(
            "version: 0.2\nphases:\n  {phase}:\n    on-failure: '{on_failure}'\n    commands:\n      - \
             '{command}'\n  post_build:\n    commands: ['echo after']\n"
        )
    };
    world.project(&spec(&["true"]), |_| {}).await;
    let run = async |text: String| {
        let id = world.start(|input| input.buildspec_override = Some(text)).await;
        world.finished(&id).await
    };
    let aborted = run(text("build", "ABORT", "false")).await;
    assert!(phases(&aborted).contains("BUILD:FAILED UPLOAD_ARTIFACTS"), "{}", phases(&aborted));
    let default = run(text("pre_build", "RETRY-0", "false")).await;
    assert!(phases(&default).contains("PRE_BUILD:FAILED UPLOAD_ARTIFACTS"));
    let continued = run(text("pre_build", "CONTINUE", "false")).await;
    assert!(phases(&continued).contains("PRE_BUILD:FAILED BUILD:SUCCEEDED POST_BUILD:SUCCEEDED"));
    assert_eq!(continued.build_status.as_deref(), Some("FAILED"));
    let twice = "echo try; test -e second || { touch second; exit 1; }";
    let retried = run(text("build", "RETRY-2", twice)).await;
    assert_eq!(retried.build_status.as_deref(), Some("SUCCEEDED"));
    assert_eq!(world.printed(&retried), ["try", "try", "after"]);
    let matching = run(text("build", "RETRY-3-time.*out", "echo timed out; exit 1")).await;
    assert_eq!(world.printed(&matching).iter().filter(|line| *line == "timed out").count(), 4);
    let other = run(text("build", "RETRY-3-time.*out", "echo wrong; exit 1")).await;
    assert_eq!(world.printed(&other), ["wrong", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn version_0_1_gives_each_command_a_shell_of_its_own() {
    let world = World::new().await;
    let text =
        "version: 0.1\nphases:\n  build:\n    commands: ['A=1; cd /', 'echo \"a=${A-} $(basename $PWD)\"']\n";
    let build = world.build(text).await;
    assert_eq!(world.printed(&build), ["a= src"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_have_their_precedence_and_documented_values() {
    let world = World::new().await;
    let text = "version: 0.2
env:
  variables: {FROM: spec, SPEC: spec, AWS_REGION: mine}
phases:
  build:
    commands:
      - echo \"$FROM $SPEC $PROJECT $START $AWS_REGION $AWS_DEFAULT_REGION\"
      - echo \"$CODEBUILD_BUILD_NUMBER $CODEBUILD_INITIATOR $CODEBUILD_BUILD_IMAGE\"
      - test \"$CODEBUILD_BUILD_ID\" = \"app:$CODEBUILD_LOG_PATH\" && test \"$CODEBUILD_SRC_DIR\" = \"$PWD\"
      - echo \"$CODEBUILD_BUILD_ARN\" | cut -d/ -f1
      - echo \"$AWS_ENDPOINT_URL\"
      - echo \"key $AWS_SECRET_ACCESS_KEY $AWS_ACCESS_KEY_ID\"
      - printf '%s\\n' \"$QUOTED\"
";
    use towpath_api_codebuild::EnvironmentVariable;
    let variable = |name: &str, value: &str| EnvironmentVariable {
        name: Some(name.into()),
        value: Some(value.into()),
        type_: None,
    };
    world
        .project(text, |input| {
            let environment = input.environment.as_mut().unwrap();
            environment.environment_variables = Some(vec![
                variable("FROM", "project"),
                variable("PROJECT", "project"),
                variable("START", "project"),
                variable("QUOTED", "it's $HOME \"x\"\n`y`\\"),
                variable("not.a-name", "x"),
            ]);
        })
        .await;
    let id = world
        .start(|input| input.environment_variables_override = Some(vec![variable("START", "start")]))
        .await;
    let build = world.finished(&id).await;
    assert_eq!(
        world.printed(&build),
        [
            "project spec project start mine us-east-1",
            "1 ada aws/codebuild/standard:7.0",
            "arn:aws:codebuild:us-east-1:000000000000:build",
            "http://127.0.0.1:4566",
            "key *** ***",
            "it's $HOME \"x\"",
            "`y`\\",
        ]
    );
    let spec = world.sandboxes.specs.lock().unwrap()[0].clone();
    assert_eq!(spec.relays[0].inside, "127.0.0.1:4566".parse().unwrap());
    assert_eq!(spec.limits.memory_bytes, Some(3 << 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn buildspec_and_runtime_errors_fail_download_source() {
    let world = World::new().await;
    world.project(&spec(&["true"]), |_| {}).await;
    for (text, expected) in [
        ("version: 0.2\nphase: {}\n", "YAML_FILE_ERROR: unknown key 'phase'"),
        ("version: 0.2\nphases:\n  build:\n    commands:\n      - a: b\n", "found subkeys instead at line 5"),
        (
            "version: 0.2\nphases:\n  install:\n    runtime-versions: {python: 2.4}\n",
            "YAML_FILE_ERROR: Unknown runtime version named '2.4' of python. This build image has the following",
        ),
        (
            "version: 0.2\nphases:\n  install:\n    runtime-versions: {cobol: 1}\n",
            "Unknown runtime named 'cobol'",
        ),
        ("version: 0.2\nproxy: {logs: yes}\nphases: {}\n", "Towpath does not support 'proxy/logs: yes'"),
    ] {
        let id = world.start(|input| input.buildspec_override = Some(text.into())).await;
        let build = world.finished(&id).await;
        assert_eq!(phases(&build), "DOWNLOAD_SOURCE:FAILED FINALIZING:SUCCEEDED COMPLETED");
        let context = context(&build, "DOWNLOAD_SOURCE");
        assert!(context.contains(expected), "{context}");
    }
    let good = "version: 0.2\nphases:\n  install:\n    runtime-versions: {python: 3.x}\n";
    let id = world.start(|input| input.buildspec_override = Some(good.into())).await;
    assert_eq!(world.finished(&id).await.build_status.as_deref(), Some("SUCCEEDED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_fails_the_command() {
    let world = World::new().await;
    let text = "version: 0.2\nrun-as: nobody-here\nphases:\n  build:\n    commands: [id]\n";
    let build = world.build(text).await;
    assert!(context(&build, "BUILD").contains("nobody-here"), "{}", context(&build, "BUILD"));
}
