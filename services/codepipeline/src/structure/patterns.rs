//! What a V2 trigger watches: globs over branches, tags and paths.

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushFilter {
    Tags(Patterns),
    Branches { branches: Patterns, paths: Patterns },
}

/// Globs; an exclude wins, and no includes means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    pub includes: Vec<String>,
    pub excludes: Vec<String>,
}
