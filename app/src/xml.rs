//! Reads texts out of the XML answers of our own server; no parser for anybody else's.

/// The text of the first element of a name, in an answer of our own server.
pub fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    elements(xml, name).next()
}

/// The texts of all elements of a name, in order.
pub fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let start = rest.find(&open)? + open.len();
        let end = start + rest[start..].find(&close)?;
        let text = &rest[start..end];
        rest = &rest[end..];
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_in_order() {
        let xml = "<a><Key>1</Key><b><Key>2</Key></b></a>";
        assert_eq!(elements(xml, "Key").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(element(xml, "None"), None);
    }
}
