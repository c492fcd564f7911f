//! One thing that happens to a deployment or to one of its hosts, carried out as one transaction: the
//! planner decides, this module reads what it needs and writes what it says.
//!
//! A report of one host touches its own documents only. The deployment's document is written when a host
//! ends, and then the next hosts are taken in the same transaction. Nothing here depends on the number of
//! hosts, except taking many at once.

use super::{DEPLOYMENTS, TIMERS, notice, rollback};
use crate::CodeDeployService;
use crate::error::WorkError;
use crate::state::deployment::{Effect, Event, HostEnd, Outcome, advance};
use crate::state::host::{Circumstances, Host, Report, Step};
use crate::store::{
    Deployment, DeploymentEntry, Group, HostQueue, HostRevision, LastDeployment, Plan, Target,
    revision_identity,
};
use towpath_api::Timestamp;
use towpath_store::{Job, StoreError, Txn, Versioned, key};

/// Rounds of reading and deciding again before a conflict is given up.
pub(crate) const MAX_ROUNDS: usize = 100;

/// A transaction being built, and the hosts to wake when it is committed.
pub(crate) struct Change {
    pub txn: Txn,
    pub wake: Vec<String>,
    pub now: Timestamp,
}

impl Change {
    pub fn new(now: Timestamp) -> Change {
        Change { txn: Txn::new(), wake: Vec::new(), now }
    }
}

/// What becomes of a host.
pub(crate) enum Verdict<T> {
    Leave(T),
    Set { host: Host, end: Option<HostEnd>, answer: T },
}

