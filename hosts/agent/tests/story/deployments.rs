//! What deployments do to a host's files.

use crate::world::{World, mode};
use std::fs;
use std::os::unix::fs::MetadataExt;
use towpath_archive::Kind;

const ALL: &str = "version: 0.0\nos: linux\nfiles:\n  - source: /app\n    destination: HOST/app\n";

#[test]
fn a_revision_is_deployed_event_by_event() {
    let world = World::new();
    let agent = world.agent();
    let appspec = "version: 0.0\nos: linux\nfiles:\n  - source: app\n    destination: HOST/srv/app\n  \
        - source: conf/site.conf\n    destination: HOST/etc/site\nhooks:\n  \
        BeforeInstall:\n    - location: hook.sh\n  AfterInstall:\n    - location: hook.sh\n  \
        ApplicationStart:\n    - location: hook.sh\n  ValidateService:\n    - location: hook.sh\n  \
        ApplicationStop:\n    - location: hook.sh\n";
    let hook = "#!/bin/sh\ntest -e HOST/srv/app/run.sh && there=yes\necho \"$LIFECYCLE_EVENT $there\" >> HOST/events\n";
    let pieces = [
        ("appspec.yml", 0o644, appspec),
        ("hook.sh", 0o755, hook),
        ("app/run.sh", 0o750, "run 1"),
        ("app/deep/er/data", 0o600, "data"),
        ("app/link", 0o777, "-> deep/er"),
        ("conf/site.conf", 0o644, "conf"),
    ];
    world.deploy_well("d-1", &pieces);
    assert_eq!(world.read("srv/app/run.sh"), "run 1");
    assert_eq!(mode(&world.at("srv/app/run.sh")), 0o750);
    assert_eq!(mode(&world.at("srv/app/deep/er/data")), 0o600);
    assert_eq!(world.read("srv/app/link/data"), "data");
    assert_eq!(world.read("etc/site/site.conf"), "conf");
    let first = "BeforeInstall \nAfterInstall yes\nApplicationStart yes\nValidateService yes\n";
    assert_eq!(world.read("events"), first, "no ApplicationStop on a first deployment");
    world.fake.state(|state| assert_eq!(state.noops, ["d-1.ApplicationStop"]));

    world.deploy_well("d-2", &pieces);
    assert!(
        world.read("events").contains("ApplicationStop yes\nBeforeInstall yes\n"),
        "{}",
        world.read("events")
    );
    world.fake.state(|state| assert_eq!(state.deliveries.values().max(), Some(&1)));
    agent.end();
}

#[test]
fn zip_and_tgz_bundles_and_a_folder_on_top() {
    let world = World::new();
    let agent = world.agent();
    for (deployment, kind) in [("d-1", Kind::Zip), ("d-2", Kind::Tgz)] {
        let pieces = [("top/appspec.yml", 0, ALL), ("top/app/file", 0, deployment)];
        world.offer_bytes(deployment, kind, world.packed(kind, &pieces), "DISALLOW");
        for (event, result) in world.carry_out(deployment) {
            assert_eq!(result.status, "Succeeded", "{event}: {}", result.diagnostics);
        }
        assert_eq!(world.read("app/file"), deployment);
    }
    agent.end();
}

#[test]
fn what_the_last_revision_made_goes_and_what_others_made_stays() {
    let world = World::new();
    let agent = world.agent();
    world.deploy_well(
        "d-1",
        &[("appspec.yml", 0o644, ALL), ("app/old/file", 0o644, "1"), ("app/both", 0o644, "1")],
    );
    world.write("app/upload/theirs", "kept");
    world.deploy_well(
        "d-2",
        &[("appspec.yml", 0o644, ALL), ("app/both", 0o644, "2"), ("app/new", 0o644, "2")],
    );
    assert!(!world.at("app/old").exists());
    assert_eq!((world.read("app/both").as_str(), world.read("app/new").as_str()), ("2", "2"));
    assert_eq!(world.read("app/upload/theirs"), "kept");
    // A file where a folder was, a folder where a file was, a link where a file was.
    world.deploy_well(
        "d-3",
        &[("appspec.yml", 0o644, ALL), ("app/both/inner", 0o644, "3"), ("app/new", 0o644, "-> both/inner")],
    );
    assert_eq!((world.read("app/both/inner").as_str(), world.read("app/new").as_str()), ("3", "3"));
    world.deploy_well("d-4", &[("appspec.yml", 0o644, ALL), ("app/both", 0o644, "4")]);
    assert_eq!(world.read("app/both"), "4");
    assert!(fs::symlink_metadata(world.at("app/new")).is_err());
    agent.end();
}

