#![allow(clippy::unwrap_used)]
use super::*;

const FULL: &str = r#"
version: 0.0
os: linux
files:
  - source: /
    destination: /srv/app/
  - source: conf/app.conf
    destination: /etc/app
file_exists_behavior: OVERWRITE
permissions:
  - object: /srv/app
    pattern: "*.sh"
    except: [secret.sh]
    owner: www-data
    group: www-data
    mode: 755
    acls:
      - u:bob:rw
    type:
      - file
hooks:
  ApplicationStop:
    - location: scripts/stop.sh
      timeout: 30
      runas: nobody
  BeforeInstall:
  ValidateService:
    - location: ./scripts//check.sh
"#;

#[test]
fn a_full_file_is_read() {
    let spec = parse(FULL).unwrap();
    assert_eq!(spec.files[0].source, "");
    assert_eq!(spec.files[0].destination, "/srv/app");
    assert_eq!(spec.files[1].source, "conf/app.conf");
    assert_eq!(spec.file_exists_behavior, Some(FileExists::Overwrite));
    let permission = &spec.permissions[0];
    assert_eq!(permission.mode, Some(0o755));
    assert_eq!(permission.acls[0].to_string(), "user:bob:rw-");
    assert!(permission.matches("/srv/app/run.sh"));
    assert!(!permission.matches("/srv/app/secret.sh"));
    assert!(!permission.matches("/srv/app/deep/run.sh"), "a pattern stays in its folder");
    assert!(!permission.matches("/srv/application/run.sh"));
    assert_eq!(spec.events().collect::<Vec<_>>(), [Event::ApplicationStop, Event::ValidateService]);
    let stop = &spec.scripts(Event::ApplicationStop)[0];
    assert_eq!((stop.timeout_s, stop.runas.as_deref()), (30, Some("nobody")));
    let check = &spec.scripts(Event::ValidateService)[0];
    assert_eq!((check.location.as_str(), check.timeout_s), ("scripts/check.sh", 3600));
    assert!(spec.scripts(Event::BeforeInstall).is_empty());
}

#[test]
fn the_smallest_file_is_read() {
    let spec = parse("version: 0.0\nos: linux\n").unwrap();
    assert!(spec.files.is_empty() && spec.permissions.is_empty() && spec.file_exists_behavior.is_none());
}

