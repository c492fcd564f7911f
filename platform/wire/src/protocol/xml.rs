//! XML by the model: written for awsQuery and restXml, read for restXml.

use super::limits::{Budget, MAX_DEPTH, MAX_VALUES, Path};
use super::{EncodeError, MemberFinder, last_wins, scalar};
use quick_xml::Reader as XmlReader;
use quick_xml::events::{BytesStart, Event};
use towpath_api::model::{Kind, Location, Member, Service, Shape, ShapeId, TimeFormat};
use towpath_api::{Name, Node};

/// Writes elements into a buffer.
pub struct Writer {
    service: &'static Service,
    out: String,
}

impl Writer {
    pub fn new(service: &'static Service) -> Self {
        Writer { service, out: String::with_capacity(512) }
    }

    pub fn finish(self) -> Vec<u8> {
        self.out.into_bytes()
    }

    pub fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    pub fn open_with_namespace(&mut self, name: &str, namespace: Option<&str>) {
        match namespace {
            None => self.open(name),
            Some(namespace) => {
                self.out.push_str(&format!("<{name} xmlns=\""));
                escape(&mut self.out, namespace);
                self.out.push_str("\">");
            }
        }
    }

    pub fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    pub fn text_element(&mut self, name: &str, text: &str) {
        self.open(name);
        escape(&mut self.out, text);
        self.close(name);
    }

    /// A structure's members, without an element of its own around them.
    pub fn members(&mut self, shape: ShapeId, node: &Node) -> Result<(), EncodeError> {
        let shape = self.service.shape(shape);
        let (Kind::Structure { members, .. }, Node::Map(entries)) = (&shape.kind, node) else {
            return Err(EncodeError::kind(shape, node));
        };
        let mut finder = MemberFinder::new(members);
        for (name, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
            let member =
                finder.find(|member| member.name == name).ok_or_else(|| EncodeError::member(shape, name))?;
            if member.location == Location::Body && !member.xml_attribute {
                self.value(member.wire_name(), member.shape, member.flattened, member.time_format, value)?;
            }
        }
        Ok(())
    }

    /// One value within an element called `name`, or several such elements for a flattened one.
    pub fn value(
        &mut self,
        name: &str,
        id: ShapeId,
        member_flattened: bool,
        format: Option<TimeFormat>,
        node: &Node,
    ) -> Result<(), EncodeError> {
        let shape = self.service.shape(id);
        match (&shape.kind, node) {
            (Kind::Structure { members, .. }, Node::Map(entries)) => {
                self.out.push('<');
                self.out.push_str(name);
                self.attributes(members, entries)?;
                self.out.push('>');
                self.members(id, node)?;
                self.close(name);
            }
            (Kind::List { member, item_name, flattened, .. }, Node::List(items)) => {
                let flat = *flattened || member_flattened;
                // A flattened list's items bear the list's name.
                let item = if flat { name } else { item_name };
                self.wrapped((!flat).then_some(name), items, |writer, node| {
                    writer.value(item, *member, false, None, node)
                })?;
            }
            (Kind::Map { value, key_name, value_name, flattened, .. }, Node::Map(entries)) => {
                let flat = *flattened || member_flattened;
                let entry = if flat { name } else { "entry" };
                self.wrapped((!flat).then_some(name), entries, |writer, (key, node)| {
                    writer.open(entry);
                    writer.text_element(key_name, key);
                    writer.value(value_name, *value, false, None, node)?;
                    writer.close(entry);
                    Ok(())
                })?;
            }
            _ => {
                let text = self.scalar(shape, format, node)?;
                self.text_element(name, &text);
            }
        }
        Ok(())
    }

    fn wrapped<T>(
        &mut self,
        name: Option<&str>,
        items: &[T],
        mut each: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        if let Some(name) = name {
            self.open(name);
        }
        for item in items {
            each(self, item)?;
        }
        if let Some(name) = name {
            self.close(name);
        }
        Ok(())
    }

