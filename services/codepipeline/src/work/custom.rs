//! Custom actions: each leg is a job that a worker polls, acknowledges and answers.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/actions-create-custom-action.html>

use super::{Ctx, Failure, Next};
use crate::Pipelines;
use crate::store::*;
use crate::structure::Action;
use towpath_api::{Timestamp, id};
use towpath_store::{Document, Txn};

/// Adds a job for the action to `txn`, and answers its id.
pub fn offer(
    txn: &mut Txn,
    doc: &ActionDoc,
    action: &Action,
    query: Option<String>,
    continuation: Option<String>,
    now: Timestamp,
) -> String {
    let job = JobDoc {
        id: id::uuid(),
        account: doc.pipeline.account.clone(),
        action_key: doc.key(),
        type_id: action.type_id.clone(),
        state: JobState::Offered { nonce: id::uuid() },
        continuation,
    };
    txn.create(&job);
    txn.create(&OpenJob {
        account: doc.pipeline.account.clone(),
        region: doc.pipeline.region.clone(),
        type_id: action.type_id.clone(),
        created: now,
        job: job.id.clone(),
        query,
        hidden_until: Timestamp::EPOCH,
    });
    job.id
}

pub async fn perform(ctx: &mut Ctx<'_>) -> Result<Next, Failure> {
    if let External::None = ctx.doc.external {
        for name in &ctx.action.inputs {
            ctx.verified(name).await?;
        }
        let query = ctx.query().await?;
        let mut txn = Txn::new();
        let job = offer(&mut txn, &ctx.doc, &ctx.action, query, None, ctx.now());
        ctx.save(txn, |doc| doc.external = External::Job { job: job.clone(), external_id: None }).await?;
    }
    Ok(Next::Wait(ctx.doc.deadline))
}

impl Ctx<'_> {
    /// The value of the type's queryable property in this action.
    async fn query(&self) -> Result<Option<String>, Failure> {
        let id = &self.doc.pipeline;
        let key = CustomTypeDoc::key_of(&id.account, &id.region, &self.action.type_id);
        let custom = self.service.flow.store.get::<CustomTypeDoc>(&key).await?.ok_or_else(|| {
            Failure::action("ConfigurationError", "The custom action type no longer exists.")
        })?;
        Ok(custom.custom.queryable().and_then(|name| self.setting(name)).map(str::to_owned))
    }
}

impl Pipelines {
    /// Takes a job back: nobody may answer it any more.
    pub(super) async fn withdraw(&self, job: &str, state: JobState) -> Result<(), Failure> {
        let Some(old) = self.flow.store.get::<JobDoc>(job).await? else { return Ok(()) };
        if !matches!(old.state, JobState::Offered { .. } | JobState::InProgress) {
            return Ok(());
        }
        let mut txn = Txn::new();
        txn.replace(&old, &JobDoc { state, ..old.doc.clone() });
        self.flow.store.commit(txn).await?;
        Ok(())
    }
}
