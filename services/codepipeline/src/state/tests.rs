#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::machine::apply;
use super::*;
use crate::structure::Mode;
use sample::{action, declaration, stage, stages, structure};
use towpath_api_codepipeline::{FailureConditions, PipelineDeclaration, RetryConfiguration};

/// A world that is told events, with ids that count.
struct Game {
    world: World,
    ids: u32,
    now: i64,
    changes: Vec<Change>,
}

impl Game {
    fn of(declaration: &PipelineDeclaration) -> Game {
        let structure = structure(declaration);
        let mut world = World { board: Board { version: 1, ..Board::default() }, ..World::default() };
        world.structures.insert(1, structure);
        Game { world, ids: 0, now: 0, changes: Vec::new() }
    }

    fn new(mode: &str) -> Game {
        Game::of(&declaration(mode, stages()))
    }

    fn tell(&mut self, event: Event) -> Result<(), Refusal> {
        self.now += 1;
        let ids = &mut self.ids;
        let mut next = || {
            *ids += 1;
            format!("a{ids}")
        };
        let changes = apply(&mut self.world, event, Timestamp::from_millis(self.now), &mut next)?;
        self.changes.extend(changes);
        Ok(())
    }

    fn start(&mut self, id: &str) -> Result<(), Refusal> {
        let mode = self.world.structures[&self.world.board.version].mode;
        let version = self.world.board.version;
        self.tell(Event::Start(Box::new(Execution { mode, version, ..sample::execution(id) })))
    }

    fn running(&self, id: &str) -> Vec<(String, String, String)> {
        let execution = &self.world.executions[id];
        let mut running = Vec::new();
        for (stage, run) in &execution.stages {
            for (name, action) in &run.actions {
                if action.status == ActionStatus::InProgress {
                    running.push((stage.clone(), name.clone(), action.id.clone()));
                }
            }
        }
        running
    }

    fn names(&self, id: &str) -> String {
        self.running(id).into_iter().map(|(_, name, _)| name).collect::<Vec<_>>().join(" ")
    }

    fn end(&mut self, id: &str, name: &str, ok: bool) {
        let (stage, _, action_id) =
            self.running(id).into_iter().find(|(_, running, _)| running == name).expect("it runs");
        let outcome = if ok { Outcome::Succeeded(Box::default()) } else { Outcome::Failed };
        self.tell(Event::ActionEnded { execution: id.into(), stage, action_id, outcome }).unwrap();
    }

    /// Lets everything that runs in the execution's stage succeed, until it leaves the stage.
    fn pass(&mut self, id: &str, stage: &str) {
        while self.stage(id) == stage && !self.running(id).is_empty() {
            let (_, name, _) = self.running(id)[0].clone();
            self.end(id, &name, true);
        }
    }

    fn stage(&self, id: &str) -> String {
        match &self.world.executions[id].progress {
            Progress::Waiting { stage } => format!("→{stage}"),
            Progress::Running { stage, .. } => stage.clone(),
            Progress::Ended { end, .. } => match end {
                End::Succeeded => "Succeeded".into(),
                End::Failed { stage } => format!("Failed in {stage}"),
                End::Stopped { stage, .. } => format!("Stopped in {}", stage.as_deref().unwrap_or("-")),
                End::Superseded { by } => format!("Superseded by {by}"),
                End::Cancelled { version } => format!("Cancelled by {version}"),
            },
        }
    }

    fn stop(&mut self, id: &str, abandon: bool) -> Result<(), Refusal> {
        let request = StopRequest { abandon, ..StopRequest::default() };
        self.tell(Event::Stop { execution: id.into(), request })
    }

    fn retry(&mut self, id: &str, stage: &str, mode: RetryMode) -> Result<(), Refusal> {
        self.tell(Event::Retry { execution: id.into(), stage: stage.into(), mode })
    }

    fn close(&mut self, stage: &str) {
        let to = Transition::Disabled { reason: "freeze".into(), by: "me".into(), at: Timestamp::EPOCH };
        self.tell(Event::Transition { stage: stage.into(), to }).unwrap();
    }

    fn open(&mut self, stage: &str) {
        let to = Transition::Enabled { by: "me".into(), at: Timestamp::EPOCH };
        self.tell(Event::Transition { stage: stage.into(), to }).unwrap();
    }
}

