//! The part of an image config that this product reads.
//!
//! Configs are moved as they are, byte for byte; nothing is ever written back, so that no field
//! of Docker's (health check, shell, …) gets lost and an image keeps its ID.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::json::{Annotations, JsonError, parse_object, typed};
use super::{Digest, Platform};

/// Largest config that is read, in bytes; the same bound that containers/image has.
pub const MAX_CONFIG_SIZE: u64 = 4 << 20;

/// What is read of an image config (OCI image specification v1.1; Docker's agrees).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Config {
    /// Operating system the image runs on; empty where the config doesn't say.
    #[serde(default)]
    pub os: String,
    /// Architecture the image runs on; empty where the config doesn't say.
    #[serde(default)]
    pub architecture: String,
    /// Variant of the architecture.
    #[serde(default)]
    pub variant: Option<String>,
    /// The layers' diff IDs.
    pub rootfs: RootFs,
    /// How a container of it is run.
    #[serde(default, deserialize_with = "super::descriptor::or_default")]
    pub config: RunConfig,
    /// How many layers the history tells of, if there is one that can be read. Nothing depends on it, so that any form is taken.
    #[serde(default, rename = "history", deserialize_with = "layers_in_history")]
    pub layers_in_history: Option<usize>,
}

/// How a container is run, as far as it is of interest here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RunConfig {
    /// What its author noted of the image.
    #[serde(default, rename = "Labels", deserialize_with = "super::descriptor::or_default")]
    pub labels: Annotations,
}

/// The layers an image consists of, by the digests of their uncompressed forms.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RootFs {
    /// Digest of each uncompressed layer, bottom first.
    #[serde(default, deserialize_with = "super::descriptor::or_default")]
    pub diff_ids: Vec<Digest>,
}

impl Config {
    /// Reads a config.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        typed(parse_object(bytes, &["os", "architecture", "variant", "rootfs"])?)
    }

    /// The platform, if the config names one.
    pub fn platform(&self) -> Option<Platform> {
        let named = !self.os.is_empty() && !self.architecture.is_empty();
        named.then(|| Platform::new(&self.os, &self.architecture, self.variant.as_deref()))
    }
}

/// Counts the steps that made a layer.
fn layers_in_history<'de, D: Deserializer<'de>>(history: D) -> Result<Option<usize>, D::Error> {
    let history = Value::deserialize(history)?;
    let steps = history.as_array().filter(|it| !it.is_empty() && it.iter().all(Value::is_object));
    Ok(steps.map(|steps| steps.iter().filter(|step| step["empty_layer"] != true).count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_and_the_diff_ids_are_read() {
        let digest = Digest::of(b"layer");
        let text = format!(
            r#"{{"os":"linux","architecture":"arm","variant":"v7","rootfs":{{"type":"layers","diff_ids":["{digest}"]}},"config":{{"Healthcheck":{{}},"Labels":{{"a":"b"}}}}}}"#
        );
        let config = Config::parse(text.as_bytes()).unwrap();
        assert_eq!(config.platform().unwrap().to_string(), "linux/arm/v7");
        assert_eq!(config.rootfs.diff_ids, [digest]);
        assert_eq!(config.config.labels["a"], "b");
        for labels in ["null", r#"{"Labels":null}"#, "{}"] {
            let text = format!(r#"{{"rootfs":{{}},"config":{labels}}}"#);
            assert!(Config::parse(text.as_bytes()).unwrap().config.labels.is_empty());
        }
    }

    #[test]
    fn steps_of_the_history_are_counted_that_made_a_layer() {
        for (history, layers) in [
            ("null", None),
            ("[]", None),
            (r#"[{"created_by":"a"},{"empty_layer":true},{"empty_layer":null}]"#, Some(2)),
            (r#"[{"empty_layer":true}]"#, Some(0)),
            (r#"[{"empty_layer":"true"}]"#, Some(1)),
            // Whatever else it is, the image is as good as without it.
            ("[null]", None),
            ("{}", None),
            ("7", None),
        ] {
            let text = format!(r#"{{"rootfs":{{}},"history":{history}}}"#);
            let config = Config::parse(text.as_bytes()).unwrap();
            assert_eq!(config.layers_in_history, layers, "{history}");
        }
    }

    #[test]
    fn a_config_without_a_root_file_system_is_refused() {
        let error = Config::parse(br#"{"os":"linux"}"#).unwrap_err();
        assert_eq!(error.to_string(), "missing field `rootfs`");
    }
}
