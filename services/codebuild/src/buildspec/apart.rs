//! Sections that an ordinary build has no use for, read strictly all the same: a buildspec that is shared
//! with batch builds, caches or a proxied network works here as it is, and a mistake in it is still told.
//!
//! - `batch` is for batch builds alone; StartBuild ignores it, as AWS does.
//! - `cache` says what to keep for a project that has a cache. Projects cannot have one here, so there is
//!   nothing to keep, as on AWS for a project with NO_CACHE.
//! - `proxy` asks that uploads go through a proxy. None lies between a build and this server, so only
//!   `no`, the default, can be honoured.
//!
//! Source: <https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html>,
//! <https://docs.aws.amazon.com/codebuild/latest/userguide/batch-build-buildspec.html>.

use towpath_yaml::{Error, MapView, Node};

type Result<T> = std::result::Result<T, Error>;

pub fn check(top: &MapView) -> Result<()> {
    let section = |name: &str| top.get(name).filter(|node| !node.is_null());
    if let Some(node) = section("cache") {
        cache(node)?;
    }
    if let Some(node) = section("batch") {
        batch(node)?;
    }
    if let Some(node) = section("proxy") {
        proxy(node)?;
    }
    Ok(())
}

fn cache(node: &Node) -> Result<()> {
    let cache = node.map("cache")?.only(&["action", "fallback-keys", "key", "paths"])?;
    cache.text("action")?;
    cache.text("key")?;
    cache.texts("fallback-keys")?;
    cache.texts("paths")?;
    Ok(())
}

fn proxy(node: &Node) -> Result<()> {
    let proxy = node.map("proxy")?.only(&["logs", "upload-artifacts"])?;
    for name in ["logs", "upload-artifacts"] {
        if proxy.boolean(name)? == Some(true) {
            let path = proxy.path(name);
            let message = format!(
                "Towpath does not support '{path}: yes': no proxy lies between a build and its server"
            );
            return Err(Error::invalid(node, message));
        }
    }
    Ok(())
}

const STEP: &[&str] =
    &["buildspec", "debug-session", "depend-on", "env", "identifier", "ignore-failure", "parallelism"];

fn batch(node: &Node) -> Result<()> {
    let kinds = ["build-fanout", "build-graph", "build-list", "build-matrix"];
    let batch = node.map("batch")?.only(&[&["fast-fail"], kinds.as_slice()].concat())?;
    batch.boolean("fast-fail")?;
    for kind in ["build-graph", "build-list"] {
        for step in batch.get(kind).map(|node| node.list(kind)).transpose()?.unwrap_or_default() {
            step.map(kind)?.only(STEP)?.required("identifier")?.text("identifier")?;
        }
    }
    if let Some(matrix) = batch.get("build-matrix") {
        let matrix = matrix.map("build-matrix")?.only(&["dynamic", "static"])?;
        for side in ["dynamic", "static"] {
            matrix.get(side).map(|node| node.map(side).map(drop)).transpose()?;
        }
    }
    if let Some(fanout) = batch.get("build-fanout") {
        fanout.map("build-fanout")?.only(STEP)?;
    }
    Ok(())
}