    fn scalar(&self, shape: &Shape, format: Option<TimeFormat>, node: &Node) -> Result<String, EncodeError> {
        let mut text = String::new();
        let format = scalar::time_format(format, shape, TimeFormat::Iso8601);
        scalar::write(&mut text, node, shape, format).ok_or_else(|| EncodeError::kind(shape, node))?;
        Ok(text)
    }

    fn attributes(
        &mut self,
        members: &'static [Member],
        entries: &[(Name, Node)],
    ) -> Result<(), EncodeError> {
        for member in members.iter().filter(|member| member.xml_attribute) {
            if let Some((_, value)) =
                entries.iter().find(|(name, value)| name == member.name && !value.is_null())
            {
                let text = self.scalar(self.service.shape(member.shape), member.time_format, value)?;
                self.out.push_str(&format!(" {}=\"", member.wire_name()));
                escape(&mut self.out, &text);
                self.out.push('"');
            }
        }
        Ok(())
    }
}

/// Escapes text for elements and attributes alike. What XML 1.0 cannot hold at all (most control
/// characters) becomes the replacement character: a log line with a stray byte must not break the
/// whole answer.
pub fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(character),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
}

/// An element as it was read. Prefixes are dropped.
#[derive(Debug, Default)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// Reads one document. A document type declaration is refused: with it, a few bytes become gigabytes.
pub fn parse(body: &[u8]) -> Result<Element, String> {
    let text = std::str::from_utf8(body).map_err(|_| "The body is not UTF-8".to_owned())?;
    let mut reader = XmlReader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut count = 0;
    loop {
        let event =
            reader.read_event().map_err(|error| format!("The body is not well-formed XML: {error}"))?;
        match event {
            Event::Start(start) => {
                count += 1;
                if count > MAX_VALUES || open.len() >= MAX_DEPTH || root.is_some() {
                    return Err("The body has too many, or too deep, elements".to_owned());
                }
                open.push(element(&start)?);
            }
            Event::Empty(start) => {
                count += 1;
                if count > MAX_VALUES {
                    return Err("The body has too many elements".to_owned());
                }
                finish(element(&start)?, &mut open, &mut root)?;
            }
            Event::End(_) => {
                let done = open.pop().ok_or("An element ends that did not begin")?;
                finish(done, &mut open, &mut root)?;
            }
            Event::Text(text) => {
                push_text(&mut open, &text)?;
            }
            Event::CData(text) => {
                push_text(&mut open, &text)?;
            }
            Event::GeneralRef(reference) => {
                let text = quick_xml::escape::unescape(&format!("&{};", &*reference))
                    .map_err(|error| error.to_string())?
                    .into_owned();
                push_text(&mut open, &text)?;
            }
            Event::DocType(_) => return Err("A document type declaration is not accepted".to_owned()),
            Event::Eof => break,
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
    match (root, open.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => Err("The body ends within an element".to_owned()),
    }
}

fn push_text(open: &mut [Element], text: &str) -> Result<(), String> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err("Text stands outside of the document's element".to_owned()),
    }
    Ok(())
}

fn element(start: &BytesStart) -> Result<Element, String> {
    let name = start.name();
    let local = name.as_ref().rsplit(':').next().unwrap_or_default();
    let mut element = Element { name: local.to_owned(), ..Element::default() };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value =
            quick_xml::escape::unescape(&attribute.value).map_err(|error| error.to_string())?.into_owned();
        // Attributes are modelled with their prefix (`xsi:type`).
        element.attributes.push((attribute.key.as_ref().to_owned(), value));
    }
    Ok(element)
}

fn finish(done: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), String> {
    match (open.last_mut(), &root) {
        (Some(parent), _) => parent.children.push(done),
        (None, None) => *root = Some(done),
        (None, Some(_)) => return Err("The body has more than one document".to_owned()),
    }
    Ok(())
}

