//! Reads the file of `imagepush apply`: ImagePush objects, and the Secrets they name.
//!
//! It is checked as an API server would check it, but for `metadata`, which has no meaning here beyond name and namespace.
//! What is wrong is told with the document's number and its name. Nothing of a Secret's content gets into a message.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::access::Network;
use crate::api;
use crate::api::check;
use crate::api::v1alpha1::ImagePush;
use crate::controller::once::{self, Prepared, Secrets};
use crate::error::{Error, Kind, Result};
use crate::limits::MAX_APPLY_FILE;

/// What a file holds.
#[derive(Default)]
struct Documents {
    objects: Vec<ImagePush>,
    /// By namespace.
    secrets: BTreeMap<String, Secrets>,
}

/// The name that stands for standard input.
const STDIN: &str = "-";

/// The namespace of what names none.
const NAMESPACE: &str = "default";

/// Reads and checks a file; all that it holds can be run.
pub(super) fn read(path: &Path) -> Result<Vec<Prepared>> {
    let text = text(path)?;
    let reading = || format!("reading {}", shown(path));
    let documents = Documents::parse(&text).map_err(|error| error.doing(reading()))?;
    let Documents { objects, secrets } = documents;
    let none = Secrets::default();
    let network = Network::of_person();
    let prepare = |object: ImagePush| {
        let name = name(&object);
        let namespace = object.metadata.namespace.as_deref().unwrap_or(NAMESPACE);
        let secrets = secrets.get(namespace).unwrap_or(&none);
        once::prepare(object, secrets, &network).map_err(|error| error.doing(name).doing(reading()))
    };
    objects.into_iter().map(prepare).collect()
}

/// An object's kind and name, for messages.
pub(super) fn name(object: &ImagePush) -> String {
    format!("{} `{}`", api::KIND, object.metadata.name.as_deref().unwrap_or_default())
}

/// A file's name, for messages.
fn shown(path: &Path) -> String {
    if path == Path::new(STDIN) { "standard input".into() } else { format!("`{}`", path.display()) }
}

fn text(path: &Path) -> Result<String> {
    let input: Box<dyn Read> = if path == Path::new(STDIN) {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(|cause| Error::io("open", path, &cause))?)
    };
    let mut bytes = vec![];
    let read = input.take(MAX_APPLY_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|cause| Error::io("read", path, &cause))?;
    if bytes.len() as u64 > MAX_APPLY_FILE {
        let message = format!("{} is larger than {} MiB", shown(path), MAX_APPLY_FILE >> 20);
        return Err(Error::new(Kind::LimitExceeded, message));
    }
    String::from_utf8(bytes).map_err(|_| invalid(format!("{} is not UTF-8 text", shown(path))))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidOptions, message)
}

// === impl Documents ===

impl Documents {
    fn parse(text: &str) -> Result<Self> {
        let mut documents = Self::default();
        for (n, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
            let wrong = |error: Error| error.doing(format!("document {}", n + 1));
            // Through YAML's own values, which refuse a key that stands twice.
            let document = serde_yaml::Value::deserialize(document)
                .and_then(serde_yaml::from_value::<Value>)
                .map_err(|cause| wrong(invalid(format!("this is not YAML: {cause}"))))?;
            documents.add(document).map_err(wrong)?;
        }
        if documents.objects.is_empty() {
            return Err(invalid(format!("there is no {} in it", api::KIND)));
        }
        Ok(documents)
    }

    fn add(&mut self, document: Value) -> Result<()> {
        let fields = match document {
            // What stands before the first `---` and after the last.
            Value::Null => return Ok(()),
            Value::Object(fields) => fields,
            _ => return Err(invalid("this is not an object")),
        };
        let field = |name: &str| fields.get(name).and_then(Value::as_str);
        match (field("apiVersion"), field("kind")) {
            (Some(api::API_VERSION), Some(api::KIND)) => self.objects.push(object(fields)?),
            (Some("v1"), Some("Secret")) => self.add_secret(fields)?,
            (Some(version), Some(kind)) => {
                let message = format!("`{kind}` of `{version}` can't be applied here");
                let hint =
                    format!("this can: {} of {}, and Secret of v1", api::KIND, api::API_VERSION);
                return Err(invalid(message).hint(hint));
            }
            _ => return Err(invalid("`apiVersion` or `kind` is missing")),
        }
        Ok(())
    }

    fn add_secret(&mut self, fields: Map<String, Value>) -> Result<()> {
        let name = named(&fields)?;
        let wrong = |error: Error| error.doing(format!("Secret `{name}`"));
        let secret = secret(fields).map_err(wrong)?;
        let namespace = secret.metadata.namespace.clone().unwrap_or_else(|| NAMESPACE.into());
        match self.secrets.entry(namespace).or_default().insert(name.clone(), secret) {
            Some(_) => Err(wrong(invalid("it is in the file twice"))),
            None => Ok(()),
        }
    }
}

fn object(mut fields: Map<String, Value>) -> Result<ImagePush> {
    let name = named(&fields)?;
    // A status would be that of a former run.
    fields.remove("status");
    checked(fields).map_err(|error| error.doing(format!("{} `{name}`", api::KIND)))
}

fn checked(mut fields: Map<String, Value>) -> Result<ImagePush> {
    only(&fields, &["apiVersion", "kind", "metadata", "spec"])?;
    check::structure(fields.entry("spec").or_insert_with(|| Map::new().into()))?;
    let object: ImagePush = serde_json::from_value(fields.into())
        .map_err(|cause| invalid(format!("it can't be read: {cause}")))?;
    check::rules(&object.spec)?;
    Ok(object)
}

fn secret(fields: Map<String, Value>) -> Result<Secret> {
    let known = ["apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"];
    only(&fields, &known)?;
    // The parser's own message could quote what is secret.
    let unreadable = |_| {
        invalid("it can't be read")
            .hint("values of `data` are texts in base64, those of `stringData` texts")
    };
    let mut secret: Secret = serde_json::from_value(fields.into()).map_err(unreadable)?;
    let texts = secret.string_data.take().unwrap_or_default();
    let texts = texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes())));
    secret.data.get_or_insert_default().extend(texts);
    Ok(secret)
}

fn named(fields: &Map<String, Value>) -> Result<String> {
    let name = fields.get("metadata").and_then(|metadata| metadata["name"].as_str());
    let name = name.filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| invalid("`metadata.name` is missing"))
}

fn only(fields: &Map<String, Value>, known: &[&str]) -> Result<()> {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(invalid(format!("unknown field `{name}`"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
