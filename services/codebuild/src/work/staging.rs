//! From what the commands left to a [`Manifest`] on the disk.

use super::artifacts::{Choice, CollectError, Destination, choose, destination, stage as stage_files};
use super::commands::Results;
use super::log::Log;
use super::publish::Manifest;
use super::report::{StagedReport, collect};
use super::source::SourcePlan;
use crate::buildspec::Artifacts;
use crate::store::BuildDoc;
use std::path::Path;
use towpath_api::{Arn, id};

/// Where the files to be stored are, in an attempt's folder.
pub const STAGE: &str = "stage";

/// Chooses, and stages beneath `folder`. A failure of the build's own making is in the manifest; `Err` is
/// ours.
pub async fn stage(
    doc: &BuildDoc,
    results: Results,
    plans: &[SourcePlan],
    (folder, limit_bytes): (&Path, u64),
    log: &Log,
) -> std::io::Result<Manifest> {
    let Some(primary) = plans.first().cloned() else { return Err(std::io::Error::other("no source")) };
    let doc = doc.clone();
    let (whole, folder) = (folder.to_owned(), folder.join(STAGE));
    let staged = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder)?;
        let mut lines = Vec::new();
        let mut manifest = Manifest { exported: results.exported.clone(), ..Manifest::default() };
        let mut failures: Vec<String> = results.failure.iter().cloned().collect();
        failures.extend(stage_reports(&doc, &results, &primary, &mut manifest));
        match stage_artifacts(&doc, &results, &primary, (&folder, limit_bytes), (&mut manifest, &mut lines)) {
            Ok(()) => {}
            Err(CollectError::Io(error)) if error.kind() == std::io::ErrorKind::StorageFull => {
                return Err(error);
            }
            Err(error) => {
                manifest.puts.clear();
                (manifest.artifacts, manifest.secondary) = (None, Vec::new());
                failures.push(error.to_string());
            }
        }
        manifest.failures = failures;
        for put in &mut manifest.puts {
            put.file = put.file.strip_prefix(&whole).map_err(std::io::Error::other)?.to_owned();
        }
        Ok((manifest, lines))
    });
    let (manifest, lines) = staged.await.map_err(|_| std::io::Error::other("staging was interrupted"))??;
    for line in lines {
        log.say(line).await;
    }
    Ok(manifest)
}

type Chosen<'a> = (&'a Artifacts, Destination);

/// Which artifacts of the buildspec go where.
fn destinations<'a>(doc: &BuildDoc, results: &'a Results) -> Result<Vec<Chosen<'a>>, CollectError> {
    let by_name = |name: Option<&str>| {
        results.artifacts.iter().find(|(id, _)| id.as_deref() == name).map(|(_, artifacts)| artifacts)
    };
    let mut wanted = Vec::new();
    if let Some(pipeline) = &doc.pipeline {
        // A failed build's outputs are nobody's input.
        let outputs = if doc.progress.succeeding() { pipeline.outputs.as_slice() } else { &[] };
        for output in outputs {
            let only = outputs.len() == 1;
            let artifacts = by_name(Some(&output.name)).or_else(|| by_name(None).filter(|_| only));
            let Some(artifacts) = artifacts else { return Err(CollectError::NoneFor(output.name.clone())) };
            let destination = Destination {
                identifier: Some(output.name.clone()).filter(|_| !only),
                bucket: output.bucket.clone(),
                key: output.key.clone(),
                zip: true,
                once: true,
            };
            wanted.push((artifacts, destination));
        }
        return Ok(wanted);
    }
    let declared = doc.project.artifacts.iter();
    for declared in declared.chain(doc.project.secondary_artifacts.iter().flatten()) {
        let identifier = declared.artifact_identifier.as_deref();
        match by_name(identifier) {
            Some(artifacts) => {
                let target = destination(doc, declared, artifacts, artifacts.name.as_deref());
                wanted.extend(target.map(|target| (artifacts, target)));
            }
            None if identifier.is_some() => {
                return Err(CollectError::NoneFor(identifier.unwrap_or_default().to_owned()));
            }
            None => {}
        }
    }
    Ok(wanted)
}

fn stage_artifacts(
    doc: &BuildDoc,
    results: &Results,
    primary: &SourcePlan,
    (folder, mut left_bytes): (&Path, u64),
    (manifest, lines): (&mut Manifest, &mut Vec<String>),
) -> Result<(), CollectError> {
    for (index, (artifacts, target)) in destinations(doc, results)?.into_iter().enumerate() {
        let choice = Choice {
            base: artifacts.base_directory.as_deref().unwrap_or(""),
            files: &artifacts.files,
            exclude: &artifacts.exclude_paths,
            discard_paths: artifacts.discard_paths,
            symlinks: artifacts.enable_symlinks && target.zip,
        };
        if target.key.split('/').any(|part| part == "..") {
            return Err(CollectError::Outside(target.key));
        }
        let (chosen, said) = choose(&primary.host, &primary.inside, &choice)?;
        lines.extend(said);
        if chosen.is_empty() {
            return Err(CollectError::NothingFound);
        }
        let stage = folder.join(index.to_string());
        let (puts, stored) = stage_files(&primary.host, &chosen, &target, (&stage, &mut left_bytes))?;
        manifest.puts.extend(puts);
        match stored.identifier {
            None => manifest.artifacts = Some(stored),
            Some(_) => manifest.secondary.push(stored),
        }
    }
    Ok(())
}

/// Reports are kept whether the build failed or not; what went wrong with any of them.
fn stage_reports(
    doc: &BuildDoc,
    results: &Results,
    primary: &SourcePlan,
    manifest: &mut Manifest,
) -> Vec<String> {
    let mut failures = Vec::new();
    for (report, (base, files)) in results.spec.reports.iter().zip(&results.reports) {
        match collect(&primary.host, &primary.inside, report, (base, files)) {
            Ok((cases, truncated)) => {
                let arn = Arn::parse(&report.group);
                let named = arn.as_ref().and_then(|arn| arn.resource_of("report-group")).map(str::to_owned);
                manifest.reports.push(StagedReport {
                    create_group: named.is_none(),
                    group: named.unwrap_or_else(|| format!("{}-{}", doc.project_name(), report.group)),
                    uuid: id::uuid(),
                    truncated,
                    cases,
                });
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    failures
}