/// Reads values out of elements.
pub struct Reader {
    pub service: &'static Service,
    pub budget: Budget,
}

impl Reader {
    pub fn structure(
        &self,
        members: &'static [Member],
        element: &Element,
        path: &Path,
    ) -> Result<Node, String> {
        self.budget.take(path)?;
        let mut entries = Vec::new();
        for member in members.iter().filter(|member| member.location == Location::Body) {
            let path = path.member(member.wire_name());
            if member.xml_attribute {
                if let Some((_, text)) =
                    element.attributes.iter().find(|(name, _)| name == member.wire_name())
                {
                    let value =
                        self.scalar(self.service.shape(member.shape), member.time_format, text, &path)?;
                    entries.push((member.name.into(), value));
                }
                continue;
            }
            let found: Vec<&Element> =
                element.children.iter().filter(|child| child.name == member.wire_name()).collect();
            if let Some(last) = found.last() {
                let shape = self.service.shape(member.shape);
                let flat = match shape.kind {
                    Kind::List { flattened, .. } | Kind::Map { flattened, .. } => {
                        flattened || member.flattened
                    }
                    _ => false,
                };
                let value = match flat {
                    true => self.collection(shape, &found, &path)?,
                    false => self.value(shape, member.time_format, last, &path)?,
                };
                entries.push((member.name.into(), value));
            }
        }
        Ok(Node::Map(entries))
    }

    pub fn value(
        &self,
        shape: &'static Shape,
        format: Option<TimeFormat>,
        element: &Element,
        path: &Path,
    ) -> Result<Node, String> {
        match shape.kind {
            Kind::Structure { members, .. } => self.structure(members, element, path),
            Kind::List { item_name, .. } => {
                let items: Vec<&Element> =
                    element.children.iter().filter(|child| child.name == item_name).collect();
                self.collection(shape, &items, path)
            }
            Kind::Map { .. } => {
                let entries: Vec<&Element> =
                    element.children.iter().filter(|child| child.name == "entry").collect();
                self.collection(shape, &entries, path)
            }
            _ if !element.children.is_empty() => {
                Err(format!("A {} was expected at '{path}', an element was found", shape.name))
            }
            _ => self.scalar(shape, format, &element.text, path),
        }
    }

    fn collection(&self, shape: &'static Shape, elements: &[&Element], path: &Path) -> Result<Node, String> {
        self.budget.take(path)?;
        match shape.kind {
            Kind::List { member, .. } => {
                let member = self.service.shape(member);
                let item = |(index, element): (usize, &&Element)| {
                    self.value(member, None, element, &path.index(index))
                };
                Ok(Node::List(elements.iter().enumerate().map(item).collect::<Result<_, _>>()?))
            }
            Kind::Map { value, key_name, value_name, .. } => {
                let mut entries = Vec::with_capacity(elements.len());
                for element in elements {
                    let (Some(key), Some(found)) = (element.child(key_name), element.child(value_name))
                    else {
                        return Err(format!("The map '{path}' has an entry without a key or a value"));
                    };
                    let path = path.member(&key.text);
                    let found = self.value(self.service.shape(value), None, found, &path)?;
                    entries.push((key.text.clone().into(), found));
                }
                Ok(Node::Map(last_wins(entries)))
            }
            _ => Err(format!("A {} was expected at '{path}'", shape.name)),
        }
    }

    fn scalar(
        &self,
        shape: &Shape,
        format: Option<TimeFormat>,
        text: &str,
        path: &Path,
    ) -> Result<Node, String> {
        self.budget.take(path)?;
        let text = if matches!(shape.kind, Kind::String { .. }) { text } else { text.trim() };
        let format = scalar::time_format(format, shape, TimeFormat::Iso8601);
        scalar::parse(text, shape, format).map_err(|message| format!("{message} at '{path}'"))
    }
}
