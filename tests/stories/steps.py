"""Steps that several stories of pipelines begin with."""

import pytest
from botocore.exceptions import ClientError

from watch import approval_action, repository_with, source_action


def refused(call, code):
    """The message of the refusal that `call()` must get."""
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return caught.value.response["Error"]["Message"]


def simple(account, pipe, *stages, files=None, mode=None, source=None, **more):
    """Source → Approve (or what is given); answers the pipeline and its repository."""
    repository, _, _ = repository_with(account, files or {"a.txt": "1\n"})
    stages = stages or [("Approve", [approval_action()])]
    more |= {"executionMode": mode} if mode else {}
    made = pipe([("Source", [source_action(repository, **(source or {}))]), *stages], **more)
    return made, repository


def text_of(account, bucket, key):
    return account.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
