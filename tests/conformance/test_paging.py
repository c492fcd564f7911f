"""Every listing of the manifest that pages, at its smallest pages: each item once and in one order, no page larger
than was asked for, an end; what a token is good for; and what comes and goes while somebody reads.

Which operations these are is taken from the models: whatever has the token in its input and in its output.
"""

import itertools

import jmespath
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from churn import CHURN, ONLY_BY_BUILDS
from minimal import MANIFEST
from sdk.clients.boto import Boto

TOKENS = ["nextToken", "NextToken", "Marker"]
S3 = {"ListBuckets", "ListObjects", "ListObjectsV2", "ListObjectVersions", "ListMultipartUploads", "ListParts"}
ONE_PAGE = {
    ("codecommit", "ListRepositories"): "an account holds no more than a page: 1,000",
    ("codecommit", "ListTagsForResource"): "a resource has no more than 50",
    ("codedeploy", "ListTagsForResource"): "a resource has no more than 50",
    ("codedeploy", "ListDeploymentConfigs"): "an account has no more than 50 of its own",
    ("codepipeline", "ListActionTypes"): "all are one page",
}
REFUSAL = {
    "iam": "ValidationError", "s3": "InvalidArgument", "logs": "InvalidParameterException",
    "codecommit": "InvalidContinuationTokenException", "codebuild": "InvalidInputException",
    "codepipeline": "InvalidNextTokenException", "codedeploy": "InvalidNextTokenException",
}
# Without a page size of the client's choosing, a page is the service's.
PAGE = {"ListBranches": 1000}


class Reader:
    """Reads listings page by page, as one caller; says nothing about a token before it is sent."""

    def __init__(self, world, keys=None, token=None):
        access, secret = keys or world.server.root_keys()
        self.session, self.clients = Boto(world.server).session, {}
        self.made = {"region_name": "us-east-1", "endpoint_url": world.server.url, "aws_access_key_id": access,
                     "aws_secret_access_key": secret, "aws_session_token": token, "config": Config(
                         retries={"max_attempts": 0}, parameter_validation=False, s3={"addressing_style": "path"})}

    def client(self, service):
        if service not in self.clients:
            self.clients[service] = self.session.create_client(service, **self.made)
        return self.clients[service]

    def names(self, listing):
        """What the token is called in the input and in the output, and what the size is."""
        model = self.client(listing.service).meta.service_model.operation_model(listing.operation)
        members = set(model.input_shape.members)
        size = next((one for one in ("maxResults", "MaxResults", "MaxItems", "limit", "MaxKeys", "MaxBuckets") if one in members), None)
        if listing.service == "s3":
            return "ContinuationToken", {"ListObjectsV2": "NextContinuationToken"}.get(listing.operation, "ContinuationToken"), size
        token = next(one for one in TOKENS if one in members)
        return token, token, size

    def page(self, listing, token=None, size=None, **other):
        sent, told, limit = self.names(listing)
        more = {sent: token} if token is not None else {}
        more |= {limit: size} if size and limit else {}
        answer = self.client(listing.service)._make_api_call(listing.operation, listing.parameters | other | more)
        return answer, answer.get(told)

    def refusal(self, listing, token, **other):
        try:
            self.page(listing, token, listing.size, **other)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "an answer"


@pytest.fixture(scope="module")
def world(listed_world):
    return listed_world


@pytest.fixture(scope="module")
def root(world):
    return Reader(world)


@pytest.fixture(scope="module")
def tokens(world, root):
    """The token of each listing's first page. S3's other listings go on after names, which are no tokens."""
    plain = S3 - {"ListBuckets", "ListObjectsV2"}
    return {str(one): (one, root.page(one, size=one.size)[1]) for one in world.listings
            if not (one.service == "s3" and one.operation in plain)}


def items(listing, page):
    return [str(one) for one in jmespath.search(listing.items, page) or []]


def test_every_listing_of_the_models_is_here(world, root):
    paged = set()
    for service, operations in MANIFEST.items():
        if service == "codedeploycommand":
            continue
        for name in operations:
            model = root.client(service).meta.service_model.operation_model(name)
            members = [set(shape.members) if shape else set() for shape in (model.input_shape, model.output_shape)]
            if any(token in members[0] and token in members[1] for token in TOKENS):
                paged.add((service, name))
    assert {(one.service, one.operation) for one in world.listings} == (paged - ONE_PAGE.keys()) | {("s3", name) for name in S3}
    assert ONE_PAGE.keys() <= paged


def read(root, listing, size):
    """All pages by botocore's paginator, whose rules say what an end is; by our own hand where it has none."""
    client = root.client(listing.service)
    method = next(name for name, operation in client.meta.method_to_api_mapping.items() if operation == listing.operation)
    if not client.can_paginate(method):
        pages, token = [], None
        while not pages or token:
            page, token = root.page(listing, token, size)
            pages.append(page)
            assert len(pages) < 2000, "it has no end"
        return pages
    settings = {"PaginationConfig": {"PageSize": size}} if size else {}
    return list(itertools.islice(client.get_paginator(method).paginate(**listing.parameters, **settings), 2000))


