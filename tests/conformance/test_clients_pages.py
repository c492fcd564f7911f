"""Every listing that pages, with more than one page, through the paginators of botocore and of the JavaScript SDK."""

import pytest
from minimal import MANIFEST
from sdk.clients.boto import Boto
from sdk.clients.js import Js
from sdk.pages import BY_HAND
from sdk.runner import Lacking

# What has one page by nature: an account may have no more repositories than a page holds, nor more than 50 deployment
# configurations; all action types are one page.
ONE_PAGE = {("codecommit", "ListRepositories"), ("codedeploy", "ListDeploymentConfigs"), ("codepipeline", "ListActionTypes")}


@pytest.fixture(scope="module")
def world(listed_world):
    return listed_world


@pytest.fixture(scope="module")
def boto(world):
    return Boto(world.server)


@pytest.fixture(scope="module")
def js(world):
    made = Js(world.server)
    yield made
    made.stop()


def pageable(boto, service, implemented):
    model = boto.session.get_paginator_model(service)
    return {(service, name) for name in model._paginator_config if name in implemented}


def test_every_paginator_is_driven(world, boto):
    expected = set().union(*(pageable(boto, service, names) for service, names in MANIFEST.items()
                             if service != "codedeploycommand"))
    s3 = {"ListBuckets", "ListObjects", "ListObjectsV2", "ListObjectVersions", "ListMultipartUploads", "ListParts"}
    expected |= pageable(boto, "s3", s3)
    assert {(one.service, one.operation) for one in listings(world)} == expected - ONE_PAGE


def listings(world):
    return [one for one in world.listings if one.operation not in BY_HAND]


def through_botocore(boto, listing):
    client = boto.client(listing.service)
    name = next(name for name, operation in client.meta.method_to_api_mapping.items() if operation == listing.operation)
    settings = {"PaginationConfig": {"PageSize": listing.size}} if listing.size else {}
    return list(client.get_paginator(name).paginate(**listing.parameters, **settings))


def test_botocores_paginators(world, boto):
    wrong = {str(one): one.wrong_with(through_botocore(boto, one)) for one in listings(world)}
    assert not {name: told for name, told in wrong.items() if told}


def test_the_javascript_sdks_paginators(world, js):
    """It has fewer than botocore; those that it lacks are named here."""
    wrong, lacking = {}, set()
    for one in listings(world):
        try:
            pages = js.call(one.service, one.operation, one.parameters, pages=True, pageSize=one.size)["pages"]
            wrong[str(one)] = one.wrong_with(pages)
        except Lacking:
            lacking.add(str(one))
    assert not {name: told for name, told in wrong.items() if told}
    assert lacking == {"s3-ListObjects", "s3-ListObjectVersions", "s3-ListMultipartUploads",
                       "codedeploy-ListOnPremisesInstances", "codedeploy-ListDeploymentTargets"}
