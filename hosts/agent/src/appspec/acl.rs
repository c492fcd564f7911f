//! One entry of an access control list, in the short forms that AWS's agent takes:
//! `[d[efault]:][u[ser]|g[roup]|m[ask]|o[ther]:]NAME:rwx`, with the rights as letters or one octal digit.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AceKind {
    User,
    Group,
    Mask,
    Other,
}

impl AceKind {
    fn parse(text: &str) -> Option<AceKind> {
        match text {
            "u" | "user" => Some(AceKind::User),
            "g" | "group" => Some(AceKind::Group),
            "m" | "mask" => Some(AceKind::Mask),
            "o" | "other" => Some(AceKind::Other),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            AceKind::User => "user",
            AceKind::Group => "group",
            AceKind::Mask => "mask",
            AceKind::Other => "other",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ace {
    pub default: bool,
    pub kind: AceKind,
    pub name: String,
    /// Read 4, write 2, execute 1.
    pub rights: u32,
}

impl Ace {
    pub fn new(default: bool, kind: AceKind, rights: u32) -> Ace {
        Ace { default, kind, name: String::new(), rights }
    }
}

/// As `setfacl` takes it.
impl fmt::Display for Ace {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        if self.default {
            formatter.write_str("default:")?;
        }
        let right = |bit: u32, letter: char| if self.rights & bit != 0 { letter } else { '-' };
        let (read, write, execute) = (right(4, 'r'), right(2, 'w'), right(1, 'x'));
        write!(formatter, "{}:{}:{read}{write}{execute}", self.kind.name(), self.name)
    }
}

pub fn parse(text: &str) -> Result<Ace, String> {
    let invalid = || format!("{text:?} is no entry of an access control list, such as user:bob:rw");
    let mut parts: Vec<&str> = text.split(':').collect();
    if !(2..=4).contains(&parts.len()) {
        return Err(invalid());
    }
    let rights = rights(parts.pop().unwrap_or_default()).ok_or_else(invalid)?;
    let default = matches!(parts[0], "d" | "default") && parts.len() > 1;
    if default {
        parts.remove(0);
    }
    let (kind, name) = match parts.as_slice() {
        [only] => match AceKind::parse(only) {
            Some(kind @ (AceKind::Mask | AceKind::Other)) => (kind, ""),
            _ => (AceKind::User, *only),
        },
        [kind, name] => (AceKind::parse(kind).ok_or_else(invalid)?, *name),
        _ => return Err(invalid()),
    };
    if matches!(kind, AceKind::Mask | AceKind::Other) && !name.is_empty() {
        return Err(invalid());
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.@-$".contains(&byte)) || name.len() > 64 {
        return Err(invalid());
    }
    if !default && kind != AceKind::Mask && name.is_empty() {
        return Err(format!("{text:?}: use mode for the rights of owner, group and others"));
    }
    Ok(Ace { default, kind, name: name.to_owned(), rights })
}

fn rights(text: &str) -> Option<u32> {
    match text.as_bytes() {
        [digit @ b'0'..=b'7'] => Some(u32::from(digit - b'0')),
        letters => letters.iter().try_fold(0, |bits, letter| match letter {
            b'r' => Some(bits | 4),
            b'w' => Some(bits | 2),
            b'x' => Some(bits | 1),
            b'-' => Some(bits),
            _ => None,
        }),
    }
}