#[test]
fn an_execution_runs_through_its_stages_in_order() {
    let mut game = Game::new("SUPERSEDED");
    game.start("e1").unwrap();
    assert_eq!((game.stage("e1").as_str(), game.names("e1").as_str()), ("Source", "Checkout"));
    game.end("e1", "Checkout", true);
    assert_eq!(game.names("e1"), "Lint Unit", "those of one run order run side by side");
    game.end("e1", "Unit", true);
    assert_eq!(game.names("e1"), "Lint", "the next run order waits for all of the one before");
    game.end("e1", "Lint", true);
    assert_eq!(game.names("e1"), "Package");
    game.end("e1", "Package", true);
    assert_eq!((game.stage("e1").as_str(), game.names("e1").as_str()), ("Deploy", "Fleet"));
    game.end("e1", "Fleet", true);
    assert_eq!(game.stage("e1"), "Succeeded");
    assert!(game.world.board.active.is_empty());
    let states: Vec<_> =
        game.changes.iter().filter(|change| matches!(change, Change::Pipeline { .. })).collect();
    assert_eq!(states.len(), 2, "one start and one end: {states:?}");
}

#[test]
fn a_failed_action_stops_what_follows_and_its_siblings_run_to_their_end() {
    let mut game = Game::new("SUPERSEDED");
    game.start("e1").unwrap();
    game.end("e1", "Checkout", true);
    game.end("e1", "Unit", false);
    assert_eq!((game.stage("e1").as_str(), game.names("e1").as_str()), ("Build", "Lint"));
    game.end("e1", "Lint", true);
    assert_eq!(game.stage("e1"), "Failed in Build");
    assert!(!game.changes.iter().any(|change| matches!(change, Change::ActionStarted { action, .. } if action == "Package" || action == "Fleet")));
    assert_eq!(game.world.board.slots["Build"].occupant, None, "a failed stage is unlocked");
}

#[test]
fn a_newer_waiting_execution_supersedes_the_older_one() {
    let mut game = Game::new("SUPERSEDED");
    game.start("e1").unwrap();
    game.pass("e1", "Source");
    game.start("e2").unwrap();
    game.pass("e2", "Source");
    assert_eq!(game.stage("e2"), "→Build");
    game.start("e3").unwrap();
    game.pass("e3", "Source");
    assert_eq!(game.stage("e2"), "Superseded by e3");
    assert_eq!(game.stage("e1"), "Build", "what runs is not superseded");
    game.pass("e1", "Build");
    assert_eq!((game.stage("e1").as_str(), game.stage("e3").as_str()), ("Deploy", "Build"));
}

#[test]
fn queued_executions_keep_their_order_and_have_a_limit() {
    let mut game = Game::new("QUEUED");
    for number in 0..CONCURRENT_EXECUTIONS_LIMIT {
        game.start(&format!("e{number}")).unwrap();
    }
    assert_eq!(game.start("late"), Err(Refusal::TooManyExecutions));
    assert_eq!(game.stage("e1"), "→Source");
    game.pass("e0", "Source");
    assert_eq!((game.stage("e0").as_str(), game.stage("e1").as_str()), ("Build", "Source"));
    game.pass("e1", "Source");
    game.pass("e2", "Source");
    assert_eq!((game.stage("e1").as_str(), game.stage("e2").as_str()), ("→Build", "→Build"));
    game.pass("e0", "Build");
    assert_eq!((game.stage("e1").as_str(), game.stage("e2").as_str()), ("Build", "→Build"));
}

#[test]
fn parallel_executions_do_not_wait_for_each_other() {
    let mut game = Game::new("PARALLEL");
    game.start("e1").unwrap();
    game.start("e2").unwrap();
    assert_eq!((game.stage("e1").as_str(), game.stage("e2").as_str()), ("Source", "Source"));
    game.pass("e2", "Source");
    game.pass("e2", "Build");
    game.pass("e2", "Deploy");
    assert_eq!((game.stage("e1").as_str(), game.stage("e2").as_str()), ("Source", "Succeeded"));
}

