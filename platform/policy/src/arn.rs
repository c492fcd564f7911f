//! ARNs with wildcards: each of the six parts is compared by itself, so that a `*` never reaches over a
//! colon into the account; a missing part stands for anything.

use crate::context::Question;
use crate::template::{Reading, Template, split_at_colons};

#[derive(Clone, Debug)]
pub struct ArnTemplate {
    parts: Vec<Template>,
}

impl ArnTemplate {
    pub fn new(text: &str, variables: bool) -> Self {
        let reading = Reading { wildcards: true, variables, ignore_case: false };
        let mut parts: Vec<Template> =
            split_at_colons(text, 6).into_iter().map(|part| Template::new(part, reading)).collect();
        parts.resize_with(6, Template::anything);
        ArnTemplate { parts }
    }

    pub fn matches(&self, text: &str, question: &Question) -> bool {
        let found: Vec<&str> = text.splitn(6, ':').collect();
        found.len() == 6 && self.parts.iter().zip(found).all(|(part, found)| part.matches(found, question))
    }
}
