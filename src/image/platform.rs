//! Platforms: operating system, architecture and variant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The platform an image runs on, in Go's names (`linux`, `amd64`, `arm`/`v7`).
///
/// Parsed platforms are normalised: `x86_64` is `amd64`, `aarch64` is `arm64`, and `arm64/v8` has no variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system.
    pub os: String,
    /// CPU architecture.
    pub architecture: String,
    /// Variant of the architecture, such as `v7` of `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system; only Windows images have one.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features the operating system must have; only Windows images name some.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// CPU features, which Docker's manifest lists may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// A string is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform of the form OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64")]
pub struct ParsePlatformError(String);

// === impl Platform ===

impl Platform {
    /// A normalised platform of these parts.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise(architecture, variant.filter(|v| !v.is_empty()));
        Self {
            os: normalise_os(os),
            architecture,
            variant,
            os_version: None,
            os_features: vec![],
            features: vec![],
        }
    }

    /// The platform that this program runs on; an image for it runs here.
    pub fn of_this_machine() -> Self {
        let variant = (std::env::consts::ARCH == "arm").then_some("v7");
        Self::new(std::env::consts::OS, std::env::consts::ARCH, variant)
    }

    /// The same platform with the names of its parts normalised.
    #[must_use]
    pub fn normalised(&self) -> Self {
        let plain = Self::new(&self.os, &self.architecture, self.variant.as_deref());
        Self {
            os: plain.os,
            architecture: plain.architecture,
            variant: plain.variant,
            ..self.clone()
        }
    }

    /// The platforms whose images run on this one, best first: its own variant, then the less capable
    /// ones, then none. Without a variant: none first, then the whole list.
    pub fn compatible(&self) -> Vec<Self> {
        let wanted = self.normalised();
        let known: &[&str] = match wanted.architecture.as_str() {
            "arm" => &["v8", "v7", "v6", "v5"],
            _ => &[],
        };
        let variant = |variant: Option<&str>| Self::new(&wanted.os, &wanted.architecture, variant);
        let Some(own) = wanted.variant.as_deref() else {
            return std::iter::once(variant(None))
                .chain(known.iter().map(|name| variant(Some(name))))
                .collect();
        };
        let below = known.iter().skip_while(|name| **name != own).skip(1);
        std::iter::once(variant(Some(own)))
            .chain(below.map(|name| variant(Some(name))))
            .chain(std::iter::once(variant(None)))
            .collect()
    }

    /// Whether it stands for nothing that runs: builders give it to what they put beside images, such as attestations.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// Whether both name the same operating system, architecture and variant.
    pub fn matches(&self, other: &Self) -> bool {
        let (own, other) = (self.normalised(), other.normalised());
        (own.os, own.architecture, own.variant) == (other.os, other.architecture, other.variant)
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, ParsePlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
            !part.is_empty() && part.chars().all(legal)
        };
        if !parts.iter().all(word) {
            return Err(ParsePlatformError(text.into()));
        }
        match parts[..] {
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(ParsePlatformError(text.into())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

fn normalise_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".into(),
        other => other.into(),
    }
}

/// Names and default variants as containerd normalises them.
fn normalise(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.map(str::to_ascii_lowercase);
    let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
        ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386" | "i686" | "x86", _) => ("386", None),
        ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
        ("aarch64", variant) => ("arm64", variant),
        ("arm", Some("5")) => ("arm", Some("v5")),
        ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
        ("armhf", _) | ("arm", Some("7")) => ("arm", Some("v7")),
        ("arm", Some("8")) => ("arm", Some("v8")),
        ("powerpc64le", variant) => ("ppc64le", variant),
        (other, variant) => (other, variant),
    };
    (architecture.to_owned(), variant.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalised_when_parsed() {
        let cases = [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i686", "linux/386"),
            ("linux/amd64/v3", "linux/amd64/v3"),
        ];
        for (text, normal) in cases {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_platform_is_refused() {
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/a b"] {
            let message = format!(
                "`{text}` is not a platform of the form OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64"
            );
            assert_eq!(text.parse::<Platform>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn compatible_platforms_come_best_first() {
        let cases = [
            ("linux/arm/v7", vec!["linux/arm/v7", "linux/arm/v6", "linux/arm/v5", "linux/arm"]),
            ("linux/amd64", vec!["linux/amd64"]),
            ("linux/amd64/v3", vec!["linux/amd64/v3", "linux/amd64"]),
            (
                "linux/arm",
                vec!["linux/arm", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"],
            ),
        ];
        for (text, expected) in cases {
            let platform: Platform = text.parse().unwrap();
            let names: Vec<String> =
                platform.compatible().iter().map(Platform::to_string).collect();
            assert_eq!(names, expected, "{text}");
        }
    }
}
