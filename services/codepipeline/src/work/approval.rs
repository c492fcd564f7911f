//! Manual approval: waits for PutApprovalResult with the token that was made when the action started,
//! until the deadline. <https://docs.aws.amazon.com/codepipeline/latest/userguide/approvals.html>

use super::{Ctx, Failure, Next};

pub fn perform(ctx: &Ctx<'_>) -> Result<Next, Failure> {
    Ok(Next::Wait(ctx.doc.deadline))
}
