//! Random lives of pipelines: whatever happens in whatever order, the parent's invariants hold after
//! every event, and everything ends when all actions end and all transitions are open. The seed of a
//! failing run is in its message.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::machine::apply;
use super::*;
use sample::{declaration, stages, structure};

/// xorshift64*: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.roll(from.len())) }
    }
}

fn in_progress(world: &World) -> Vec<(String, String, String)> {
    let mut running = Vec::new();
    for execution in world.executions.values() {
        for (stage, run) in &execution.stages {
            for action in run.actions.values().filter(|action| action.status == ActionStatus::InProgress) {
                running.push((execution.id.clone(), stage.clone(), action.id.clone()));
            }
        }
    }
    running
}

fn event(dice: &mut Dice, world: &World, mode: Mode, count: &mut u32) -> Option<Event> {
    let all: Vec<String> = world.executions.keys().cloned().collect();
    let stage = ["Source", "Build", "Deploy"][dice.roll(3)].to_owned();
    match dice.roll(16) {
        0..=2 => {
            *count += 1;
            let id = format!("e{count:04}");
            Some(Event::Start(Box::new(Execution { mode, ..sample::execution(&id) })))
        }
        3..=9 => {
            let (execution, stage, action_id) = dice.pick(&in_progress(world))?.clone();
            let outcome =
                if dice.roll(5) == 0 { Outcome::Failed } else { Outcome::Succeeded(Box::default()) };
            Some(Event::ActionEnded { execution, stage, action_id, outcome })
        }
        10 => {
            let request = StopRequest { abandon: dice.roll(2) == 0, ..StopRequest::default() };
            Some(Event::Stop { execution: dice.pick(&all)?.clone(), request })
        }
        11 | 12 => {
            let mode = if dice.roll(2) == 0 { RetryMode::FailedActions } else { RetryMode::AllActions };
            Some(Event::Retry { execution: dice.pick(&all)?.clone(), stage, mode })
        }
        13 => {
            let to = Transition::Disabled { reason: "x".into(), by: "x".into(), at: Timestamp::EPOCH };
            Some(Event::Transition { stage, to })
        }
        14 => Some(Event::Transition { stage, to: Transition::Open }),
        _ => {
            let (kind, progress) = (
                ExecutionKind::Rollback { target: dice.pick(&all)?.clone() },
                Progress::Waiting { stage: "Deploy".into() },
            );
            *count += 1;
            let id = format!("e{count:04}");
            (mode != Mode::Parallel)
                .then(|| Event::Start(Box::new(Execution { mode, kind, progress, ..sample::execution(&id) })))
        }
    }
}

fn check(world: &World, seed: u64) {
    let structure = &world.structures[&1];
    let mut holders: BTreeMap<&str, &str> = BTreeMap::new();
    for execution in world.executions.values() {
        let active = world.board.active.contains(&execution.id);
        assert_eq!(active, execution.is_active(), "seed {seed}: {} on the board", execution.id);
        if let Progress::Running { stage, .. } = &execution.progress {
            let run = &execution.stages[stage];
            assert!(run.is_busy(), "seed {seed}: {} runs {stage} and does nothing", execution.id);
            if execution.mode != Mode::Parallel {
                let other = holders.insert(stage, &execution.id);
                assert_eq!(other, None, "seed {seed}: two executions in {stage}");
                assert_eq!(world.board.slots[stage].occupant.as_ref(), Some(&execution.id), "seed {seed}");
            }
        }
        for (stage, run) in &execution.stages {
            if run.is_busy() {
                assert_eq!(
                    execution.stage(),
                    Some(stage.as_str()),
                    "seed {seed}: an action outside its stage"
                );
            }
            let declared = structure.stage(stage).unwrap();
            for later in &declared.actions {
                let Some(started) = run.actions.get(&later.name) else { continue };
                for earlier in declared.actions.iter().filter(|earlier| earlier.run_order < later.run_order) {
                    let status = run.actions.get(&earlier.name).map(|run| run.status);
                    assert_eq!(
                        status,
                        Some(ActionStatus::Succeeded),
                        "seed {seed}: {} ({started:?}) ran although {} had not succeeded",
                        later.name,
                        earlier.name
                    );
                }
            }
        }
    }
    for (stage, slot) in &world.board.slots {
        for id in &slot.inbound {
            let expected = Progress::Waiting { stage: stage.clone() };
            assert_eq!(world.executions[id].progress, expected, "seed {seed}: inbound of {stage}");
        }
        let superseding = slot
            .inbound
            .iter()
            .map(|id| &world.executions[id])
            .filter(|execution| {
                execution.mode == Mode::Superseded && execution.kind == ExecutionKind::Standard
            })
            .count();
        assert!(superseding <= 1, "seed {seed}: {superseding} wait at {stage}");
    }
}

fn live(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (name, mode) =
        [("SUPERSEDED", Mode::Superseded), ("QUEUED", Mode::Queued), ("PARALLEL", Mode::Parallel)]
            [dice.roll(3)];
    let mut world = World { board: Board { version: 1, ..Board::default() }, ..World::default() };
    world.structures.insert(1, structure(&declaration(name, stages())));
    let (mut count, mut ids) = (0, 0u64);
    let mut next = || {
        ids += 1;
        format!("a{ids}")
    };
    for step in 0..120 {
        let now = Timestamp::from_millis(step);
        if let Some(event) = event(&mut dice, &world, mode, &mut count) {
            let _ = apply(&mut world, event, now, &mut next);
            check(&world, seed);
        }
    }
    for stage in ["Source", "Build", "Deploy"] {
        let event = Event::Transition { stage: stage.into(), to: Transition::Open };
        apply(&mut world, event, Timestamp::EPOCH, &mut next).unwrap();
    }
    for _ in 0..10_000 {
        let Some((execution, stage, action_id)) = dice.pick(&in_progress(&world)).cloned() else { break };
        let outcome = Outcome::Succeeded(Box::default());
        let event = Event::ActionEnded { execution, stage, action_id, outcome };
        apply(&mut world, event, Timestamp::EPOCH, &mut next).unwrap();
        check(&world, seed);
    }
    assert!(world.board.active.is_empty(), "seed {seed}: these never end: {:?}", world.board.active);
    assert!(
        world.board.slots.values().all(|slot| slot.occupant.is_none() && slot.inbound.is_empty()),
        "seed {seed}"
    );
}

#[test]
fn random_lives_keep_the_invariants_and_end() {
    for seed in 1..=80 {
        live(seed);
    }
}