#[test]
fn a_closed_transition_holds_and_only_the_newest_goes_on() {
    let mut game = Game::new("SUPERSEDED");
    game.close("Build");
    game.start("e1").unwrap();
    game.pass("e1", "Source");
    game.start("e2").unwrap();
    game.pass("e2", "Source");
    assert_eq!((game.stage("e1").as_str(), game.stage("e2").as_str()), ("Superseded by e2", "→Build"));
    game.open("Build");
    assert_eq!(game.stage("e2"), "Build");
    let to = Transition::Open;
    assert!(matches!(
        game.tell(Event::Transition { stage: "Nope".into(), to }),
        Err(Refusal::UnknownStage(_))
    ));
}

#[test]
fn stop_waits_for_what_runs_and_starts_nothing_more() {
    let mut game = Game::new("SUPERSEDED");
    game.start("e1").unwrap();
    game.end("e1", "Checkout", true);
    game.stop("e1", false).unwrap();
    assert_eq!(game.world.executions["e1"].stages["Build"].status, StageStatus::Stopping);
    assert_eq!(game.stop("e1", false), Err(Refusal::DuplicateStop));
    game.end("e1", "Unit", true);
    game.end("e1", "Lint", true);
    assert_eq!(game.stage("e1"), "Stopped in Build");
    assert_eq!(game.stop("e1", true), Err(Refusal::NotStoppable));
}

#[test]
fn abandon_ends_at_once_and_late_results_change_nothing() {
    let mut game = Game::new("SUPERSEDED");
    game.start("e1").unwrap();
    game.end("e1", "Checkout", true);
    let (stage, _, action_id) = game.running("e1")[0].clone();
    game.stop("e1", false).unwrap();
    game.stop("e1", true).unwrap();
    assert_eq!(game.stage("e1"), "Stopped in Build");
    let before = game.world.executions.clone();
    let outcome = Outcome::Succeeded(Box::default());
    game.tell(Event::ActionEnded { execution: "e1".into(), stage, action_id, outcome }).unwrap();
    assert_eq!(game.world.executions, before);
    game.start("e2").unwrap();
    game.pass("e2", "Source");
    assert_eq!(game.stage("e2"), "Build", "the stage is free");
}

#[test]
fn stopping_a_waiting_execution_takes_it_off_the_board() {
    let mut game = Game::new("QUEUED");
    game.start("e1").unwrap();
    game.start("e2").unwrap();
    game.stop("e2", false).unwrap();
    assert_eq!(game.stage("e2"), "Stopped in -");
    game.pass("e1", "Source");
    assert!(game.world.board.slots["Source"].inbound.is_empty());
}

#[test]
fn retry_runs_failed_actions_or_all_of_them() {
    for (mode, expected) in [(RetryMode::FailedActions, "Unit"), (RetryMode::AllActions, "Lint Unit")] {
        let mut game = Game::new("SUPERSEDED");
        game.start("e1").unwrap();
        game.end("e1", "Checkout", true);
        game.end("e1", "Lint", true);
        game.end("e1", "Unit", false);
        game.retry("e1", "Build", mode).unwrap();
        assert_eq!(game.names("e1"), expected);
        assert_eq!(game.world.executions["e1"].stages["Build"].retries.manual, 1);
        game.pass("e1", "Build");
        game.pass("e1", "Deploy");
        assert_eq!(game.stage("e1"), "Succeeded");
    }
}

#[test]
fn retry_is_refused_where_it_would_mix_things_up() {
    let mut game = Game::new("SUPERSEDED");
    game.start("e1").unwrap();
    assert_eq!(game.retry("e1", "Source", RetryMode::AllActions), Err(Refusal::Busy));
    game.end("e1", "Checkout", false);
    assert!(matches!(game.retry("e1", "Build", RetryMode::AllActions), Err(Refusal::NotRetryable(_))));
    assert!(matches!(game.retry("e1", "Nope", RetryMode::AllActions), Err(Refusal::UnknownStage(_))));
    game.start("e2").unwrap();
    assert_eq!(game.retry("e1", "Source", RetryMode::AllActions), Err(Refusal::NotLatest));
    game.end("e2", "Checkout", false);
    assert_eq!(game.retry("e1", "Source", RetryMode::AllActions), Err(Refusal::NotLatest));
    game.retry("e2", "Source", RetryMode::FailedActions).unwrap();
}

