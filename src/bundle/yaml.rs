//! Reads YAML from the parser's events, so that a plain scalar can be told from a quoted one.
//!
//! Pure. Gives what kubectl would send to the API server, or an error: wherever readers of YAML differ, or may do, the text is
//! refused rather than guessed at. An alias costs what it stands for, and everything is counted.

use std::collections::{BTreeSet, HashMap};

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};

use super::scalar;
use crate::limits::{
    MAX_BUNDLE, MAX_BUNDLE_ALIASED, MAX_BUNDLE_DEPTH, MAX_BUNDLE_KEY, MAX_BUNDLE_NODES,
};

/// Characters that end a line to readers of YAML 1.1 and don't to those of 1.2.
const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];
/// What takes the entries of another mapping in.
const MERGE: &str = "<<";

/// Reads every document of a text; empty ones are null.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, String> {
    if let Some(at) = text.find(LINE_ENDS) {
        let line = text[..at].matches('\n').count() + 1;
        return Err(format!("line {line} has a character that ends a line for some readers only"));
    }
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_BUNDLE_DEPTH,
        block_nesting_limit: MAX_BUNDLE_DEPTH,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
        aliased: 0,
        copied: 0,
        line: 1,
    };
    reader.documents().map_err(|fault| format!("line {}: {fault}", reader.line))
}

struct Reader<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    /// Values by the parser's number for their anchor, each with what it costs and how deep it is.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// How many of them came from aliases.
    aliased: usize,
    /// Bytes of text that were copied for anchors and aliases.
    copied: usize,
    line: usize,
}

/// A value with its cost.
#[derive(Clone)]
struct Node {
    value: Value,
    nodes: usize,
    /// Bytes of its texts and keys.
    bytes: usize,
    depth: usize,
    /// Whether this is the plain scalar that makes a key take another mapping in.
    merges: bool,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn documents(&mut self) -> Result<Vec<Value>, String> {
        let mut documents = Vec::new();
        loop {
            match self.next()? {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(documents),
                Event::DocumentStart(..) => {
                    // Anchors hold within their document.
                    self.anchors.clear();
                    let event = self.next()?;
                    documents.push(self.node(event, 0)?.value);
                }
                _ => return Err("content where a document should start".into()),
            }
        }
    }

    fn next(&mut self) -> Result<Event<'a>, String> {
        loop {
            let next = self.events.next_event().ok_or("it ends too early")?;
            let (event, span): (Event<'a>, Span) = next.map_err(|error| error.info())?;
            self.line = span.start.line();
            if !matches!(event, Event::Comment(..) | Event::Anchor(..)) {
                return Ok(event);
            }
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, String> {
        if depth > MAX_BUNDLE_DEPTH {
            return Err(format!("it is nested deeper than {MAX_BUNDLE_DEPTH}"));
        }
        self.spend(1)?;
        let (node, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, depth),
            Event::Scalar(text, style, anchor, tag) => {
                (scalar_node(&text, style, tag.as_deref())?, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "seq")?;
                (self.sequence(depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "map")?;
                (self.mapping(depth)?, anchor)
            }
            _ => return Err("a value is missing".into()),
        };
        if anchor != 0 {
            // What is kept counts like what is written: anchors within anchors keep the same over and over.
            self.copying(node.nodes, node.bytes)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, depth: usize) -> Result<Node, String> {
        // What an anchor stands for is known at its end only: it can't hold itself.
        let known = self.anchors.get(&anchor).ok_or("an alias stands for what it is part of")?;
        let (nodes, bytes) = (known.nodes, known.bytes);
        if depth + known.depth > MAX_BUNDLE_DEPTH {
            return Err(format!("with its aliases it is nested deeper than {MAX_BUNDLE_DEPTH}"));
        }
        self.aliased += nodes;
        if self.aliased > MAX_BUNDLE_ALIASED {
            return Err(format!("its aliases stand for more than {MAX_BUNDLE_ALIASED} values"));
        }
        self.copying(nodes, bytes)?;
        self.anchors.get(&anchor).cloned().ok_or_else(|| "an anchor is lost".to_owned())
    }

    /// Counts a copy before it is made.
    fn copying(&mut self, nodes: usize, bytes: usize) -> Result<(), String> {
        self.copied += bytes;
        if self.copied > MAX_BUNDLE {
            return Err(format!("its anchors and aliases stand for more than {MAX_BUNDLE} bytes"));
        }
        self.spend(nodes)
    }

    fn spend(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes += nodes;
        if self.nodes > MAX_BUNDLE_NODES {
            return Err(format!("it has more than {MAX_BUNDLE_NODES} values"));
        }
        Ok(())
    }

    fn sequence(&mut self, depth: usize) -> Result<Node, String> {
        let (mut items, mut cost) = (Vec::new(), Node::of(Value::Null));
        loop {
            let event = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Node { value: Value::Array(items), ..cost });
            }
            let item = self.node(event, depth + 1)?;
            cost.add(&item);
            items.push(item.value);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Node, String> {
        let (mut entries, mut cost) = (Entries::default(), Node::of(Value::Null));
        loop {
            let event = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Node { value: Value::Object(entries.all), ..cost });
            }
            let key = self.node(event, depth + 1)?;
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            cost.add(&key);
            cost.add(&value);
            if key.merges {
                entries.merge(value.value)?;
            } else {
                entries.set(key_of(key.value)?, value.value)?;
            }
        }
    }
}

/// A mapping that is being read.
#[derive(Default)]
struct Entries {
    all: Map<String, Value>,
    /// Keys that came from another mapping: they give way to the mapping's own.
    merged: BTreeSet<String>,
    has_merged: bool,
}

// === impl Entries ===

impl Entries {
    fn set(&mut self, key: String, value: Value) -> Result<(), String> {
        if !self.merged.remove(&key) && self.all.contains_key(&key) {
            return Err(format!("key `{key}` occurs twice"));
        }
        self.all.insert(key, value);
        Ok(())
    }

