//! Builds' lives as tables.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn phases(progress: &Progress) -> String {
    let show = |phase: &PhaseRecord| match &phase.end {
        Some(end) => format!("{}:{}", phase.kind, end.status),
        None => phase.kind.to_string(),
    };
    progress.phases.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn done(status: Status, next: PhaseKind) -> Input {
    Input::PhaseDone { status, context: Context::default(), next }
}

/// Up to the end of DOWNLOAD_SOURCE.
fn running() -> Progress {
    let mut progress = Progress::submitted(at(0)).0;
    for input in [
        Input::Claimed,
        done(Status::Succeeded, PhaseKind::DownloadSource),
        done(Status::Succeeded, PhaseKind::Commands(PhaseName::Install)),
    ] {
        progress = progress.step(input, at(1)).unwrap().0;
    }
    progress
}

fn through(progress: &Progress, inputs: Vec<Input>) -> Progress {
    inputs.into_iter().fold(progress.clone(), |progress, input| progress.step(input, at(9)).unwrap().0)
}

#[test]
fn a_good_build_goes_through_every_phase() {
    let ok = Status::Succeeded;
    let end = through(
        &running(),
        vec![
            done(ok, PhaseKind::Commands(PhaseName::PreBuild)),
            done(ok, PhaseKind::Commands(PhaseName::Build)),
            done(ok, PhaseKind::Commands(PhaseName::PostBuild)),
            done(ok, PhaseKind::UploadArtifacts),
            Input::Staged,
            Input::Claimed,
            Input::Published { status: ok, context: Context::default() },
            Input::Finalized,
        ],
    );
    assert_eq!(
        phases(&end),
        "SUBMITTED:SUCCEEDED QUEUED:SUCCEEDED PROVISIONING:SUCCEEDED DOWNLOAD_SOURCE:SUCCEEDED \
         INSTALL:SUCCEEDED PRE_BUILD:SUCCEEDED BUILD:SUCCEEDED POST_BUILD:SUCCEEDED \
         UPLOAD_ARTIFACTS:SUCCEEDED FINALIZING:SUCCEEDED COMPLETED"
    );
    assert_eq!(end.status(), Some(Status::Succeeded));
    assert_eq!(end.step(Input::Stop, at(9)).unwrap_err(), Rejected::Finished);
}

#[test]
fn a_failed_phase_fails_the_build_even_if_all_others_succeed() {
    let failed = through(
        &running(),
        vec![
            done(Status::Failed, PhaseKind::UploadArtifacts),
            Input::Staged,
            Input::Published { status: Status::Succeeded, context: Context::default() },
            Input::Finalized,
        ],
    );
    assert_eq!(failed.status(), Some(Status::Failed));
}

#[test]
fn a_dead_attempt_is_forgotten_and_run_again_but_not_for_ever() {
    let mut progress = running();
    for attempt in 2..=MAX_DEATHS {
        progress = progress.step(Input::Claimed, at(20)).unwrap().0;
        assert_eq!(progress.state, State::Running { attempt });
        assert_eq!(phases(&progress), "SUBMITTED:SUCCEEDED QUEUED:SUCCEEDED PROVISIONING");
    }
    let (end, effects) = progress.step(Input::Claimed, at(30)).unwrap();
    assert_eq!(end.status(), Some(Status::Fault));
    assert!(effects.contains(&Effect::Released));
}

#[test]
fn a_breakdown_is_no_death_and_a_few_are_forgiven() {
    let (mut progress, mut pauses) = (running(), Vec::new());
    for round in 1..MAX_BREAKDOWNS {
        progress = progress.step(Input::Broke { message: "no room".into() }, at(20)).unwrap().0;
        assert_eq!((progress.status(), progress.breakdowns), (None, round));
        pauses.push(progress.pause_ms());
        progress = progress.step(Input::Claimed, at(21)).unwrap().0;
        assert_eq!(progress.state, State::Running { attempt: round + 1 });
    }
    assert_eq!(pauses, [1000, 2000, 4000, 8000, 16_000]);
    let (end, _) = progress.step(Input::Broke { message: "no room".into() }, at(30)).unwrap();
    assert_eq!(end.status(), Some(Status::Fault));
}

#[test]
fn publishing_survives_a_death_and_is_too_late_to_stop() {
    let publishing =
        through(&running(), vec![done(Status::Succeeded, PhaseKind::UploadArtifacts), Input::Staged]);
    assert_eq!(publishing.step(Input::Claimed, at(5)).unwrap().0, publishing);
    assert_eq!(publishing.step(Input::Stop, at(5)).unwrap_err(), Rejected::OutOfTurn);
    assert_eq!(publishing.step(Input::TimedOut, at(5)).unwrap_err(), Rejected::OutOfTurn);
}

#[test]
fn what_was_staged_on_a_lost_disk_is_built_again() {
    let publishing =
        through(&running(), vec![done(Status::Succeeded, PhaseKind::UploadArtifacts), Input::Staged]);
    let again = through(&publishing, vec![Input::Lost, Input::Claimed]);
    assert_eq!(again.state, State::Running { attempt: 2 });
    assert_eq!(phases(&again), "SUBMITTED:SUCCEEDED QUEUED:SUCCEEDED PROVISIONING");
    assert_eq!(running().step(Input::Lost, at(9)).unwrap_err(), Rejected::OutOfTurn);
}

#[test]
fn stop_and_timeout_end_the_running_phase() {
    let (stopped, effects) = running().step(Input::Stop, at(3)).unwrap();
    assert!(phases(&stopped).ends_with("INSTALL:STOPPED FINALIZING:SUCCEEDED COMPLETED"));
    assert_eq!(effects.iter().filter(|effect| **effect == Effect::StateChanged).count(), 1);
    let waiting = Progress::submitted(at(0)).0;
    let late = waiting.step(Input::TimedOut, at(3)).unwrap().0;
    assert_eq!(phases(&late), "SUBMITTED:SUCCEEDED QUEUED:TIMED_OUT COMPLETED");
    assert_eq!(late.phases[1].end.as_ref().unwrap().contexts[0].code, "BUILD_TIMED_OUT");
}

#[test]
fn what_follows_a_phase() {
    use PhaseName::*;
    let retry = OnFailure::Retry { times: 1, pattern: None };
    let table = [
        (Install, false, None, "UPLOAD_ARTIFACTS"),
        (Install, false, Some(&OnFailure::Continue), "PRE_BUILD"),
        (PreBuild, false, None, "UPLOAD_ARTIFACTS"),
        (Build, false, None, "POST_BUILD"),
        (Build, false, Some(&OnFailure::Abort), "UPLOAD_ARTIFACTS"),
        (Build, false, Some(&retry), "POST_BUILD"),
        (Build, true, Some(&OnFailure::Abort), "POST_BUILD"),
        (PostBuild, false, None, "UPLOAD_ARTIFACTS"),
    ];
    for (phase, succeeded, on_failure, expected) in table {
        assert_eq!(after(phase, succeeded, on_failure).to_string(), expected);
    }
}