impl CodeDeployService {
    /// An agent's report about the command of one event. `Err(())` inside: it broke the protocol.
    pub(crate) async fn report(
        &self,
        deployment_id: &str,
        instance: &str,
        event: usize,
        report: Report,
    ) -> Result<Result<&'static str, ()>, WorkError> {
        self.change_host(deployment_id, instance, true, |target, deployment, now| {
            let given = Circumstances {
                ignore_application_stop_failures: deployment.ignore_application_stop_failures,
                stopping: deployment.takes_no_more(),
            };
            match target.host.report(event, report.clone(), given, now) {
                Step::Unchanged(status) => Verdict::Leave(Ok(status)),
                Step::OutOfOrder => Verdict::Leave(Err(())),
                Step::Changed { host, command_status, end } => {
                    Verdict::Set { host, end, answer: Ok(command_status) }
                }
            }
        })
        .await
    }

    /// Takes an open command back that no agent has acknowledged.
    pub(crate) async fn take_back(&self, deployment_id: &str, instance: &str) -> Result<(), WorkError> {
        self.change_host(deployment_id, instance, true, |target, _, now| match target.host.take_back(now) {
            Some((host, end)) => Verdict::Set { host, end: Some(end), answer: () },
            None => Verdict::Leave(()),
        })
        .await
    }

    /// Fails a host whose deadline has passed. `Some`: when to look again.
    pub(crate) async fn give_up_if_silent(
        &self,
        deployment_id: &str,
        instance: &str,
    ) -> Result<Option<Timestamp>, WorkError> {
        let limits = self.config.limits();
        let Some(target) = self.store.get::<Target>(&Target::key_of(deployment_id, instance)).await? else {
            return Ok(None);
        };
        let Some(deadline) = target.host.deadline(limits) else { return Ok(None) };
        let deadline = deadline.max(self.listening_since.plus_millis(limits.agent_timeout_ms));
        let now = self.store.now();
        let queue = self.store.get::<HostQueue>(&key(&[instance])).await?;
        let is_first =
            queue.is_some_and(|queue| queue.deployments.first().is_some_and(|id| id == deployment_id));
        if !is_first {
            return Ok(Some(now.plus_millis(limits.agent_timeout_ms)));
        }
        if deadline > now {
            return Ok(Some(deadline));
        }
        self.change_host(deployment_id, instance, false, |target, _, now| {
            match target.host.give_up(limits, now) {
                Some(host) => Verdict::Set { host, end: Some(HostEnd::Failed), answer: () },
                None => Verdict::Leave(()),
            }
        })
        .await?;
        Ok(None)
    }

    /// Something that happens to the deployment as a whole.
    pub(crate) async fn deployment_event(&self, id: &str, event: Event) -> Result<Deployment, WorkError> {
        let _turn = self.hub.stripe(id).lock().await;
        for _ in 0..MAX_ROUNDS {
            let old = self.deployment(id).await?;
            let mut change = Change::new(self.store.now());
            let (progress, effects) = advance(&old.progress, event.clone(), change.now);
            if progress == old.progress {
                return Ok(old.into_doc());
            }
            let next = Deployment { progress, ..old.doc.clone() };
            let next = self.carry_out(&mut change, next, effects, &mut []).await?;
            change.txn.replace(&old, &next);
            if self.commit(change).await? {
                return Ok(next);
            }
        }
        Err(WorkError::Contention(id.to_owned()))
    }

    async fn change_host<T>(
        &self,
        deployment_id: &str,
        instance: &str,
        cancel_timer: bool,
        decide: impl Fn(&Target, &Deployment, Timestamp) -> Verdict<T>,
    ) -> Result<T, WorkError> {
        let mut turn = None;
        for _ in 0..MAX_ROUNDS {
            let deployment = self.deployment(deployment_id).await?;
            let target = self.target(deployment_id, instance).await?;
            let mut change = Change::new(self.store.now());
            let (host, end, answer) = match decide(&target, &deployment, change.now) {
                Verdict::Leave(answer) => return Ok(answer),
                Verdict::Set { host, end, answer } => (host, end, answer),
            };
            if end.is_some() && turn.is_none() {
                turn = Some(self.hub.stripe(deployment_id).lock().await);
                continue;
            }
            let next = Target { host, ..target.doc.clone() };
            if !target.host.is_touched() && next.host.is_touched() {
                self.forget_revision(&mut change, &deployment, instance).await?;
            }
            change.txn.replace(&target, &next);
            change.wake.push(instance.to_owned());
            match end {
                Some(end) => self.end_host(&mut change, &deployment, &next, end, cancel_timer).await?,
                // A timer that rings early sets itself again; only an earlier deadline needs a word.
                None if next.host.deadline(self.config.limits())
                    < target.host.deadline(self.config.limits()) =>
                {
                    self.set_timer(&mut change, &next);
                }
                None => {}
            }
            if self.commit(change).await? {
                return Ok(answer);
            }
        }
        Err(WorkError::Contention(deployment_id.to_owned()))
    }

    /// `false`: something changed at the same time, and nothing was written.
    pub(crate) async fn commit(&self, change: Change) -> Result<bool, WorkError> {
        match self.store.commit(change.txn).await {
            Ok(()) => {
                change.wake.iter().for_each(|instance| self.hub.wake(instance));
                Ok(true)
            }
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn deployment(&self, id: &str) -> Result<Versioned<Deployment>, WorkError> {
        self.store.get(&key(&[id])).await?.ok_or_else(|| WorkError::NoDeployment(id.to_owned()))
    }

    async fn target(&self, deployment: &str, instance: &str) -> Result<Versioned<Target>, WorkError> {
        self.store.get(&Target::key_of(deployment, instance)).await?.ok_or_else(|| WorkError::NoTarget {
            deployment: deployment.to_owned(),
            instance: instance.to_owned(),
        })
    }

    fn set_timer(&self, change: &mut Change, target: &Target) {
        if let Some(at) = target.host.deadline(self.config.limits()) {
            change.txn.enqueue(Job::new(TIMERS, Target::key_of(&target.deployment_id, &target.instance), at));
        }
    }

    /// An agent begins to change the host: what it has is unknown until a deployment to it succeeds.
    async fn forget_revision(
        &self,
        change: &mut Change,
        deployment: &Deployment,
        instance: &str,
    ) -> Result<(), WorkError> {
        let known = HostRevision::key_of(&deployment.group_id, instance);
        if let Some(old) = self.store.get::<HostRevision>(&known).await? {
            change.txn.delete(&old);
        }
        Ok(())
    }

    async fn end_host(
        &self,
        change: &mut Change,
        deployment: &Versioned<Deployment>,
        target: &Target,
        end: HostEnd,
        cancel_timer: bool,
    ) -> Result<(), WorkError> {
        match end {
            HostEnd::Succeeded => {
                change.txn.put(&HostRevision {
                    group_id: deployment.group_id.clone(),
                    instance: target.instance.clone(),
                    deployment_id: deployment.id.clone(),
                    revision: revision_identity(deployment.exact_revision()),
                });
                change.txn.emit(notice::instance(deployment, target, "SUCCESS", change.now));
            }
            HostEnd::Failed => {
                change.txn.emit(notice::instance(deployment, target, "FAILURE", change.now));
            }
            HostEnd::Skipped => {}
        }
        if cancel_timer {
            change.txn.cancel(TIMERS, &Target::key_of(&target.deployment_id, &target.instance));
        }
        self.leave_queue(change, &target.instance, &deployment.id).await?;
        let (progress, effects) = advance(&deployment.progress, Event::HostEnded(end), change.now);
        let next = Deployment { progress, ..deployment.doc.clone() };
        let next = self.carry_out(change, next, effects, &mut []).await?;
        change.txn.replace(deployment, &next);
        Ok(())
    }

    /// The host is free for the next deployment that wants it; that one's time begins now.
    async fn leave_queue(
        &self,
        change: &mut Change,
        instance: &str,
        deployment_id: &str,
    ) -> Result<(), WorkError> {
        let Some(old) = self.store.get::<HostQueue>(&key(&[instance])).await? else { return Ok(()) };
        let mut queue = old.doc.clone();
        queue.deployments.retain(|id| id != deployment_id);
        let Some(next_id) = queue.deployments.first() else {
            change.txn.delete(&old);
            return Ok(());
        };
        if old.deployments.first() != Some(next_id) {
            let waiting = self.target(next_id, instance).await?;
            let refreshed = Target { host: waiting.host.refresh(change.now), ..waiting.doc.clone() };
            self.set_timer(change, &refreshed);
            change.txn.replace(&waiting, &refreshed);
        }
        change.txn.replace(&old, &queue);
        Ok(())
    }

    /// Carries the planner's effects out on `next`, which the caller then writes. `fresh` are targets that
    /// are not in the store yet.
    pub(crate) async fn carry_out(
        &self,
        change: &mut Change,
        mut next: Deployment,
        effects: Vec<Effect>,
        fresh: &mut [Target],
    ) -> Result<Deployment, WorkError> {
        for effect in effects {
            match effect {
                Effect::Started => {
                    change.txn.emit(notice::deployment(&next, "START", change.now));
                }
                Effect::Take(count) => self.take_hosts(change, &mut next, count as usize, fresh).await?,
                Effect::TakeBack => {
                    change.txn.enqueue(Job::new(DEPLOYMENTS, next.id.clone(), change.now));
                }
                Effect::Ended(outcome) => self.end_deployment(change, &mut next, &outcome).await?,
            }
        }
        Ok(next)
    }

    async fn take_hosts(
        &self,
        change: &mut Change,
        next: &mut Deployment,
        count: usize,
        fresh: &mut [Target],
    ) -> Result<(), WorkError> {
        let first = next.taken;
        next.taken += count;
        let planned: Vec<String> = if fresh.is_empty() {
            let plan = self.store.get::<Plan>(&key(&[&next.id])).await?;
            let plan = plan.ok_or_else(|| WorkError::NoPlan(next.id.clone()))?;
            plan.instances.iter().skip(first).take(count).cloned().collect()
        } else {
            fresh.iter().skip(first).take(count).map(|target| target.instance.clone()).collect()
        };
        for (index, instance) in planned.into_iter().enumerate() {
            let taken = match fresh.get_mut(first + index) {
                Some(target) => {
                    target.host = target.host.take(change.now);
                    target.clone()
                }
                None => {
                    let waiting = self.target(&next.id, &instance).await?;
                    let taken = Target { host: waiting.host.take(change.now), ..waiting.doc.clone() };
                    change.txn.replace(&waiting, &taken);
                    taken
                }
            };
            self.set_timer(change, &taken);
            change.txn.emit(notice::instance(next, &taken, "START", change.now));
            self.join_queue(change, &instance, &next.id).await?;
            change.wake.push(instance);
        }
        Ok(())
    }

    async fn join_queue(
        &self,
        change: &mut Change,
        instance: &str,
        deployment_id: &str,
    ) -> Result<(), WorkError> {
        match self.store.get::<HostQueue>(&key(&[instance])).await? {
            Some(old) => {
                let mut queue = old.doc.clone();
                queue.deployments.push(deployment_id.to_owned());
                change.txn.replace(&old, &queue);
            }
            None => {
                let deployments = vec![deployment_id.to_owned()];
                change.txn.create(&HostQueue { instance: instance.to_owned(), deployments });
            }
        }
        Ok(())
    }

    async fn end_deployment(
        &self,
        change: &mut Change,
        next: &mut Deployment,
        outcome: &Outcome,
    ) -> Result<(), WorkError> {
        let state = match outcome {
            Outcome::Succeeded => "SUCCESS",
            Outcome::Failed(_) => "FAILURE",
            Outcome::Stopped { .. } => "STOP",
        };
        change.txn.emit(notice::deployment(next, state, change.now));
        let Some(old) = self.store.get::<Group>(&next.group_key()).await? else { return Ok(()) };
        let mut group = old.doc.clone();
        let last = LastDeployment {
            id: next.id.clone(),
            status: next.progress.phase.status().to_owned(),
            created_at: next.created_at,
            ended_at: Some(change.now),
        };
        if *outcome == Outcome::Succeeded {
            group.target_revision = Some(next.revision.clone());
            group.target_pinned = next.pinned.clone();
            group.last_successful = Some(last.clone());
        }
        group.last_attempted = Some(last);
        if group.active_deployment.as_deref() == Some(&next.id) {
            group.active_deployment = None;
            match rollback::decide(next, &group, outcome, change.now) {
                rollback::Decision::None => {}
                rollback::Decision::Impossible(link) => next.rolled_back_by = Some(link),
                rollback::Decision::Deploy(rollback, link) => {
                    group.active_deployment = Some(rollback.id.clone());
                    next.rolled_back_by = Some(link);
                    create(&mut change.txn, &rollback, change.now);
                }
            }
        }
        change.txn.replace(&old, &group);
        Ok(())
    }
}

/// A new deployment with its list entries and its job.
pub(crate) fn create(txn: &mut Txn, deployment: &Deployment, now: Timestamp) {
    txn.create(deployment);
    for entry in DeploymentEntry::both(deployment) {
        txn.create(&entry);
    }
    txn.enqueue(Job::new(DEPLOYMENTS, deployment.id.clone(), now));
}
