//! The paths that a source file names, resolved to the crate's root.
//!
//! Not a parser: it finds every `a::b::c` and `a::{b, c}` outside of comments, strings and test modules. It relies on
//! the formatting that `cargo fmt` enforces.

/// A source file and the module that it is.
pub(crate) struct SourceFile {
    /// Path within the repository, for messages.
    pub(crate) name: String,
    /// Path of the module, such as `transport::docker`.
    pub(crate) module: String,
    /// Its text.
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn new(name: &str, module: &str, text: &str) -> Self {
        Self { name: name.to_owned(), module: module.to_owned(), text: text.to_owned() }
    }
}

/// Every path of at least two segments. Paths into this crate start with `crate`, others with their package.
pub(crate) fn paths(file: &SourceFile) -> Vec<Vec<String>> {
    let code = code(&file.text);
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(start) = rest.find(is_word) {
        let before = rest[..start].ends_with("::");
        rest = &rest[start..];
        let word_end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if before || !rest[word_end..].starts_with("::") {
            rest = &rest[word_end..];
            continue;
        }
        rest = tree(rest, &[], &mut found);
    }
    found.into_iter().filter_map(|path| resolve(&file.module, path)).collect()
}

/// Reads `a::b`, `a::*` or `a::{…}`, adds what it stands for, and returns what follows it.
fn tree<'a>(text: &'a str, prefix: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = prefix.to_vec();
    let mut rest = text;
    loop {
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner.trim_start();
            while !rest.is_empty() && !rest.starts_with('}') {
                rest = tree(rest, &path, found);
                // `as name`, a comma, white space.
                let next = rest.find([',', '}']).unwrap_or(rest.len());
                rest = rest[next..].trim_start_matches(',').trim_start();
            }
            return rest.strip_prefix('}').unwrap_or(rest);
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if end == 0 {
            // `a::*`, or the turbofish of `a::<T>`, whose own paths are found next.
            break;
        }
        path.push(rest[..end].to_owned());
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(after) => rest = after,
            None => break,
        }
    }
    found.push(path);
    rest
}

/// Turns `super::x` in module `a::b` into `crate::a::x`.
fn resolve(module: &str, path: Vec<String>) -> Option<Vec<String>> {
    let mut absolute: Vec<String> = match path.first()?.as_str() {
        "crate" | "imagepush" => return Some(prefixed(&[], &path[1..])),
        "self" | "super" => module.split("::").map(str::to_owned).collect(),
        _ => return Some(path),
    };
    let mut rest = path.as_slice();
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "self" => {}
            "super" => drop(absolute.pop()),
            _ => break,
        }
        rest = after;
    }
    Some(prefixed(&absolute, rest))
}

fn prefixed(module: &[String], rest: &[String]) -> Vec<String> {
    let root = ["crate".to_owned()];
    root.iter().chain(module).chain(rest).cloned().collect()
}

/// The text without comments, string literals and inline test modules.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut in_tests = false;
    for line in text.lines() {
        if line.starts_with("mod tests {") {
            in_tests = true;
        }
        if !in_tests && !line.trim_start().starts_with("//") {
            code.push_str(&without_strings(line));
            code.push('\n');
        }
        if line == "}" {
            in_tests = false;
        }
    }
    code
}

fn without_strings(line: &str) -> String {
    line.replace("\\\"", "").split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
