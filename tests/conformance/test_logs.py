"""CloudWatch Logs through the aws CLI and boto3."""

import time

import pytest
from botocore.exceptions import ClientError


def now():
    return int(time.time() * 1000)


@pytest.fixture
def stream(account):
    """A group with a stream in which ten lines are."""
    group, begun = f"/test/{account.name}", now() - 60_000
    account.logs.create_log_group(logGroupName=group)
    account.logs.create_log_stream(logGroupName=group, logStreamName="one")
    account.logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=[
        {"timestamp": begun + number * 1000, "message": f"line {number} {'ERROR' if number % 3 == 0 else 'fine'}"}
        for number in range(10)])
    return group, begun


def refused(call, code):
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == code, caught.value.response["Error"]


def test_the_cli_reads_from_either_end(account, stream):
    group, _ = stream
    aws = account.server.aws
    page = aws("logs", "get-log-events", "--log-group-name", group, "--log-stream-name", "one", "--limit", 4,
               "--start-from-head")
    assert [event["message"][:6] for event in page["events"]] == [f"line {number}" for number in range(4)]
    after = aws("logs", "get-log-events", "--log-group-name", group, "--log-stream-name", "one",
                "--next-token", page["nextForwardToken"])
    assert [event["message"][:6] for event in after["events"]] == [f"line {number}" for number in range(4, 10)]
    end = aws("logs", "get-log-events", "--log-group-name", group, "--log-stream-name", "one",
              "--next-token", after["nextForwardToken"])
    assert end["events"] == [] and end["nextForwardToken"] == after["nextForwardToken"], "the end repeats its token"
    last = aws("logs", "get-log-events", "--log-group-name", group, "--log-stream-name", "one", "--limit", 2)
    assert [event["message"][:6] for event in last["events"]] == ["line 8", "line 9"]
    before = aws("logs", "get-log-events", "--log-group-name", group, "--log-stream-name", "one", "--limit", 2,
                 "--next-token", last["nextBackwardToken"])
    assert [event["message"][:6] for event in before["events"]] == ["line 6", "line 7"]


def test_the_cli_follows_what_comes_later(account, stream):
    group, _ = stream
    page = account.logs.get_log_events(logGroupName=group, logStreamName="one", startFromHead=True)
    account.logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=[{"timestamp": now(), "message": "late"}])
    late = account.logs.get_log_events(logGroupName=group, logStreamName="one", nextToken=page["nextForwardToken"])
    assert [event["message"] for event in late["events"]] == ["late"]


@pytest.mark.parametrize(("pattern", "found"), [
    ("ERROR", [0, 3, 6, 9]), ("-ERROR", [1, 2, 4, 5, 7, 8]), ('"line 3"', [3]), ("?1 ?2", [1, 2]),
    ("%line [78]%", [7, 8]), ("absent", []), ("line ERROR", [0, 3, 6, 9])])
def test_the_cli_filters(account, stream, pattern, found):
    group, _ = stream
    # With "=", for a pattern may begin with a dash.
    told = account.server.aws("logs", "filter-log-events", "--log-group-name", group, f"--filter-pattern={pattern}")
    assert [int(event["message"].split()[1]) for event in told["events"]] == found
    assert all(event["logStreamName"] == "one" and event["eventId"] for event in told["events"])


def test_filters_by_json_and_by_time_over_streams(account, stream):
    group, begun = stream
    account.logs.create_log_stream(logGroupName=group, logStreamName="two")
    account.logs.put_log_events(logGroupName=group, logStreamName="two", logEvents=[
        {"timestamp": begun + 500, "message": '{"level": "warn", "ms": 120}'},
        {"timestamp": begun + 1500, "message": '{"level": "info", "ms": 7}'}])
    found = account.logs.filter_log_events(logGroupName=group, filterPattern='{ $.ms > 100 && $.level = "w*" }')
    assert [event["logStreamName"] for event in found["events"]] == ["two"]
    part = account.logs.filter_log_events(logGroupName=group, startTime=begun + 400, endTime=begun + 1600)["events"]
    assert [event["timestamp"] - begun for event in part] == [500, 1000, 1500]
    pages = account.logs.get_paginator("filter_log_events").paginate(logGroupName=group, PaginationConfig={"PageSize": 3})
    assert sum(len(page["events"]) for page in pages) == 12
    only = account.logs.filter_log_events(logGroupName=group, logStreamNamePrefix="tw")["events"]
    assert {event["logStreamName"] for event in only} == {"two"}


def test_streams_and_groups_are_listed(account, stream):
    group, begun = stream
    account.server.aws("logs", "create-log-stream", "--log-group-name", group, "--log-stream-name", "another")
    listed = account.server.aws("logs", "describe-log-streams", "--log-group-name", group)["logStreams"]
    assert [one["logStreamName"] for one in listed] == ["another", "one"]
    assert listed[1]["firstEventTimestamp"] == begun and listed[1]["lastEventTimestamp"] == begun + 9000
    recent = account.logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)
    assert recent["logStreams"][0]["logStreamName"] == "one"
    account.server.aws("logs", "put-retention-policy", "--log-group-name", group, "--retention-in-days", 7)
    found = account.server.aws("logs", "describe-log-groups", "--log-group-name-prefix", group)["logGroups"]
    assert [(one["logGroupName"], one["retentionInDays"]) for one in found] == [(group, 7)]
    account.logs.delete_retention_policy(logGroupName=group)
    account.logs.delete_log_stream(logGroupName=group, logStreamName="one")
    assert account.logs.filter_log_events(logGroupName=group)["events"] == []
    account.logs.delete_log_group(logGroupName=group)
    refused(lambda: account.logs.describe_log_streams(logGroupName=group), "ResourceNotFoundException")


def test_what_does_not_fit_is_refused(account, stream):
    group, begun = stream
    put = lambda events: account.logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)
    refused(lambda: put([{"timestamp": begun + 5, "message": "a"}, {"timestamp": begun, "message": "b"}]), "InvalidParameterException")
    refused(lambda: put([{"timestamp": begun, "message": "x" * (1 << 20)}] * 2), "InvalidParameterException")
    refused(lambda: account.logs.create_log_group(logGroupName=group), "ResourceAlreadyExistsException")
    refused(lambda: account.logs.create_log_stream(logGroupName=group, logStreamName="a:b"), "InvalidParameterException")
    refused(lambda: account.logs.filter_log_events(logGroupName=group, filterPattern="{ $.a = "), "InvalidParameterException")
    refused(lambda: account.logs.put_log_events(logGroupName=group, logStreamName="absent", logEvents=[
        {"timestamp": begun, "message": "a"}]), "ResourceNotFoundException")
    told = put([{"timestamp": begun - 20 * 86_400_000, "message": "too old"}, {"timestamp": begun, "message": "taken"},
                {"timestamp": now() + 3 * 3_600_000, "message": "too new"}])["rejectedLogEventsInfo"]
    assert told["tooOldLogEventEndIndex"] == 1 and told["tooNewLogEventStartIndex"] == 2
    messages = [event["message"] for event in account.logs.filter_log_events(logGroupName=group)["events"]]
    assert "taken" in messages and not any("too" in message for message in messages)
