//! How a host becomes known.

use crate::fake::HOST;
use crate::world::World;
use towpath_agent::AgentError;

#[test]
fn it_registers_and_tags_itself_and_may_do_so_again() {
    let world = World::new();
    for _ in 0..2 {
        let agent = world.agent();
        let polls = world.fake.state(|state| state.polls);
        world.fake.until("a poll", |state| (state.polls > polls).then_some(()));
        agent.end();
    }
    world.fake.state(|state| {
        assert_eq!(state.registered["web-1"], HOST);
        assert_eq!(state.tags, [("role".to_owned(), "web".to_owned())]);
    });
}

#[test]
fn it_goes_on_with_credentials_that_may_only_poll() {
    let world = World::new();
    world.fake.state(|state| state.host_only = true);
    let agent = world.agent();
    world.deploy_well("d-1", &[("appspec.yml", 0o644, "version: 0.0\nos: linux\n")]);
    agent.end();
}

#[test]
fn it_says_what_to_do_when_it_is_not_registered() {
    let world = World::new();
    world.fake.state(|state| {
        state.host_only = true;
        state.unregistered = true;
    });
    let error = world.agent().join().unwrap_err();
    assert!(matches!(error, AgentError::NotRegistered { .. }));
    let text = error.to_string();
    assert!(
        text.contains("aws deploy register-on-premises-instance --instance-name web-1 --iam-user-arn"),
        "{text}"
    );
}

#[test]
fn a_name_or_an_identity_of_another_host_is_refused() {
    let world = World::new();
    world.fake.state(|state| state.registered.insert("web-1".into(), "arn:aws:iam::0:user/other".into()));
    let error = world.agent().join().unwrap_err().to_string();
    assert!(error.contains("is registered for arn:aws:iam::0:user/other"), "{error}");
    world.fake.state(|state| {
        state.registered.clear();
        state.registered.insert("web-2".into(), HOST.into());
    });
    world.fake.state(|state| state.registered.insert("web-1".into(), "arn:aws:iam::0:user/other".into()));
    let error = world.agent().join().unwrap_err().to_string();
    assert!(error.contains("deregister-on-premises-instance --instance-name web-1"), "{error}");
}

/// The root user's credentials, and those that are another host's, make an identity for this one.
#[test]
fn an_identity_is_made_where_the_credentials_are_none() {
    for root in [true, false] {
        let world = World::new();
        world.fake.state(|state| {
            state.root = root;
            state.registered.insert("web-2".into(), HOST.into());
        });
        let agent = world.agent();
        world.deploy_well("d-1", &[("appspec.yml", 0o644, "version: 0.0\nos: linux\n")]);
        agent.end();
        let made = world.fake.state(|state| {
            assert_eq!(
                state.registered["web-1"],
                "arn:aws:iam::000000000000:user/AWS/CodeDeploy/towpath-host-web-1"
            );
            assert_eq!(state.tags.len(), 1);
            state.iam_calls.len()
        });
        let kept = world.root().join("ongoing-deployment/identity.json");
        assert_eq!(crate::world::mode(&kept), 0o600);
        // The next agent uses what was made.
        let agent = world.agent();
        world.deploy_well("d-2", &[("appspec.yml", 0o644, "version: 0.0\nos: linux\n")]);
        agent.end();
        assert_eq!(world.fake.state(|state| state.iam_calls.len()), made);
        // A host that was deregistered and whose key is gone starts anew.
        world.fake.state(|state| {
            state.keys.clear();
            state.registered.remove("web-1");
        });
        let agent = world.agent();
        world.deploy_well("d-3", &[("appspec.yml", 0o644, "version: 0.0\nos: linux\n")]);
        agent.end();
    }
}

#[test]
fn two_agents_do_not_share_a_folder() {
    let world = World::new();
    let first = world.agent();
    world.fake.until("a poll", |state| (state.polls > 0).then_some(()));
    assert!(matches!(world.agent().join(), Err(AgentError::Busy(_))));
    first.end();
}

#[test]
fn endpoints_are_checked() {
    let world = World::new();
    for endpoint in ["ftp://a", "127.0.0.1:4566", "http://a/path", ""] {
        let config = towpath_agent::Config { endpoint: endpoint.into(), ..world.config() };
        assert!(matches!(world.agent_with(config).join(), Err(AgentError::Endpoint(..))), "{endpoint}");
    }
}
