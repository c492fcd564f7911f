//! Git trigger filters: globs over branches, tags and changed paths.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/syntax-glob.html>

use crate::structure::{Patterns, PushFilter};
use globset::{GlobBuilder, GlobMatcher};

/// `*` stays within one path segment, `**` crosses them, `{a,b}` and `[a-z]` are as in a shell.
pub fn compile(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(pattern).literal_separator(true).build()?.compile_matcher())
}

/// An exclude wins over an include; no includes means everything.
pub fn matches(patterns: &Patterns, text: &str) -> bool {
    // Patterns were compiled when the structure was read; one that is not valid matches nothing.
    let hit = |list: &[String]| list.iter().any(|glob| compile(glob).is_ok_and(|glob| glob.is_match(text)));
    !hit(&patterns.excludes) && (patterns.includes.is_empty() || hit(&patterns.includes))
}

/// What was pushed, as far as the reference alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    Branch(&'a str),
    Tag(&'a str),
}

/// What the filters say about a reference.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    Starts,
    /// Starts if one of the changed paths passes one of these.
    IfPaths(Vec<&'a Patterns>),
    Ignored,
}

/// Filters are alternatives: any that matches starts the pipeline.
pub fn judge<'a>(filters: &'a [PushFilter], reference: Reference<'_>) -> Verdict<'a> {
    let mut paths_of = Vec::new();
    for filter in filters {
        match (filter, reference) {
            (PushFilter::Tags(tags), Reference::Tag(tag)) if matches(tags, tag) => return Verdict::Starts,
            (PushFilter::Branches { branches, paths }, Reference::Branch(branch))
                if matches(branches, branch) =>
            {
                if *paths == Patterns::default() {
                    return Verdict::Starts;
                }
                paths_of.push(paths);
            }
            _ => {}
        }
    }
    if paths_of.is_empty() { Verdict::Ignored } else { Verdict::IfPaths(paths_of) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(includes: &[&str], excludes: &[&str]) -> Patterns {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Patterns { includes: owned(includes), excludes: owned(excludes) }
    }

    #[test]
    fn excludes_win_and_no_includes_means_all() {
        let rows = [
            (patterns(&["main", "release/**"], &[]), "main", true),
            (patterns(&["main", "release/**"], &[]), "release/1/2", true),
            (patterns(&["release/*"], &[]), "release/1/2", false),
            (patterns(&["main*"], &["main-old"]), "main-old", false),
            (patterns(&[], &["feature/**"]), "main", true),
            (patterns(&[], &["feature/**"]), "feature/x", false),
            (patterns(&["{dev,test}-[0-9]"], &[]), "dev-7", true),
        ];
        for (patterns, text, expected) in rows {
            assert_eq!(matches(&patterns, text), expected, "{patterns:?} {text}");
        }
    }

    #[test]
    fn filters_are_alternatives_and_paths_wait_for_the_diff() {
        let paths = patterns(&["src/**"], &[]);
        let filters = [
            PushFilter::Tags(patterns(&["v*"], &[])),
            PushFilter::Branches { branches: patterns(&["dev"], &[]), paths: paths.clone() },
            PushFilter::Branches { branches: patterns(&["main"], &[]), paths: Patterns::default() },
        ];
        assert_eq!(judge(&filters, Reference::Tag("v1.0")), Verdict::Starts);
        assert_eq!(judge(&filters, Reference::Tag("1.0")), Verdict::Ignored);
        assert_eq!(judge(&filters, Reference::Branch("main")), Verdict::Starts);
        assert_eq!(judge(&filters, Reference::Branch("dev")), Verdict::IfPaths(vec![&paths]));
        assert_eq!(judge(&filters, Reference::Branch("v1.0")), Verdict::Ignored);
    }
}
