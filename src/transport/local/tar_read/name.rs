//! Names of archive members: relative, without `.` and `..`, in one spelling.
//!
//! Pure. A name that passes here is a key for a map and nothing else; no path of the file system is made of it.

use crate::limits::{MAX_TAR_DEPTH, MAX_TAR_NAME};

/// The one spelling of a member's name; empty for the root. The error says what is wrong with it.
pub(super) fn normalise(name: &[u8]) -> Result<String, &'static str> {
    let name = text(name)?;
    if name.starts_with('/') {
        return Err("has an absolute name");
    }
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("has a name with `..`"),
            _ => parts.push(part),
        }
    }
    if parts.len() > MAX_TAR_DEPTH {
        return Err("lies too deep");
    }
    Ok(parts.join("/"))
}

/// The name of the member that the symbolic link `name` points to.
pub(super) fn resolve(name: &str, target: &[u8]) -> Result<String, &'static str> {
    let target = text(target)?;
    if target.starts_with('/') {
        return Err("is a link to an absolute path");
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." if parts.pop().is_none() => return Err("is a link that leaves the archive"),
            "" | "." | ".." => {}
            _ => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    if bytes.len() > MAX_TAR_NAME as usize {
        return Err("has too long a name");
    }
    if bytes.contains(&0) {
        return Err("has a zero byte in its name");
    }
    std::str::from_utf8(bytes).map_err(|_| "has a name that is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        let deep = "d/".repeat(MAX_TAR_DEPTH + 1);
        let long = "n".repeat(MAX_TAR_NAME as usize + 1);
        let cases: [(&[u8], Result<&str, &str>); 12] = [
            (b"a/b", Ok("a/b")),
            (b"./a//b/./c", Ok("a/b/c")),
            (b"./", Ok("")),
            (b"..a/b..", Ok("..a/b..")),
            (b"/a", Err("has an absolute name")),
            (b"..", Err("has a name with `..`")),
            (b"a/../b", Err("has a name with `..`")),
            (b"a\0b", Err("has a zero byte in its name")),
            (b"a\xff", Err("has a name that is not UTF-8")),
            (deep.as_bytes(), Err("lies too deep")),
            (long.as_bytes(), Err("has too long a name")),
            (b"", Ok("")),
        ];
        for (name, expected) in cases {
            assert_eq!(normalise(name), expected.map(str::to_owned));
        }
    }

    #[test]
    fn links_stay_inside() {
        let cases: [(&str, &[u8], Result<&str, &str>); 6] = [
            ("id/layer.tar", b"../ab.tar", Ok("ab.tar")),
            ("id/layer.tar", b"../other/layer.tar", Ok("other/layer.tar")),
            ("layer.tar", b"./ab.tar", Ok("ab.tar")),
            ("id/layer.tar", b"../../etc/passwd", Err("is a link that leaves the archive")),
            ("id/layer.tar", b"/etc/passwd", Err("is a link to an absolute path")),
            ("id/layer.tar", b"x\0", Err("has a zero byte in its name")),
        ];
        for (name, target, expected) in cases {
            assert_eq!(resolve(name, target), expected.map(str::to_owned));
        }
    }
}