def problems(root, listing):
    orders = []
    for size in (1, 2, None) if listing.size else (None, None):
        pages = read(root, listing, size)
        counts = [len(items(listing, page)) for page in pages]
        limit = size or (PAGE.get(listing.operation, 100) if listing.size is None else 1000)
        if max(counts) > limit or (listing.size is None and counts[0] != limit):
            yield f"pages of {counts} where {limit} were asked for"
        told = [one for page in pages for one in items(listing, page)]
        if len(told) != len(set(told)):
            yield f"told twice: {sorted(one for one in told if told.count(one) > 1)[:5]}"
        missing = {str(one) for one in listing.names} - set(told)
        if missing:
            yield f"with pages of {size}, missing: {sorted(missing)[:5]}"
        # Events end where reading ends, which one more look tells.
        if not counts[-1] and listing.operation != "FilterLogEvents":
            yield "an empty page at the end"
        told_more = [page.get("IsTruncated") for page in pages]
        if told_more[0] is not None and told_more != [True] * (len(pages) - 1) + [False]:
            yield f"IsTruncated: {told_more}"
        # Three lists in one answer, each in its order.
        orders.append(told if listing.operation != "ListEntitiesForPolicy" else sorted(told))
    if any(told != orders[0] for told in orders):
        yield f"in one order and another: {[told[:6] for told in orders]}"


def test_every_item_once_in_one_order_and_no_page_too_large(world, root):
    wrong = {str(one): list(problems(root, one)) for one in world.listings}
    assert not {name: told for name, told in wrong.items() if told}


