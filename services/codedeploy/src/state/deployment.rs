//! What a deployment does: `(state, event, now) -> (state, effects)`.
//!
//! Outcomes as AWS documents them at
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/deployment-configurations.html>: a deployment
//! fails when the next host could not be taken without going below the minimum of healthy hosts, or when no
//! host succeeded; with one host at a time the failure of the last host leaves the deployment successful.

use super::fleet::Fleet;
use serde::{Deserialize, Serialize};
use towpath_api::Timestamp;

/// Why a deployment failed: AWS's error code and a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: String,
    pub message: String,
}

impl Failure {
    pub fn new(code: &str, message: impl Into<String>) -> Failure {
        Failure { code: code.into(), message: message.into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Succeeded,
    Failed(Failure),
    Stopped { roll_back: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Accepted; its hosts are not chosen yet.
    Created,
    InProgress {
        started_at: Timestamp,
    },
    /// No host is taken any more; those in the middle of an event finish it.
    Stopping {
        started_at: Timestamp,
        roll_back: bool,
    },
    Ended {
        started_at: Option<Timestamp>,
        at: Timestamp,
        outcome: Outcome,
    },
}

impl Phase {
    pub fn started_at(&self) -> Option<Timestamp> {
        match self {
            Phase::Created => None,
            Phase::InProgress { started_at } | Phase::Stopping { started_at, .. } => Some(*started_at),
            Phase::Ended { started_at, .. } => *started_at,
        }
    }

    pub fn is_ended(&self) -> bool {
        matches!(self, Phase::Ended { .. })
    }

    /// AWS's DeploymentStatus.
    pub fn status(&self) -> &'static str {
        match self {
            Phase::Created => "Created",
            Phase::InProgress { .. } | Phase::Stopping { .. } => "InProgress",
            Phase::Ended { outcome: Outcome::Succeeded, .. } => "Succeeded",
            Phase::Ended { outcome: Outcome::Failed(_), .. } => "Failed",
            Phase::Ended { outcome: Outcome::Stopped { .. }, .. } => "Stopped",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub phase: Phase,
    pub fleet: Fleet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostEnd {
    Succeeded,
    Failed,
    /// It was taken, and given back before anything was done to it.
    Skipped,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The revision was found and the hosts are chosen.
    Planned(Fleet),
    /// Nothing can be deployed at all.
    Refused(Failure),
    HostEnded(HostEnd),
    StopRequested {
        roll_back: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Started,
    /// Take the next hosts, in the order of the plan.
    Take(u32),
    /// Take commands back that no agent has acknowledged.
    TakeBack,
    Ended(Outcome),
}

/// An event that does not fit the phase (late, twice) changes nothing and has no effects.
pub fn advance(state: &Progress, event: Event, now: Timestamp) -> (Progress, Vec<Effect>) {
    let mut next = state.clone();
    let mut effects = Vec::new();
    match (&state.phase, event) {
        (Phase::Created, Event::Planned(fleet)) => {
            next.fleet = fleet;
            next.phase = Phase::InProgress { started_at: now };
            effects.push(Effect::Started);
            match impossible(&fleet) {
                Some(failure) => end(&mut next, &mut effects, now, Outcome::Failed(failure)),
                None => go_on(&mut next, &mut effects, now),
            }
        }
        (Phase::Created, Event::Refused(failure)) => {
            end(&mut next, &mut effects, now, Outcome::Failed(failure));
        }
        (Phase::Created, Event::StopRequested { .. }) => {
            // Nothing was deployed, so there is nothing to roll back.
            end(&mut next, &mut effects, now, Outcome::Stopped { roll_back: false });
        }
        (Phase::InProgress { started_at }, Event::StopRequested { roll_back }) => {
            next.phase = Phase::Stopping { started_at: *started_at, roll_back };
            skip_pending(&mut next.fleet);
            effects.push(Effect::TakeBack);
            stop_on(&mut next, &mut effects, now, roll_back);
        }
        (Phase::InProgress { .. }, Event::HostEnded(host)) if state.fleet.in_progress > 0 => {
            count(&mut next.fleet, host);
            go_on(&mut next, &mut effects, now);
        }
        (Phase::Stopping { roll_back, .. }, Event::HostEnded(host)) if state.fleet.in_progress > 0 => {
            count(&mut next.fleet, host);
            stop_on(&mut next, &mut effects, now, *roll_back);
        }
        _ => {}
    }
    (next, effects)
}

fn impossible(fleet: &Fleet) -> Option<Failure> {
    if fleet.total() == 0 {
        return Some(Failure::new(
            "NO_INSTANCES",
            "The deployment failed because no instances were found for your deployment group. Check your deployment group settings to make sure the tags for your on-premises instances correctly identify the instances you want to deploy to, and then try again.",
        ));
    }
    (fleet.pending > 0 && fleet.room() == 0).then(|| {
        Failure::new(
            "HEALTH_CONSTRAINTS_INVALID",
            format!(
                "The deployment can't start: its configuration asks for {} healthy instances at any time, and the deployment group has {}. Use a configuration that lets at least one instance be taken.",
                fleet.minimum,
                fleet.total()
            ),
        )
    })
}

fn count(fleet: &mut Fleet, host: HostEnd) {
    fleet.in_progress -= 1;
    match host {
        HostEnd::Succeeded => fleet.succeeded += 1,
        HostEnd::Failed => fleet.failed += 1,
        HostEnd::Skipped => fleet.skipped += 1,
    }
}

fn skip_pending(fleet: &mut Fleet) {
    fleet.skipped += fleet.pending;
    fleet.pending = 0;
}

fn go_on(next: &mut Progress, effects: &mut Vec<Effect>, now: Timestamp) {
    let room = next.fleet.room();
    if room > 0 {
        next.fleet.pending -= room;
        next.fleet.in_progress += room;
        effects.push(Effect::Take(room));
    }
    if next.fleet.in_progress > 0 {
        return;
    }
    let none_succeeded = next.fleet.succeeded == 0 && next.fleet.failed > 0;
    let outcome = if next.fleet.pending > 0 || none_succeeded {
        Outcome::Failed(Failure::new(
            "HEALTH_CONSTRAINTS",
            "The overall deployment failed because too many individual instances failed deployment, too few healthy instances are available for deployment, or some instances in your deployment group are experiencing problems.",
        ))
    } else {
        Outcome::Succeeded
    };
    end(next, effects, now, outcome);
}

fn stop_on(next: &mut Progress, effects: &mut Vec<Effect>, now: Timestamp, roll_back: bool) {
    if next.fleet.in_progress == 0 {
        end(next, effects, now, Outcome::Stopped { roll_back });
    }
}

fn end(next: &mut Progress, effects: &mut Vec<Effect>, now: Timestamp, outcome: Outcome) {
    skip_pending(&mut next.fleet);
    next.phase = Phase::Ended { started_at: next.phase.started_at(), at: now, outcome: outcome.clone() };
    effects.push(Effect::Ended(outcome));
}

#[cfg(test)]
mod tests {
    use super::super::fleet::MinimumHealthy;
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn created() -> Progress {
        Progress { phase: Phase::Created, fleet: Fleet::default() }
    }

    fn planned(rule: MinimumHealthy, hosts: u32) -> (Progress, Vec<Effect>) {
        advance(&created(), Event::Planned(Fleet::new(rule, hosts, 0)), NOW)
    }

    fn ended(state: &Progress) -> &Outcome {
        match &state.phase {
            Phase::Ended { outcome, .. } => outcome,
            other => panic!("not ended: {other:?}"),
        }
    }

    #[test]
    fn one_at_a_time_stops_at_the_first_failure() {
        let (state, effects) = planned(MinimumHealthy::MostConcurrency(1), 2);
        assert_eq!(effects, [Effect::Started, Effect::Take(1)]);
        let (state, _) = advance(&state, Event::HostEnded(HostEnd::Failed), NOW);
        assert!(matches!(ended(&state), Outcome::Failed(failure) if failure.code == "HEALTH_CONSTRAINTS"));
        assert_eq!((state.fleet.failed, state.fleet.skipped), (1, 1));
    }

    #[test]
    fn one_at_a_time_forgives_the_last_host_but_not_the_only_one() {
        let (state, _) = planned(MinimumHealthy::MostConcurrency(1), 2);
        let (state, effects) = advance(&state, Event::HostEnded(HostEnd::Succeeded), NOW);
        assert_eq!(effects, [Effect::Take(1)]);
        let (state, _) = advance(&state, Event::HostEnded(HostEnd::Failed), NOW);
        assert_eq!(ended(&state), &Outcome::Succeeded);

        let (state, _) = planned(MinimumHealthy::MostConcurrency(1), 1);
        let (state, _) = advance(&state, Event::HostEnded(HostEnd::Failed), NOW);
        assert!(matches!(ended(&state), Outcome::Failed(_)));
    }

    #[test]
    fn all_at_once_succeeds_with_a_single_host() {
        let (mut state, effects) = planned(MinimumHealthy::FleetPercent(0), 3);
        assert_eq!(effects, [Effect::Started, Effect::Take(3)]);
        for end in [HostEnd::Failed, HostEnd::Succeeded, HostEnd::Failed] {
            state = advance(&state, Event::HostEnded(end), NOW).0;
        }
        assert_eq!(ended(&state), &Outcome::Succeeded);
    }

    #[test]
    fn no_hosts_and_too_few_hosts_are_refused() {
        let (state, _) = planned(MinimumHealthy::FleetPercent(0), 0);
        assert!(matches!(ended(&state), Outcome::Failed(failure) if failure.code == "NO_INSTANCES"));
        let (state, effects) = planned(MinimumHealthy::HostCount(2), 2);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Take(_))));
        assert!(matches!(ended(&state), Outcome::Failed(f) if f.code == "HEALTH_CONSTRAINTS_INVALID"));
    }

    #[test]
    fn a_stop_waits_for_the_hosts_at_work_and_takes_no_more() {
        let (state, _) = planned(MinimumHealthy::FleetPercent(50), 4);
        let (state, effects) = advance(&state, Event::StopRequested { roll_back: true }, NOW);
        assert_eq!(effects, [Effect::TakeBack]);
        let (state, effects) = advance(&state, Event::HostEnded(HostEnd::Succeeded), NOW);
        assert!(effects.is_empty());
        let (state, effects) = advance(&state, Event::HostEnded(HostEnd::Skipped), NOW);
        assert_eq!(effects, [Effect::Ended(Outcome::Stopped { roll_back: true })]);
        assert_eq!(state.fleet.skipped, 3);
        let (again, effects) = advance(&state, Event::StopRequested { roll_back: true }, NOW);
        assert_eq!((again, effects), (state, vec![]));
    }

    /// A small generator with a fixed seed: a failure here is the same failure tomorrow.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % sides
        }
    }

    /// Counts what effects ask for, independently of the planner's own counters.
    #[derive(Default)]
    struct Truth {
        at_work: u32,
        broken: u32,
        ended: bool,
    }

    impl Truth {
        fn see(&mut self, effects: &[Effect]) {
            for effect in effects {
                match effect {
                    Effect::Take(count) => self.at_work += count,
                    Effect::Ended(_) => self.ended = true,
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn healthy_hosts_never_fall_below_the_minimum() {
        let mut dice = Dice(0x5EED_CAFE_F00D_D00D);
        for round in 0..20_000u64 {
            let hosts = dice.roll(40) as u32;
            let current = dice.roll(6) as u32;
            let rule = match dice.roll(3) {
                0 => MinimumHealthy::HostCount(dice.roll(45) as u32),
                1 => MinimumHealthy::FleetPercent(dice.roll(101) as u32),
                _ => MinimumHealthy::MostConcurrency(1 + dice.roll(3) as u32),
            };
            let minimum = rule.of(hosts + current);
            let failing = dice.roll(101);
            let mut truth = Truth::default();
            let (mut state, effects) =
                advance(&created(), Event::Planned(Fleet::new(rule, hosts, current)), NOW);
            truth.see(&effects);
            let mut steps = 0;
            while !truth.ended {
                let healthy = hosts + current - truth.at_work - truth.broken;
                assert!(healthy >= minimum, "round {round}: {healthy} < {minimum} with {rule:?}");
                steps += 1;
                assert!(steps < 1_000, "round {round} does not end");
                let event = if dice.roll(60) == 0 {
                    Event::StopRequested { roll_back: dice.roll(2) == 0 }
                } else if truth.at_work > 0 {
                    truth.at_work -= 1;
                    let failed = dice.roll(100) < failing;
                    truth.broken += u32::from(failed);
                    Event::HostEnded(if failed { HostEnd::Failed } else { HostEnd::Succeeded })
                } else {
                    panic!("round {round}: nobody works and it has not ended: {state:?}");
                };
                let (next, effects) = advance(&state, event, NOW);
                truth.see(&effects);
                state = next;
            }
            assert_eq!(truth.at_work, 0, "round {round}: ended while hosts were at work");
            assert_eq!(state.fleet.total(), hosts + current);
        }
    }
}