#[test]
fn a_second_install_of_a_revision_changes_nothing() {
    let world = World::new();
    let agent = world.agent();
    let appspec = format!(
        "{ALL}permissions:\n  - object: HOST/app\n    pattern: \"*.sh\"\n    mode: 700\n    type: [file]\n"
    );
    let pieces = [
        ("appspec.yml", 0o644, appspec.as_str()),
        ("app/run.sh", 0o644, "x"),
        ("app/deep/data", 0o640, "y"),
        ("app/link", 0o777, "-> deep"),
    ];
    world.deploy_well("d-1", &pieces);
    let look = || {
        ["app", "app/run.sh", "app/deep", "app/deep/data", "app/link"].map(|path| {
            let found = fs::symlink_metadata(world.at(path)).unwrap();
            (
                path,
                found.ino(),
                found.mode(),
                found.mtime_nsec(),
                found.mtime(),
                found.ctime(),
                found.ctime_nsec(),
            )
        })
    };
    let before = look();
    world.deploy_well("d-2", &pieces);
    assert_eq!(look(), before);
    // What a script changed meanwhile is as the revision has it again.
    fs::write(world.at("app/run.sh"), "changed").unwrap();
    world.deploy_well("d-3", &pieces);
    assert_eq!((world.read("app/run.sh").as_str(), mode(&world.at("app/run.sh"))), ("x", 0o700));
    agent.end();
}

#[test]
fn a_file_that_no_deployment_made_is_treated_as_asked() {
    let world = World::new();
    let agent = world.agent();
    let pieces = [("appspec.yml", 0o644, ALL), ("app/a", 0o644, "new"), ("app/b", 0o644, "new")];
    world.write("app/b", "theirs");
    let failed = world.deploy_badly("d-1", &pieces, "Install");
    assert_eq!(failed.code, 5);
    let expected = "The deployment failed because a specified file already exists at this location: ";
    assert!(failed.message.starts_with(expected) && failed.message.ends_with("/host/app/b"), "{failed:?}");
    assert!(!world.at("app/a").exists(), "a conflict changes nothing");
    assert_eq!(world.read("app/b"), "theirs");

    world.offer_bytes("d-2", Kind::Tar, world.tar(&pieces), "RETAIN");
    world.carry_out("d-2");
    assert_eq!((world.read("app/a").as_str(), world.read("app/b").as_str()), ("new", "theirs"));

    world.offer_bytes("d-3", Kind::Tar, world.tar(&pieces), "OVERWRITE");
    world.carry_out("d-3");
    assert_eq!(world.read("app/b"), "new");

    // The AppSpec's word counts more than the deployment's.
    world.write("app/c", "theirs");
    let appspec = format!("{ALL}file_exists_behavior: RETAIN\n");
    let pieces = [("appspec.yml", 0o644, appspec.as_str()), ("app/c", 0o644, "new")];
    world.deploy_well("d-4", &pieces);
    assert_eq!(world.read("app/c"), "theirs");
    // A retained file is not the deployment's, so the next one leaves it too.
    world.deploy_well("d-5", &[("appspec.yml", 0o644, ALL), ("app/d", 0o644, "new")]);
    assert_eq!(world.read("app/c"), "theirs");
    agent.end();
}

#[test]
fn permissions_are_set_and_taken_back() {
    let world = World::new();
    let agent = world.agent();
    let with = "version: 0.0\nos: linux\nfiles:\n  - source: app\n    destination: HOST/app\npermissions:\n  \
        - object: HOST/app\n    pattern: \"**\"\n    except: [plain]\n    mode: 640\n    type: [file]\n  \
        - object: HOST\n    pattern: app\n    mode: 711\n    type: [directory]\n  \
        - object: HOST/app/plain\n    mode: \"0604\"\n";
    let files = [("app/a", 0o644, "a"), ("app/plain", 0o644, "p"), ("app/deep/b", 0o755, "b")];
    let pieces = |appspec| [&[("appspec.yml", 0o644, appspec)], files.as_slice()].concat();
    world.deploy_well("d-1", &pieces(with));
    let modes = || ["app", "app/a", "app/plain", "app/deep", "app/deep/b"].map(|path| mode(&world.at(path)));
    assert_eq!(modes(), [0o711, 0o640, 0o604, 0o755, 0o640]);
    world.deploy_well("d-2", &pieces(ALL));
    assert_eq!(modes(), [0o755, 0o644, 0o644, 0o755, 0o755], "rights of an earlier revision do not stay");

    let twice = format!(
        "{ALL}permissions:\n  - object: HOST/app\n    mode: 600\n  - object: HOST/app\n    mode: 644\n"
    );
    let failed = world.deploy_badly("d-3", &pieces(&twice), "Install");
    assert!(failed.message.contains("specified more than once"), "{failed:?}");
    let nobody = format!("{ALL}permissions:\n  - object: HOST/app\n    owner: no-such-user\n");
    let failed = world.deploy_badly("d-4", &pieces(&nobody), "Install");
    assert!(
        failed.message.contains("the user no-such-user does not exist") && failed.message.contains("line 7"),
        "{failed:?}"
    );
    let context = format!("{ALL}permissions:\n  - object: HOST/app\n    context:\n      type: httpd_t\n");
    let failed = world.deploy_badly("d-5", &pieces(&context), "Install");
    assert!(failed.message.contains("SELinux contexts are not supported"), "{failed:?}");
    agent.end();
}

