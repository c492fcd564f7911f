"""ListBuckets: its prefix, its region and its pages.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html
"""

import boto3
import pytest
import raw
from botocore.exceptions import ClientError


def code_of(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


def names(answer):
    return [one["Name"] for one in answer["Buckets"]]


@pytest.fixture
def five(account):
    return [account.bucket(f"list-{letter}") for letter in "edcba"][::-1]


def test_a_prefix_and_pages_list_each_bucket_once(account, five):
    prefix = five[0][:-1]
    whole = account.s3.list_buckets(Prefix=prefix)
    assert names(whole) == five and whole["Prefix"] == prefix and "ContinuationToken" not in whole
    assert names(account.s3.list_buckets(Prefix=prefix + "zqx")) == []
    for size in (1, 2, 5, 10_000):
        pages = list(account.s3.get_paginator("list_buckets").paginate(Prefix=prefix, PaginationConfig={"PageSize": size}))
        assert [name for page in pages for name in names(page)] == five
        assert all(len(page["Buckets"]) <= size for page in pages) and len(pages) == -(-5 // size)
    assert {one["BucketRegion"] for one in whole["Buckets"]} == {"us-east-1"}


def test_a_region_is_honoured_and_another_refused(account, five):
    prefix = five[0][:-1]
    assert names(account.s3.list_buckets(Prefix=prefix, BucketRegion="us-east-1")) == five
    for region in ("eu-west-1", "nowhere", "us-east-1 "):
        assert code_of(account.s3.list_buckets, BucketRegion=region) == "InvalidArgument"


def test_a_token_is_its_questions_own(account, five):
    prefix, list_buckets = five[0][:-1], account.s3.list_buckets
    token = list_buckets(Prefix=prefix, MaxBuckets=2)["ContinuationToken"]
    assert names(list_buckets(Prefix=prefix, ContinuationToken=token)) == five[2:]
    assert not any(name in token for name in five), "it tells nothing"
    other = account.server.client("s3", keys=account.user("s3:*"))
    for call, more in ((list_buckets, {"Prefix": prefix[:-1]}), (list_buckets, {}), (other.list_buckets, {"Prefix": prefix}),
                       (list_buckets, {"Prefix": prefix, "BucketRegion": "us-east-1"})):
        assert code_of(call, ContinuationToken=token, **more) == "InvalidArgument", more
    for forged in ("x", token[:-1], "A" * 2000):
        assert code_of(list_buckets, Prefix=prefix, ContinuationToken=forged) == "InvalidArgument"


@pytest.mark.parametrize("number", ["0", "-1", "10001", "99999999999", "x", "1.5"])
def test_a_page_has_one_to_ten_thousand_buckets(account, five, number):
    answer = raw.call(account.server, "s3", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, method="GET", path=f"/?max-buckets={number}")
    assert answer.status == 400 and "InvalidArgument" in answer.text, answer


def test_a_server_that_was_given_another_region_tells_its_buckets_apart(own_server):
    own_server.client("s3").create_bucket(Bucket="east")
    own_server.stop()
    own_server.extra += ["--region", "eu-west-1"]
    own_server.start()
    access, secret = own_server.root_keys()
    s3 = boto3.client("s3", endpoint_url=own_server.url, aws_access_key_id=access, aws_secret_access_key=secret, region_name="eu-west-1")
    s3.create_bucket(Bucket="west", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    told = {one["Name"]: one["BucketRegion"] for one in s3.list_buckets()["Buckets"]}
    assert told == {"east": "us-east-1", "west": "eu-west-1"}
    assert names(s3.list_buckets(BucketRegion="eu-west-1", MaxBuckets=1)) == ["west"]
    assert code_of(s3.list_buckets, BucketRegion="us-east-1") == "InvalidArgument"
