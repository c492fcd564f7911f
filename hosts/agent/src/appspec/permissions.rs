//! The `permissions` section.
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-permissions.html>

use super::{Ace, absolute, acl, items};
use towpath_yaml::{Error, Node};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectType {
    File,
    Directory,
}

/// An SELinux label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub user: Option<String>,
    pub type_: String,
    pub range: Option<String>,
}

/// One entry: rights for what was copied or made at `object` or beneath it.
#[derive(Clone, Debug, PartialEq)]
pub struct Permission {
    pub object: String,
    /// `**` for everything beneath `object`; else a name with `*`, for what lies directly in it.
    pub pattern: String,
    pub except: Vec<String>,
    pub types: Vec<ObjectType>,
    pub owner: Option<String>,
    pub group: Option<String>,
    pub mode: Option<u32>,
    pub acls: Vec<Ace>,
    pub context: Option<Context>,
    pub line: usize,
}

impl Permission {
    pub fn covers(&self, kind: ObjectType) -> bool {
        self.types.contains(&kind)
    }

    /// Whether it applies to `path`, which lies beneath `object`.
    pub fn matches(&self, path: &str) -> bool {
        let base = self.object.trim_end_matches('/');
        let Some(name) = path.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')) else {
            return false;
        };
        let named = self.pattern == "**" || glob_matches(&self.pattern, name);
        named && !self.except.iter().any(|pattern| glob_matches(pattern, name))
    }
}

/// AWS's simple patterns: `*` stands for any characters of one name; other characters for themselves.
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    if name.contains('/') {
        return false;
    }
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            p += 1;
            n += 1;
        } else if let Some((star, from)) = retry {
            p = star + 1;
            n = from + 1;
            retry = Some((star, n));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

pub(super) fn read(node: Option<&Node>) -> Result<Vec<Permission>, Error> {
    items(node, "permissions")?.iter().map(permission).collect()
}

fn permission(node: &Node) -> Result<Permission, Error> {
    let allowed = ["object", "pattern", "except", "owner", "group", "mode", "acls", "context", "type"];
    let map = node.map("permissions")?.only(&allowed)?;
    let name = |key: &str| -> Result<Option<String>, Error> {
        match map.text(key)?.map(str::trim) {
            Some(text) if text.is_empty() || text.len() > 64 || text.contains([':', '/', '\n', '\0']) => {
                Err(Error::invalid(node, format!("permissions/{key} {text:?} is no name")))
            }
            text => Ok(text.map(str::to_owned)),
        }
    };
    Ok(Permission {
        object: absolute(map.required("object")?, "permissions/object")?,
        pattern: map.text("pattern")?.unwrap_or("**").to_owned(),
        except: map.texts("except")?.unwrap_or_default(),
        types: types(map.get("type"))?,
        owner: name("owner")?,
        group: name("group")?,
        mode: map.get("mode").map(mode).transpose()?,
        acls: items(map.get("acls"), "permissions/acls")?
            .iter()
            .map(|item| {
                acl::parse(item.text("permissions/acls")?).map_err(|reason| Error::invalid(item, reason))
            })
            .collect::<Result<_, _>>()?,
        context: map.get("context").map(context).transpose()?,
        line: node.line,
    })
}

fn types(node: Option<&Node>) -> Result<Vec<ObjectType>, Error> {
    let listed = items(node, "permissions/type")?;
    if listed.is_empty() {
        return Ok(vec![ObjectType::File, ObjectType::Directory]);
    }
    listed
        .iter()
        .map(|item| match item.text("permissions/type")? {
            "file" => Ok(ObjectType::File),
            "directory" => Ok(ObjectType::Directory),
            _ => Err(Error::invalid(item, "permissions/type must be file or directory")),
        })
        .collect()
}

/// YAML reads `0644` without quotes as the number 420, so AWS's reference asks for quotes.
fn mode(node: &Node) -> Result<u32, Error> {
    let text = node.text("permissions/mode")?;
    if let towpath_yaml::Value::Scalar { plain: true, .. } = &node.value
        && text.len() > 1
        && text.starts_with('0')
    {
        let quoted = format!("permissions/mode {text} must stand in quotes, or without its leading zero");
        return Err(Error::invalid(node, quoted));
    }
    let octal = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let value = u32::from_str_radix(text, 8).ok().filter(|_| octal);
    value.ok_or_else(|| {
        Error::invalid(node, format!("permissions/mode {text:?} must be one to four octal digits"))
    })
}

fn context(node: &Node) -> Result<Context, Error> {
    let map = node.map("permissions/context")?.only(&["user", "name", "type", "range"])?;
    map.required("type")?;
    let text = |key: &str| -> Result<Option<String>, Error> { Ok(map.text(key)?.map(str::to_owned)) };
    let user = match (text("user")?, text("name")?) {
        (Some(_), Some(_)) => return Err(Error::invalid(node, "context has both user and name")),
        (user, name) => user.or(name),
    };
    Ok(Context { user, type_: text("type")?.unwrap_or_default(), range: text("range")? })
}