#[test]
fn owners_are_set_by_root() {
    if !crate::world::is_root() {
        return;
    }
    let world = World::new();
    let agent = world.agent();
    let appspec = format!(
        "{ALL}permissions:\n  - object: HOST/app\n    owner: nobody\n    group: nogroup\n    mode: 4755\n"
    );
    world.deploy_well("d-1", &[("appspec.yml", 0o644, appspec.as_str()), ("app/a", 0o644, "a")]);
    let found = fs::metadata(world.at("app/a")).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (65534, 65534, 0o4755));
    world.deploy_well("d-2", &[("appspec.yml", 0o644, ALL), ("app/a", 0o644, "a")]);
    let found = fs::metadata(world.at("app/a")).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (0, 0, 0o644));
    agent.end();
}

#[test]
fn access_control_lists_need_their_program() {
    let world = World::new();
    let agent = world.agent();
    let appspec = format!(
        "{ALL}permissions:\n  - object: HOST/app\n    acls: [\"nobody:rw\"]\n    mode: 640\n    type: [file]\n"
    );
    let pieces = [("appspec.yml", 0o644, appspec.as_str()), ("app/a", 0o644, "a")];
    let there = ["/usr/bin/setfacl", "/bin/setfacl"].iter().any(|path| fs::exists(path).unwrap());
    if there {
        world.deploy_well("d-1", &pieces);
        let shown = std::process::Command::new("getfacl").arg(world.at("app/a")).output().unwrap();
        assert!(String::from_utf8_lossy(&shown.stdout).contains("user:nobody:rw-"));
    } else {
        let failed = world.deploy_badly("d-1", &pieces, "Install");
        assert!(failed.message.contains("acls need the program setfacl"), "{failed:?}");
        assert!(!world.at("app").exists());
    }
    agent.end();
}

#[test]
fn old_revisions_are_pruned_but_never_those_in_use() {
    let world = World::new();
    let agent = world.agent();
    let pieces = [("appspec.yml", 0o644, ALL), ("app/a", 0o644, "a")];
    world.deploy_well("d-0", &pieces);
    let bad = [("appspec.yml", 0o644, "version: 1\n"), ("app/a", 0o644, "a")];
    for number in 1..8 {
        world.deploy_badly(&format!("d-{number}"), &bad, "DownloadBundle");
    }
    let kept = || {
        let mut names: Vec<String> = fs::read_dir(world.root().join("group-1"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(kept(), ["d-0", "d-4", "d-5", "d-6", "d-7"], "the installed revision stays");
    for number in 8..14 {
        world.deploy_well(&format!("e-{number:02}"), &pieces);
    }
    assert_eq!(kept(), ["e-09", "e-10", "e-11", "e-12", "e-13"]);
    agent.end();
}

#[test]
fn an_appspec_that_is_wrong_or_missing_fails_before_the_host_is_touched() {
    let world = World::new();
    let agent = world.agent();
    let failed = world.deploy_badly("d-1", &[("app/a", 0o644, "a"), ("b", 0o644, "")], "DownloadBundle");
    assert!(failed.message.contains("did not find an AppSpec file"), "{failed:?}");
    let wrong = format!("{ALL}hooks:\n  AfterInstal:\n    - location: x\n");
    let failed = world.deploy_badly("d-2", &[("appspec.yml", 0o644, wrong.as_str())], "DownloadBundle");
    assert!(
        failed.message.contains("unknown key 'AfterInstal'") && failed.message.contains("line 7"),
        "{failed:?}"
    );
    let missing = "version: 0.0\nos: linux\nfiles:\n  - source: nothing\n    destination: HOST/app\n";
    let failed = world.deploy_badly("d-3", &[("appspec.yml", 0o644, missing)], "Install");
    assert!(
        failed.message.contains("the revision has no nothing") && failed.message.contains("line 4"),
        "{failed:?}"
    );
    let twice = "version: 0.0\nos: linux\nfiles:\n  - source: a/x\n    destination: HOST/app\n  - source: b/x\n    destination: HOST/app\n";
    let pieces = [("appspec.yml", 0o644, twice), ("a/x", 0o644, ""), ("b/x", 0o644, "")];
    let failed = world.deploy_badly("d-4", &pieces, "Install");
    assert!(failed.message.contains("specifies two source files for the same destination"), "{failed:?}");
    assert!(!world.at("app").exists());
    // The .yaml ending is found too.
    world.deploy_well("d-5", &[("appspec.yaml", 0o644, ALL), ("app/a", 0o644, "a")]);
    agent.end();
}
