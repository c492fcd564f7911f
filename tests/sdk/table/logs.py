"""CloudWatch Logs: groups, streams, events, retention, tags."""

from .core import NOTHING, NOW, TEXT, Table

step = Table("logs")
GROUP, STREAM = {"logGroupName": "${n}/group"}, {"logGroupName": "${n}/group", "logStreamName": "a/stream"}
ARN = "arn:aws:logs:us-east-1:000000000000:log-group:${n}/group"

step("CreateLogGroup", GROUP | {"tags": {"team": "a"}})
step("CreateLogGroup", GROUP, refused="ResourceAlreadyExistsException")
step("PutRetentionPolicy", GROUP | {"retentionInDays": 7})
step("DescribeLogGroups", {"logGroupNamePrefix": "${n}/"}, want={
    "logGroups[].logGroupName": ["${n}/group"], "logGroups[0].retentionInDays": 7, "logGroups[0].creationTime": NOW,
    "logGroups[0].arn": ARN + ":*"})
step("DeleteRetentionPolicy", GROUP)
step("DescribeLogGroups", {"logGroupNamePrefix": "${n}/"}, want={"logGroups[0].retentionInDays": NOTHING})
step("CreateLogStream", STREAM)
step("PutLogEvents", STREAM | {"logEvents": [
    {"timestamp": "${now_ms}", "message": "one é"}, {"timestamp": "${now_ms}", "message": "two <&>\"'"}]})
step("DescribeLogStreams", GROUP, want={
    "logStreams[].logStreamName": ["a/stream"], "logStreams[0].creationTime": NOW, "logStreams[0].arn": TEXT})
step("GetLogEvents", STREAM | {"startFromHead": True}, want={
    "events[].message": ["one é", "two <&>\"'"], "events[0].timestamp": "${now_ms}", "events[0].ingestionTime": NOW,
    "nextForwardToken": TEXT, "nextBackwardToken": TEXT})
step("FilterLogEvents", GROUP | {"filterPattern": "two"}, want={
    "events[].message": ["two <&>\"'"], "events[0].logStreamName": "a/stream", "events[0].eventId": TEXT})
step("TagResource", {"resourceArn": ARN, "tags": {"other": "b c"}})
step("ListTagsForResource", {"resourceArn": ARN}, want={"tags": {"team": "a", "other": "b c"}})
step("UntagResource", {"resourceArn": ARN, "tagKeys": ["other"]})
step("ListTagsForResource", {"resourceArn": ARN}, want={"tags": {"team": "a"}})
step("DeleteLogStream", STREAM)
step("GetLogEvents", STREAM, refused="ResourceNotFoundException")
step("DescribeLogStreams", GROUP, want={"logStreams": NOTHING})
step("DeleteLogGroup", GROUP)
step("DescribeLogGroups", {"logGroupNamePrefix": "${n}/"}, want={"logGroups": NOTHING})
step("DeleteLogGroup", GROUP, refused="ResourceNotFoundException")