    /// Takes the entries of other mappings in; of these, earlier ones win.
    fn merge(&mut self, value: Value) -> Result<(), String> {
        if std::mem::replace(&mut self.has_merged, true) {
            return Err("key `<<` occurs twice".into());
        }
        let mappings = match value {
            Value::Array(mappings) => mappings,
            mapping => vec![mapping],
        };
        for mapping in mappings {
            let Value::Object(mapping) = mapping else {
                return Err("`<<` needs a mapping, or a list of them".into());
            };
            for (key, value) in mapping {
                if self.merged.contains(&key) {
                    continue;
                }
                if self.all.contains_key(&key) {
                    // To kubectl the later one wins, to YAML the mapping's own.
                    return Err(format!("`<<` comes after key `{key}`, which it has, too"));
                }
                self.merged.insert(key.clone());
                self.all.insert(key, value);
            }
        }
        Ok(())
    }
}

// === impl Node ===

impl Node {
    fn of(value: Value) -> Self {
        let bytes = value.as_str().map_or(0, str::len);
        Self { value, nodes: 1, bytes, depth: 0, merges: false }
    }

    fn add(&mut self, below: &Self) {
        self.nodes += below.nodes;
        self.bytes += below.bytes;
        self.depth = self.depth.max(below.depth + 1);
    }
}

fn scalar_node(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Node, String> {
    let plain = style == ScalarStyle::Plain;
    let resolved = || {
        scalar::resolve(text).map_err(|_| format!("`{text}` is a number that JSON doesn't have"))
    };
    let value = match tag {
        None if plain => resolved()?,
        None => Value::String(text.to_owned()),
        Some(tag) => match (tag.core_suffix(), resolved()) {
            (Some("str"), _) => Value::String(text.to_owned()),
            (Some("null"), Ok(value @ Value::Null))
            | (Some("bool"), Ok(value @ Value::Bool(_))) => value,
            (Some("int"), Ok(value)) if value.is_i64() || value.is_u64() => value,
            (Some("float"), Ok(value)) if value.is_number() => value,
            _ => return Err(foreign_tag(tag)),
        },
    };
    let merges = plain && tag.is_none() && text == MERGE;
    Ok(Node { merges, ..Node::of(value) })
}

fn check_tag(tag: Option<&Tag>, expected: &str) -> Result<(), String> {
    match tag {
        Some(tag) if tag.core_suffix() != Some(expected) => Err(foreign_tag(tag)),
        _ => Ok(()),
    }
}

fn foreign_tag(tag: &Tag) -> String {
    format!("tag `{}` has no meaning for a Kubernetes object", tag.original())
}

/// Keys are text to the API server; those that are words or whole numbers become it.
fn key_of(key: Value) -> Result<String, String> {
    let key = match key {
        Value::String(key) => key,
        Value::Bool(key) => key.to_string(),
        Value::Number(key) if !key.is_f64() => key.to_string(),
        Value::Number(_) | Value::Null => return Err("a key is no text; quote it".into()),
        Value::Array(_) | Value::Object(_) => return Err("a key is a list or mapping".into()),
    };
    if key.len() > MAX_BUNDLE_KEY {
        return Err(format!("a key has more than {MAX_BUNDLE_KEY} bytes"));
    }
    Ok(key)
}

#[cfg(test)]
mod tests;
