"""Every implemented operation, asked for what its model forbids and for what it just allows.

What the model forbids is refused with AWS's code and text, whoever asks, and changes nothing. What it allows is
done, or refused with an error that the operation models. Nothing is ever a failure of the server's.

Members that a model does not have are ignored, in every protocol, as AWS does. The order of checks is AWS's too:
the signature, the body's form, the model's constraints, and only then whether the caller may; so a caller without
any policy is told of a malformed request what root is told.
"""

import os

import pytest
from world import World

from . import fuzz, probes
from .client import Client
from .model import MANIFEST, model
from .report import Report

PAIRS = [(service, protocol) for service in MANIFEST for protocol in model(service).protocols]
# What would start real work for each probe that the model has nothing against: they name what does not exist.
HEAVY = {"StartBuild", "RetryBuild", "StartPipelineExecution", "CreateDeployment", "RetryStageExecution", "RollbackStage"}


@pytest.fixture(scope="module")
def world(tmp_path_factory, capfd_disabled):
    made = World(tmp_path_factory.mktemp("prober"))
    made.report = Report()
    made.sender = Client(made.server)
    made.probes = {}
    try:
        made.before = made.snapshot()
        yield made
    finally:
        made.server.stop()
    with capfd_disabled():
        print(made.report.table())


@pytest.fixture(scope="module")
def capfd_disabled(request):
    return request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled


def all_probes(world, service, protocol):
    if (service, protocol) not in world.probes:
        world.probes[service, protocol] = list(probes.made(model(service), protocol, world.known.get(service, {})))
    return world.probes[service, protocol]


def run(world, chosen, keys=None):
    """Sends probes; fails with all that was wrong."""
    before = len(world.report.wrong)
    client = Client(world.server, keys) if keys else world.sender
    for probe, answer in client.all(chosen):
        world.report.take(probe, answer, model(probe.service))
    if len(world.report.wrong) > before:
        pytest.fail(world.report.failures(before), pytrace=False)


@pytest.mark.parametrize(("service", "protocol"), PAIRS)
def test_what_the_model_forbids_is_refused(world, service, protocol):
    run(world, (probe for probe in all_probes(world, service, protocol) if probe.refusal))


@pytest.mark.parametrize(("service", "protocol"), PAIRS)
def test_who_may_nothing_is_told_the_same_of_a_malformed_request(world, service, protocol):
    """A few of each operation: the first of its constraints, and of its types."""
    def some():
        seen = {}
        for probe in all_probes(world, service, protocol):
            if probe.refusal and seen.setdefault((probe.operation, probe.refusal.code), probe) is probe:
                yield probe
    run(world, some(), keys=world.nobody)


def test_what_was_refused_changed_nothing(world):
    assert world.snapshot() == world.before


@pytest.mark.parametrize(("service", "protocol"), PAIRS)
def test_what_the_model_allows_is_done_or_refused_as_modelled(world, service, protocol):
    run(world, (probe for probe in all_probes(world, service, protocol)
                if probe.refusal is None and probe.operation not in HEAVY))
    run(world, (probe for probe in probes.made(model(service), protocol, {})
                if probe.refusal is None and probe.operation in HEAVY))


@pytest.mark.parametrize(("service", "protocol"), PAIRS)
def test_random_inputs(world, service, protocol):
    """TOWPATH_SEED and TOWPATH_PROBES choose others, and more."""
    seed, count = os.environ.get("TOWPATH_SEED", "1"), int(os.environ.get("TOWPATH_PROBES", "300"))
    light = [operation for operation in model(service).operations if operation not in HEAVY]
    heavy = [operation for operation in model(service).operations if operation in HEAVY]
    run(world, fuzz.Fuzz(model(service), protocol, world.known.get(service, {}), seed).probes(light, count))
    if heavy:
        run(world, fuzz.Fuzz(model(service), protocol, {}, seed).probes(heavy, 20 * len(heavy)))
