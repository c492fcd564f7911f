//! What bounds every decoder, and the path that its errors name.

use std::cell::Cell;
use std::fmt;

/// Deeper than any shape of any model; recursive shapes could go on for ever.
pub const MAX_DEPTH: usize = 64;
/// A few bytes of a request become a [`towpath_api::Node`] of 32; this bounds what a body may grow to.
pub const MAX_VALUES: usize = 500_000;

/// Counts the values of one request.
#[derive(Default)]
pub struct Budget {
    used: Cell<usize>,
}

impl Budget {
    /// Takes one value at a path; the message when there are too many, or too deep.
    pub fn take(&self, path: &Path) -> Result<(), String> {
        self.used.set(self.used.get() + 1);
        if self.used.get() > MAX_VALUES {
            return Err(format!("The request has more than {MAX_VALUES} values"));
        }
        if path.depth > MAX_DEPTH {
            return Err(format!("The request is nested deeper than {MAX_DEPTH} levels at '{path}'"));
        }
        Ok(())
    }
}

/// Where a decoder is, as a chain on its stack: it costs nothing until an error prints it.
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
    depth: usize,
}

enum Step<'a> {
    Root,
    Member(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root, depth: 0 };

    pub fn member(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Member(name), depth: self.depth + 1 }
    }

    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index), depth: self.depth + 1 }
    }
}

impl fmt::Display for Path<'_> {
    /// `pipeline.stages[0].name`.
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(formatter)?;
        match self.step {
            Step::Root => Ok(()),
            Step::Member(name) if parent.parent.is_none() => formatter.write_str(name),
            Step::Member(name) => write!(formatter, ".{name}"),
            Step::Index(index) => write!(formatter, "[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_code_does() {
        let pipeline = Path::ROOT.member("pipeline");
        let stages = pipeline.member("stages");
        let first = stages.index(0);
        assert_eq!(first.member("name").to_string(), "pipeline.stages[0].name");
        assert_eq!(Path::ROOT.to_string(), "");
    }
}