#[test]
fn a_changed_structure_cancels_what_it_concerns_and_nothing_else() {
    let mut changed = stages();
    changed[2] = stage("Deploy", vec![action("Ask", "Approval/Manual", 1, &[], &[])]);
    let mut same_later = stages();
    same_later[0].actions.as_mut().unwrap()[0]
        .configuration
        .as_mut()
        .unwrap()
        .insert("BranchName".into(), "x".into());
    for (stages, expected) in [(changed, "Cancelled by 2"), (same_later, "Deploy")] {
        let mut game = Game::new("SUPERSEDED");
        game.start("e1").unwrap();
        game.end("e1", "Checkout", true);
        game.world.structures.insert(2, structure(&declaration("SUPERSEDED", stages)));
        game.tell(Event::Updated { version: 2 }).unwrap();
        assert_eq!(game.names("e1"), "Lint Unit", "what runs is not interrupted");
        game.end("e1", "Lint", true);
        game.end("e1", "Unit", true);
        game.pass("e1", "Build");
        assert_eq!(game.stage("e1"), expected);
    }
}

#[test]
fn a_rollback_runs_one_stage_past_a_closed_transition() {
    let mut game = Game::new("SUPERSEDED");
    game.start("e1").unwrap();
    for stage in ["Source", "Build", "Deploy"] {
        game.pass("e1", stage);
    }
    game.close("Build");
    let target = ExecutionKind::Rollback { target: "e1".into() };
    let rollback = Execution {
        kind: target,
        progress: Progress::Waiting { stage: "Build".into() },
        ..sample::execution("r1")
    };
    game.tell(Event::Start(Box::new(rollback))).unwrap();
    assert_eq!(game.stage("r1"), "Build");
    game.pass("r1", "Build");
    assert_eq!(game.stage("r1"), "Succeeded", "it does not go on to the next stage");
    game.start("e2").unwrap();
    game.pass("e2", "Source");
    let target = ExecutionKind::Rollback { target: "e1".into() };
    let progress = Progress::Waiting { stage: "Build".into() };
    let rollback = Execution { kind: target, progress, ..sample::execution("r2") };
    game.tell(Event::Start(Box::new(rollback))).unwrap();
    game.pass("r2", "Build");
    assert_eq!(
        (game.stage("r2").as_str(), game.stage("e2").as_str()),
        ("Succeeded", "→Build"),
        "the next release waits on"
    );
}

#[test]
fn failure_conditions_retry_once_and_roll_back_to_the_last_success() {
    let mut declared = stages();
    declared[1].on_failure = Some(FailureConditions {
        result: Some("RETRY".into()),
        retry_configuration: Some(RetryConfiguration { retry_mode: Some("FAILED_ACTIONS".into()) }),
        conditions: None,
    });
    declared[2].on_failure =
        Some(FailureConditions { result: Some("ROLLBACK".into()), ..Default::default() });
    let mut game = Game::of(&declaration("SUPERSEDED", declared));
    game.start("e1").unwrap();
    game.end("e1", "Checkout", true);
    game.end("e1", "Lint", true);
    game.end("e1", "Unit", false);
    assert_eq!(game.names("e1"), "Unit", "it was retried by itself");
    game.pass("e1", "Build");
    game.pass("e1", "Deploy");
    assert_eq!(game.stage("e1"), "Succeeded");
    game.start("e2").unwrap();
    game.pass("e2", "Source");
    game.pass("e2", "Build");
    game.end("e2", "Fleet", false);
    let asked = Change::RollBack { execution: "e2".into(), stage: "Deploy".into(), target: "e1".into() };
    assert!(game.changes.contains(&asked), "{:?}", game.changes.last());
    game.start("e3").unwrap();
    game.end("e3", "Checkout", true);
    game.end("e3", "Lint", false);
    game.end("e3", "Unit", true);
    game.end("e3", "Lint", false);
    assert_eq!(game.stage("e3"), "Failed in Build", "only once");
}

#[test]
fn a_mode_is_the_executions_own() {
    let mut game = Game::new("PARALLEL");
    game.start("e1").unwrap();
    game.world.structures.insert(2, structure(&declaration("QUEUED", stages())));
    game.tell(Event::Updated { version: 2 }).unwrap();
    game.start("e2").unwrap();
    assert_eq!(game.world.executions["e2"].mode, Mode::Queued);
    assert_eq!((game.stage("e1").as_str(), game.stage("e2").as_str()), ("Source", "Source"));
}