fn problem(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// Each with the text that the error must name; every one carries its line.
#[test]
fn what_is_wrong_is_named_with_its_line() {
    let with = |rest: &str| format!("version: 0.0\nos: linux\n{rest}");
    let cases = [
        ("version: 1.0\nos: linux\n".to_owned(), "version must be 0.0 at line 1"),
        ("version: 0.0\nos: windows\n".to_owned(), "linux hosts only at line 2"),
        ("version: 0.0\nos: plan9\n".to_owned(), "os must be linux at line 2"),
        ("os: linux\n".to_owned(), "missing key 'version'"),
        (with("resources: []\n"), "unknown key 'resources'"),
        (with("files: /\n"), "expected files to be a list"),
        (with("files:\n  - source: a\n"), "missing key 'destination' at line 4"),
        (with("files:\n  - source: ../a\n    destination: /b\n"), "climbs out of the revision"),
        (with("files:\n  - source: a\\b\n    destination: /b\n"), "Windows path"),
        (with("files:\n  - source: a\n    destination: b\n"), "must be an absolute path"),
        (with("files:\n  - source: a\n    destination: /b/../c\n"), "must not contain '..'"),
        (with("files:\n  - source: a\n    destination: \"/b\\nc\"\n"), "control characters"),
        (with("files:\n  - source: a\n    destination: /b\n    mode: 1\n"), "unknown key 'mode'"),
        (with("file_exists_behavior: MERGE\n"), "must be DISALLOW, OVERWRITE or RETAIN at line 3"),
        (with("permissions:\n  - owner: root\n"), "missing key 'object'"),
        (with("permissions:\n  - object: /a\n    mode: 0644\n"), "must stand in quotes"),
        (with("permissions:\n  - object: /a\n    mode: 999\n"), "octal digits at line 5"),
        (with("permissions:\n  - object: /a\n    mode: \"01777\"\n"), "octal digits"),
        (with("permissions:\n  - object: /a\n    type: [socket]\n"), "must be file or directory"),
        (with("permissions:\n  - object: /a\n    acls: [\"u::rw\"]\n"), "use mode for the rights"),
        (with("permissions:\n  - object: /a\n    context:\n      range: s0\n"), "missing key 'type'"),
        (with("hooks:\n  Install:\n    - location: a\n"), "cannot run scripts"),
        (with("hooks:\n  AfterInstal:\n    - location: a\n"), "unknown key 'AfterInstal'"),
        (with("hooks:\n  AfterInstall:\n    - timeout: 3\n"), "missing key 'location'"),
        (with("hooks:\n  AfterInstall:\n    - location: a\n      timeout: 0\n"), "must be 1 to 3600"),
        (with("hooks:\n  AfterInstall:\n    - location: a\n      timeout: 3601\n"), "must be 1 to 3600"),
        (with("hooks:\n  AfterInstall:\n    - location: a\n      timeout: soon\n"), "a whole number"),
        (with("hooks:\n  AfterInstall:\n    - location: ../a\n"), "climbs out"),
        (with("hooks:\n  AfterInstall:\n    - location: /\n"), "names no script"),
        (with("hooks:\n  AfterInstall:\n    - location: a\n      sudo: true\n"), "unknown key 'sudo'"),
        (with("hooks:\n  AfterInstall:\n    location: a\n"), "to be a list"),
        (with("hooks: []\n"), "to be a mapping"),
    ];
    for (text, expected) in cases {
        let problem = problem(&text);
        assert!(problem.contains(expected), "{text}\n=> {problem}\nexpected {expected}");
        assert!(problem.contains("line"), "{problem}");
    }
}

#[test]
fn modes_are_octal() {
    let of = |mode: &str| {
        parse(&format!("version: 0.0\nos: linux\npermissions:\n  - object: /a\n    mode: {mode}\n"))
            .map(|spec| spec.permissions[0].mode)
    };
    assert_eq!(of("\"0644\"").unwrap(), Some(0o644));
    assert_eq!(of("4755").unwrap(), Some(0o4755));
    assert_eq!(of("0").unwrap(), Some(0));
}

#[test]
fn patterns_match_one_name() {
    for (pattern, name, expected) in [
        ("*", "a", true),
        ("*.sh", "a.sh", true),
        ("*.sh", ".sh", true),
        ("a*b*c", "aXbYbZc", true),
        ("a*b*c", "aXbYbZ", false),
        ("*", "a/b", false),
        ("a", "ab", false),
        ("a?", "ab", false),
        ("", "", true),
    ] {
        assert_eq!(glob_matches(pattern, name), expected, "{pattern} {name}");
    }
    // Time stays linear where naive matching would not end.
    assert!(!glob_matches(&"a*".repeat(200), &"a".repeat(100)));
}

#[test]
fn access_control_entries_have_short_forms() {
    let show = |text: &str| acl::parse(text).map(|ace| ace.to_string());
    assert_eq!(show("bob:7").unwrap(), "user:bob:rwx");
    assert_eq!(show("d:bob:r").unwrap(), "default:user:bob:r--");
    assert_eq!(show("default:group:devs:r-x").unwrap(), "default:group:devs:r-x");
    assert_eq!(show("m::rx").unwrap(), "mask::r-x");
    assert_eq!(show("d:o::0").unwrap(), "default:other::---");
    assert_eq!(show("m:5").unwrap(), "mask::r-x");
    for wrong in ["rw", "a:b:c:d:e", "u:bob:q", "g::rw", "o::r", "m:bob:r", "u:a b:r", "u:$(x);:r", "x:bob:r"]
    {
        assert!(acl::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn hostile_documents_end_in_errors() {
    let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    for text in ["", "\u{0}", "[", "- a", "version: [", "version: 0.0\nversion: 0.0\nos: linux\n", laughs] {
        assert!(parse(text).is_err(), "{text}");
    }
    assert!(parse(&"[".repeat(100_000)).is_err());
}
