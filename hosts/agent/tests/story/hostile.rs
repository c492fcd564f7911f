//! Bundles and hosts that mean harm.

use crate::world::World;
use std::fs;
use std::os::unix::fs::symlink;
use towpath_archive::Kind;

const ALL: &str = "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: HOST/app\n";

/// A tar whose entry has a name that no well-meaning program writes.
fn tar_with(name: &[u8], kind: tar::EntryType, link: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(0);
    if !link.is_empty() {
        header.set_link_name_literal(link).unwrap();
    }
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, std::io::empty()).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn archives_that_climb_out_or_are_none_are_refused() {
    let world = World::new();
    let agent = world.agent();
    let bombs = vec![0u8; 80 << 20];
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    {
        let mut builder = tar::Builder::new(&mut packed);
        let mut header = tar::Header::new_gnu();
        header.set_size(bombs.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, "bomb", bombs.as_slice()).unwrap();
        builder.finish().unwrap();
    }
    let cases: [(&str, Kind, Vec<u8>, &str); 8] = [
        ("d-1", Kind::Tar, tar_with(b"../../escape", tar::EntryType::Regular, ""), "climbs out"),
        ("d-2", Kind::Tar, tar_with(b"/etc/escape", tar::EntryType::Regular, ""), "absolute"),
        ("d-3", Kind::Tar, tar_with(b"link", tar::EntryType::Symlink, "/etc/passwd"), "leads out"),
        ("d-4", Kind::Tar, tar_with(b"link", tar::EntryType::Symlink, "../../x"), "leads out"),
        ("d-5", Kind::Tar, tar_with(b"device", tar::EntryType::Char, ""), "special file"),
        ("d-6", Kind::Zip, b"this is no archive".to_vec(), "expected a zip archive"),
        ("d-7", Kind::Tgz, packed.finish().unwrap(), "times its size"),
        ("d-8", Kind::Zip, world.tar(&[("appspec.yml", 0o644, ALL)]), "expected a zip archive, found a tar"),
    ];
    for (deployment, kind, bundle, expected) in cases {
        world.offer_bytes(deployment, kind, bundle, "DISALLOW");
        let failed = world.fail(deployment, "DownloadBundle");
        assert!(failed.message.contains(expected), "{deployment}: {failed:?}");
    }
    assert!(!world.root().join("group-1/escape").exists() && !world.root().join("escape").exists());
    agent.end();
}

#[test]
fn another_object_than_the_planned_one_is_refused() {
    let world = World::new();
    let agent = world.agent();
    world.offer("d-1", &[("appspec.yml", 0o644, ALL)]);
    world.fake.state(|state| state.objects.values_mut().for_each(|object| object.0 = "tag-2".into()));
    let failed = world.fail("d-1", "DownloadBundle");
    assert_eq!(failed.message, "Expected deployment artifact bundle etag tag-1 but was actually \"tag-2\"");
    world.fake.state(|state| state.objects.clear());
    world.fake.send("d-2", "DownloadBundle");
    let failed = world.fake.result("d-2.DownloadBundle");
    assert_eq!(failed.status, "Failed", "no specification");
    world.offer("d-3", &[("appspec.yml", 0o644, ALL)]);
    world.fake.state(|state| state.objects.clear());
    let failed = world.fail("d-3", "DownloadBundle");
    assert!(failed.message.contains("NoSuchKey"), "{failed:?}");
    agent.end();
}

#[test]
fn a_source_through_a_link_stays_in_the_bundle() {
    let world = World::new();
    let agent = world.agent();
    let appspec = "version: 0.0\nos: linux\nfiles:\n  - source: link/file\n    destination: HOST/app\nhooks:\n  \
        AfterInstall:\n    - location: link/hook.sh\n";
    let pieces = [
        ("appspec.yml", 0o644, appspec),
        ("real/file", 0o644, "inside"),
        ("real/hook.sh", 0o755, "#!/bin/sh\ntrue\n"),
        ("link", 0o777, "-> real"),
    ];
    world.deploy_well("d-1", &pieces);
    assert_eq!(world.read("app/file"), "inside");
    // Somebody swaps the link on the host, after it was unpacked.
    world.offer("d-2", &pieces);
    for event in ["ApplicationStop", "DownloadBundle", "BeforeInstall"] {
        let id = world.fake.send("d-2", event);
        assert_eq!(world.fake.result(&id).status, "Succeeded");
    }
    world.write("outside/file", "secret");
    world.write("outside/hook.sh", "#!/bin/sh\ntouch HOST/ran\n");
    let link = world.root().join("group-1/d-2/deployment-archive/link");
    fs::remove_file(&link).unwrap();
    symlink(world.at("outside"), &link).unwrap();
    for (event, code) in [("Install", 5), ("AfterInstall", 1)] {
        let id = world.fake.send("d-2", event);
        let result = world.fake.result(&id);
        assert_eq!(
            (result.status.as_str(), result.diagnostics["error_code"].as_i64()),
            ("Failed", Some(code))
        );
        assert!(result.diagnostics["message"].as_str().unwrap().contains("leads out"), "{result:?}");
    }
    assert_eq!(world.read("app/file"), "inside");
    agent.end();
}

#[test]
fn the_agents_own_folder_is_no_destination() {
    let world = World::new();
    let agent = world.agent();
    let appspec =
        "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: HOST/../agent/deployment-root\n";
    let failed = world.deploy_badly("d-1", &[("appspec.yml", 0o644, appspec)], "DownloadBundle");
    assert!(failed.message.contains("must not contain '..'"), "{failed:?}");
    let direct = format!(
        "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: {}/x\n",
        world.root().display()
    );
    let failed = world.deploy_badly("d-2", &[("appspec.yml", 0o644, &direct)], "Install");
    assert!(failed.message.contains("lies in the agent's own folder"), "{failed:?}");
    agent.end();
}

#[test]
fn somebody_elses_link_does_not_lead_a_root_agent_astray() {
    if !crate::world::is_root() {
        return;
    }
    let world = World::new();
    let agent = world.agent();
    let pieces = [("appspec.yml", 0o644, ALL), ("deep/file", 0o644, "x")];
    world.deploy_well("d-1", &pieces);
    // A local user takes the folder away and puts a link in its place.
    fs::remove_dir_all(world.at("app/deep")).unwrap();
    world.write("precious/file", "precious");
    symlink(world.at("precious"), world.at("app/deep")).unwrap();
    std::os::unix::fs::lchown(world.at("app/deep"), Some(65534), Some(65534)).unwrap();
    world.deploy_well("d-2", &[("appspec.yml", 0o644, ALL)]);
    assert_eq!(world.read("precious/file"), "precious");
    // Where a deployment would have to write through such a link, it fails.
    let appspec = "version: 0.0\nos: linux\nfile_exists_behavior: OVERWRITE\nfiles:\n  - source: f\n    destination: HOST/theirs\n";
    symlink(world.at("precious"), world.at("theirs")).unwrap();
    std::os::unix::fs::lchown(world.at("theirs"), Some(65534), Some(65534)).unwrap();
    let pieces = [("appspec.yml", 0o644, appspec), ("f/file", 0o644, "overwritten")];
    let failed = world.deploy_badly("d-3", &pieces, "Install");
    assert!(failed.message.contains("symlink that neither root nor"), "{failed:?}");
    assert_eq!(world.read("precious/file"), "precious");
    // Root's own link is followed, as administrators expect.
    std::os::unix::fs::lchown(world.at("theirs"), Some(0), Some(0)).unwrap();
    world.deploy_well("d-4", &pieces);
    assert_eq!(world.read("precious/file"), "overwritten");
    agent.end();
}
