//! YAML and XML that come with a repository, a revision or a build.

#[path = "../../../hosts/agent/src/appspec/mod.rs"]
#[allow(dead_code, unused_imports)]
mod appspec;
#[path = "../../../services/codebuild/src/buildspec/mod.rs"]
#[allow(dead_code, unused_imports)]
mod buildspec;
#[path = "../../../services/codebuild/src/reports/mod.rs"]
#[allow(dead_code, unused_imports)]
mod reports;

use towpath_yaml::{Limits, Node, Value};

const LIMITS: Limits =
    Limits { max_bytes: 1 << 16, max_depth: 16, max_nodes: 500, max_expanded_bytes: 1 << 16 };

/// Nodes, bytes of scalars, and depth, as they are after aliases were expanded.
fn measure(node: &Node) -> (usize, usize, usize) {
    let children: Vec<(usize, usize, usize)> = match &node.value {
        Value::List(items) => items.iter().map(measure).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.name.len(), measure(value)))
            .map(|(length, (nodes, bytes, depth))| (nodes, bytes + length, depth))
            .collect(),
        _ => Vec::new(),
    };
    let own = node.text("").map(str::len).unwrap_or(0);
    children.iter().fold((1, own, 1), |(nodes, bytes, depth), child| {
        (nodes + child.0, bytes + child.1, depth.max(child.2 + 1))
    })
}

/// Whatever is read is within the limits, aliases expanded.
pub fn yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(node) = towpath_yaml::parse(text, LIMITS) {
        let (nodes, bytes, depth) = measure(&node);
        assert!(nodes <= LIMITS.max_nodes, "{nodes} nodes");
        assert!(bytes <= LIMITS.max_expanded_bytes, "{bytes} bytes");
        assert!(depth <= LIMITS.max_depth + 1, "{depth} levels");
    }
}

pub fn buildspec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(spec) = buildspec::parse(text) else { return };
    for artifacts in spec.artifacts.iter().chain(spec.secondary_artifacts.values()) {
        for pattern in artifacts.files.iter().chain(&artifacts.exclude_paths) {
            // One with a variable in it is checked when the variable is known.
            if let Ok(glob) = buildspec::glob(pattern) {
                let _ = glob.is_match("dist/a/b.txt");
            }
        }
    }
}

pub fn appspec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(spec) = appspec::parse(text) else { return };
    for mapping in &spec.files {
        let climbs = |text: &str| text.split('/').any(|part| part == "..");
        assert!(mapping.destination.starts_with('/') && !climbs(&mapping.destination), "{mapping:?}");
        assert!(!mapping.source.starts_with('/') && !climbs(&mapping.source), "{mapping:?}");
    }
    for permission in &spec.permissions {
        let _ = permission.matches("/opt/app/bin/run.sh");
    }
    for event in spec.events() {
        for script in spec.scripts(event) {
            assert!(!script.location.split('/').any(|part| part == ".."), "{script:?}");
        }
    }
}

pub fn junit(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok((cases, _)) = reports::parse_junit("report.xml", &text) {
        assert!(cases.len() <= reports::MAX_CASES);
        for case in cases {
            assert!(case.name.len() <= reports::MAX_NAME_BYTES && case.duration_ns >= 0, "{case:?}");
            assert!(case.message.is_none_or(|text| text.len() <= reports::MAX_MESSAGE_BYTES));
        }
    }
}