def spoilt(token):
    """Each character of a short token, some of a long one, changed for another; pieces; and more than there was."""
    places = range(0, len(token), max(1, len(token) // 8))
    for at in {*places, len(token) - 1}:
        yield token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1:]
    yield from (token[:-1], token[: len(token) // 2], token[1:], token + "A", token + "AAAA", token * 2, token.swapcase())
    yield from ("A" * 10_000, "null", "0", "-1", "ä", "' OR 1=1", "../../x", "%00")


def modelled(listing, reader, token):
    """What may be said to a token: the service's word; the model's, where it is too long or too short for it."""
    model = reader.client(listing.service).meta.service_model.operation_model(listing.operation)
    limits = model.input_shape.members[reader.names(listing)[0]].metadata
    if not limits.get("min", 0) <= len(token) <= limits.get("max", 1 << 30) or ("pattern" in limits and not token.isascii()):
        return {"ValidationError" if listing.service == "iam" else "ValidationException", REFUSAL[listing.service]}
    if listing.service == "logs" and not token:
        return {"InvalidParameterException"}
    return {REFUSAL[listing.service]}


def test_a_token_that_was_not_given_is_refused_in_the_services_words(tokens, root):
    wrong = []
    for listing, token in tokens.values():
        assert token, listing
        for sent in (*spoilt(token), ""):
            answer = root.refusal(listing, sent)
            if answer not in modelled(listing, root, sent):
                wrong.append((str(listing), answer, sent[:60], len(sent)))
    assert not wrong, wrong[:10]


def test_a_token_of_another_listing_is_refused(tokens, root):
    """Each by each within a service, and by one of every other service."""
    wrong, first = [], {}
    for listing, _ in tokens.values():
        first.setdefault(listing.service, listing)
    for listing, _ in tokens.values():
        for other, token in tokens.values():
            near = other.service == listing.service or first[other.service] is other
            if near and other is not listing and root.refusal(listing, token) not in modelled(listing, root, token):
                wrong.append((str(listing), str(other)))
    assert not wrong, wrong[:10]


def another_question(listing, world):
    """The same operation, asked for something else that is there."""
    n = world.name
    if "PathPrefix" in listing.parameters:
        return {"PathPrefix": "/"}
    for name in ("UserName", "GroupName", "RoleName"):
        if name in listing.parameters:
            return {name: f"{n}-0"}
    if "PolicyArn" in listing.parameters:
        return {"PolicyArn": f"arn:aws:iam::000000000000:policy/{n}/{n}-1"}
    return {
        "ListBranches": {"repositoryName": world.other["repository"]}, "GetDifferences": {"afterPath": "f"},
        "ListBuildsForProject": {"sortOrder": "ASCENDING"}, "ListBuilds": {"sortOrder": "ASCENDING"},
        "ListProjects": {"sortOrder": "DESCENDING"}, "ListReportGroups": {"sortOrder": "DESCENDING"},
        "ListReports": {"sortOrder": "ASCENDING"}, "ListReportsForReportGroup": {"sortOrder": "ASCENDING"},
        "DescribeTestCases": {"filter": {"status": "SUCCEEDED"}}, "ListPipelineExecutions": {"pipelineName": f"{n}-1"},
        "ListActionExecutions": {"pipelineName": f"{n}-1"}, "ListDeployments": {"includeOnlyStatuses": ["Failed"]},
        "ListDeploymentGroups": {"applicationName": f"{n}-1"}, "ListApplicationRevisions": {"sortOrder": "descending"},
        "ListOnPremisesInstances": {"registrationStatus": "Registered"}, "ListDeploymentTargets": {"targetFilters": {"TargetStatus": ["Pending"]}},
        "ListDeploymentInstances": {"instanceStatusFilter": ["Pending"]}, "DescribeLogGroups": {"logGroupNamePrefix": n},
        "DescribeLogStreams": {"descending": True}, "FilterLogEvents": {"filterPattern": "m"}, "ListBuckets": {"Prefix": n},
        "ListObjectsV2": {"Prefix": "k"}, "ListTagsForResource": {"resourceArn": f"arn:aws:codepipeline:us-east-1:000000000000:{n}-1"},
    }.get(listing.operation)


NO_QUESTION = {"ListApplications", "ListPipelines"}


def test_a_token_of_another_question_is_refused(world, tokens, root):
    world.other = {"repository": world.account.repository("other")[0]}
    wrong, asked_nothing = [], set()
    for listing, token in tokens.values():
        other = another_question(listing, world)
        if other is None:
            asked_nothing.add(listing.operation)
        elif root.refusal(listing, token, **other) not in modelled(listing, root, token):
            wrong.append(str(listing))
    assert not wrong
    assert asked_nothing == NO_QUESTION


def test_a_token_is_its_callers_and_a_roles_sessions_share_it(world, tokens, root):
    iam, name = world.account.iam, f"{world.name}-reader"
    keys = world.account.user("*")
    trusting = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}'
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusting)["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}')
    sessions = []
    for session in ("first", "renewed"):
        given = world.server.client("sts", keys=keys).assume_role(RoleArn=role, RoleSessionName=session)["Credentials"]
        sessions.append(Reader(world, (given["AccessKeyId"], given["SecretAccessKey"]), given["SessionToken"]))
    user, wrong = Reader(world, keys), []
    for listing, token in tokens.values():
        for stranger in (user, sessions[0]):
            if (answer := stranger.refusal(listing, token)) not in modelled(listing, root, token):
                wrong.append((str(listing), answer))
        own = sessions[0].page(listing, size=listing.size)[1]
        assert items(listing, sessions[1].page(listing, own, listing.size)[0]) == items(listing, sessions[0].page(listing, own, listing.size)[0])
    assert not wrong, wrong[:10]


def test_tokens_survive_a_restart(world, tokens, root):
    before = {name: items(listing, root.page(listing, token, listing.size)[0]) for name, (listing, token) in tokens.items()}
    world.server.restart()
    after = {name: items(listing, root.page(listing, token, listing.size)[0]) for name, (listing, token) in tokens.items()}
    assert after == before


@pytest.mark.parametrize("operation", CHURN)
def test_what_comes_and_goes_while_somebody_reads_takes_nothing_with_it(world, root, operation):
    """The first page tells what then goes, and more comes: everything that was there all the time is told, once."""
    service, name = operation.split("-")
    listing = world.at(name, service)
    churn = CHURN[operation](world, listing)
    goes = [churn.make(f"0{number}") for number in range(2)] if churn.remove else []
    comes = []
    try:
        told, token, pages = [], None, 0
        while pages == 0 or token:
            if pages == 1:
                for one in goes:
                    churn.remove(one)
                comes += [churn.make("01x"), churn.make("zz")]
            page, token = churn.page(root, listing, token)
            told += items(listing, page)
            pages += 1
            assert pages < 1000, "it has no end"
        kept = {str(one) for one in listing.names}
        assert pages > 1 and kept <= set(told), f"missing: {sorted(kept - set(told))[:5]}"
        assert not [one for one in kept if told.count(one) > 1]
    finally:
        for one in comes if churn.remove else []:
            churn.remove(one)


def test_every_listing_is_read_while_things_come_and_go(world):
    fixed = {"DescribeTestCases", "ListDeploymentTargets", "ListDeploymentInstances"}  # never change once they are there
    full = {"ListAccessKeys", "ListServiceSpecificCredentials"}  # a user has two at most
    assert {str(one) for one in world.listings if one.operation not in fixed | full} == CHURN.keys() | ONLY_BY_BUILDS


def test_a_streams_events_are_read_both_ways(world, root):
    n, logs = world.name, root.client("logs")
    stream = {"logGroupName": f"{n}/0", "logStreamName": "s0", "limit": 1}
    first = logs.get_log_events(**stream, startFromHead=True)
    told, token, pages = [], first["nextForwardToken"], 0
    last = [one["message"] for one in first["events"]]
    while last:
        told += last
        answer = logs.get_log_events(**stream, nextToken=token)
        pages += 1
        assert len(last) == 1 and pages < 10
        last = [one["message"] for one in answer["events"]]
        if not last:
            assert answer["nextForwardToken"] == token, "at the end, the same token again"
        token = answer["nextForwardToken"]
        back = answer["nextBackwardToken"]
    assert told[:3] == ["m0", "m1", "m2"]
    assert logs.get_log_events(**stream, nextToken=back)["events"][0]["message"] == told[-1]

    def refused(sent, **other):
        with pytest.raises(ClientError, match="InvalidParameterException"):
            logs.get_log_events(**stream | other, nextToken=sent)

    for sent in spoilt(token):
        refused(sent)
    refused(token, logStreamName="s1")
