//! The events that others see.
//! Shapes: <https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-codedeploy.html>, states at
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/monitoring-cloudwatch-events.html>.

use crate::store::{Deployment, Target};
use serde_json::json;
use towpath_api::{Event, Timestamp};

const SOURCE: &str = "aws.codedeploy";

/// `state` is START, SUCCESS, FAILURE or STOP.
pub fn deployment(deployment: &Deployment, state: &str, now: Timestamp) -> Event {
    Event::new(
        SOURCE,
        "CodeDeploy Deployment State-change Notification",
        (&deployment.account, &deployment.region),
        now,
        vec![deployment.application_arn(), deployment.group_arn()],
        json!({
            "instanceGroupId": deployment.group_id,
            "region": deployment.region,
            "application": deployment.application_name,
            "deploymentId": deployment.id,
            "state": state,
            "deploymentGroup": deployment.group_name,
        }),
    )
}

/// `state` is START, SUCCESS or FAILURE.
pub fn instance(deployment: &Deployment, target: &Target, state: &str, now: Timestamp) -> Event {
    Event::new(
        SOURCE,
        "CodeDeploy Instance State-change Notification",
        (&deployment.account, &deployment.region),
        now,
        vec![target.instance_arn.clone(), deployment.group_arn(), deployment.application_arn()],
        json!({
            "instanceId": target.instance,
            "region": deployment.region,
            "state": state,
            "application": deployment.application_name,
            "deploymentId": deployment.id,
            "instanceGroupId": deployment.group_id,
            "deploymentGroup": deployment.group_name,
        }),
    )
}
