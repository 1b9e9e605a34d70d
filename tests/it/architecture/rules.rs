//! The two tables of ARCHITECTURE.md: which module may use which, and which package belongs where.
//!
//! An entry `transport` stands for what that module itself offers; a module below it has to be named, as in
//! `transport::local`. A module may always use what is below it and what the modules above it offer; the modules
//! below one topmost module may use each other, unless its row names those that they may.

use std::collections::{BTreeMap, BTreeSet};

/// Headings of the tables.
const MODULES: [&str; 2] = ["module", "may use"];
const PACKAGES: [&str; 2] = ["package", "only in"];

/// The rules, by module and by package.
pub(crate) struct Rules {
    modules: BTreeMap<String, Vec<String>>,
    packages: BTreeMap<String, Vec<String>>,
    /// Every module there is, by which a module is told from a function.
    known: BTreeSet<String>,
}

impl Rules {
    /// Reads both tables. Names stand in backticks; all other words are for people.
    pub(crate) fn read(document: &str, known: impl IntoIterator<Item = String>) -> Self {
        let rules = Self {
            modules: table(document, MODULES),
            packages: table(document, PACKAGES),
            known: known.into_iter().collect(),
        };
        assert!(!rules.modules.is_empty() && !rules.packages.is_empty(), "a table is missing");
        rules
    }

    /// Modules without a row for their topmost part.
    pub(crate) fn modules_without_a_row(&self) -> Vec<&str> {
        let known = self.known.iter().map(String::as_str);
        known.filter(|module| *module != "lib" && !self.modules.contains_key(top(module))).collect()
    }

    /// What `module` may not use, if `path` is such a thing.
    pub(crate) fn offence(&self, module: &str, path: &[String]) -> Option<String> {
        let (head, rest) = path.split_first()?;
        if head == "crate" {
            let target = rest.join("::");
            return (!self.allows(module, &target)).then_some(target);
        }
        let places = self.packages.get(head)?;
        let allowed = places.iter().any(|place| is_within(module, place));
        (!allowed).then(|| format!("package {head}"))
    }

    fn allows(&self, module: &str, target: &str) -> bool {
        let owner = self.owner(target);
        if module == "lib" || is_within(target, module) || is_within(module, owner) {
            return true;
        }
        // What is together below a module of the second level, such as one transport, is one thing.
        if second(module).is_some_and(|outer| is_within(target, outer)) {
            return true;
        }
        let row = self.modules.get(top(module)).map(Vec::as_slice).unwrap_or_default();
        let mut of_its_own = row.iter().filter(|entry| top(entry) == top(module)).peekable();
        if of_its_own.peek().is_none() && top(module) == top(target) {
            return true;
        }
        row.iter().any(|entry| owner == entry || (entry.contains("::") && is_within(target, entry)))
    }

    /// The module that an item is in: the longest beginning of its path that is a module.
    fn owner<'a>(&self, target: &'a str) -> &'a str {
        let ends = target.match_indices("::").map(|(end, _)| end).chain([target.len()]);
        let prefixes = ends.map(|end| &target[..end]);
        prefixes.filter(|prefix| self.known.contains(*prefix)).last().unwrap_or(top(target))
    }
}

fn is_within(module: &str, outer: &str) -> bool {
    module.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

/// The module of the second level that a module of a deeper one is in.
fn second(module: &str) -> Option<&str> {
    let mut ends = module.match_indices("::").map(|(end, _)| end);
    ends.nth(1).map(|end| &module[..end])
}

/// The rows of the table with these headings: the names of the first column, each with those of the second.
fn table(document: &str, headings: [&str; 2]) -> BTreeMap<String, Vec<String>> {
    let mut rows = BTreeMap::new();
    let mut inside = false;
    for line in document.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if cells.len() < 2 || !line.starts_with('|') {
            inside = false;
        } else if cells[..2] == headings {
            inside = true;
        } else if inside {
            for name in names(cells[0]) {
                rows.insert(name, names(cells[1]));
            }
        }
    }
    rows
}

/// The words in backticks.
fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
