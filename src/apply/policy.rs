//! Which kinds of objects a bundle may hold. Pure.
//!
//! A bundle describes an application to controllers that know its kinds; it is no way to hand out rights, to run programs, or
//! to change what the cluster is made of. Those kinds are never applied, whatever the operator's configuration says. Of the
//! others, those that a CustomResourceDefinition of the cluster defines are applied, or those that the configuration names.

use std::fmt;
use std::str::FromStr;

use crate::limits::MAX_OBJECT_NAME;

/// Groups of which nothing is ever applied, and why.
const NEVER_GROUPS: [(&str, &str); 10] = [
    ("admissionregistration.k8s.io", "it decides what the API server lets in"),
    ("apiextensions.k8s.io", "it defines kinds"),
    ("apiregistration.k8s.io", "it says who serves the API"),
    ("apps", "it runs programs"),
    ("authentication.k8s.io", "it is about who somebody is"),
    ("authorization.k8s.io", "it is about rights"),
    ("batch", "it runs programs"),
    ("certificates.k8s.io", "it makes identities"),
    ("imagepush.dev", "a push does not start pushes"),
    ("rbac.authorization.k8s.io", "it gives rights"),
];

/// Kinds of the core group, which has no name, that are never applied, and why.
const NEVER_CORE: [(&str, &str); 7] = [
    ("Binding", "it runs programs"),
    ("Namespace", "it belongs to the cluster"),
    ("Pod", "it runs programs"),
    ("PodTemplate", "it runs programs"),
    ("ReplicationController", "it runs programs"),
    ("Secret", "an image is no place for secrets"),
    ("ServiceAccount", "it is an identity"),
];

/// Which kinds may be applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Kinds that may be; where there are none, every kind that a CustomResourceDefinition defines.
    pub allowed: Vec<KindPattern>,
    /// Kinds that may not.
    pub denied: Vec<KindPattern>,
}

/// A kind or all kinds of a group: `KIND.GROUP`, `*.GROUP`, or `KIND` for the core group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindPattern {
    /// Any, if not set.
    kind: Option<String>,
    group: String,
}

/// What a policy says of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be applied.
    Allowed,
    /// It may be if a CustomResourceDefinition defines it.
    IfCustom,
    /// It may not, for this reason.
    Refused(&'static str),
}

// === impl Policy ===

impl Policy {
    /// Judges a kind.
    pub(super) fn judge(&self, group: &str, kind: &str) -> Verdict {
        let matches = |patterns: &[KindPattern]| patterns.iter().any(|it| it.matches(group, kind));
        if let Some(reason) = never(group, kind) {
            return Verdict::Refused(reason);
        }
        if matches(&self.denied) {
            return Verdict::Refused("whoever runs the operator has denied it");
        }
        match &*self.allowed {
            [] => Verdict::IfCustom,
            allowed if matches(allowed) => Verdict::Allowed,
            _ => Verdict::Refused("it is none of the kinds that whoever runs the operator allows"),
        }
    }
}

fn never(group: &str, kind: &str) -> Option<&'static str> {
    let find = |table: &[(&str, &'static str)], wanted: &str| {
        table.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, reason)| *reason)
    };
    if group.is_empty() { find(&NEVER_CORE, kind) } else { find(&NEVER_GROUPS, group) }
}

// === impl KindPattern ===

impl KindPattern {
    fn matches(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind.as_deref().is_none_or(|wanted| wanted == kind)
    }
}

impl fmt::Display for KindPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_deref().unwrap_or("*");
        if self.group.is_empty() { f.write_str(kind) } else { write!(f, "{kind}.{}", self.group) }
    }
}

impl FromStr for KindPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, group) = text.split_once('.').unwrap_or((text, ""));
        let named = |name: &str, inner: &[u8]| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || inner.contains(&byte);
            (1..=MAX_OBJECT_NAME).contains(&name.len()) && name.bytes().all(known)
        };
        let group_fits = if group.is_empty() { text == kind } else { named(group, b"-.") };
        match kind {
            "*" if group_fits && !group.is_empty() => {
                Ok(Self { kind: None, group: group.to_owned() })
            }
            kind if named(kind, b"") && group_fits => {
                Ok(Self { kind: Some(kind.to_owned()), group: group.to_owned() })
            }
            _ => Err("the form is `KIND.GROUP`, `*.GROUP`, or `KIND` for the core group"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &[&str], denied: &[&str]) -> Policy {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Policy { allowed: parse(allowed), denied: parse(denied) }
    }

    #[test]
    fn what_gives_rights_or_runs_programs_is_never_applied() {
        let everything = [
            "*.rbac.authorization.k8s.io",
            "ClusterRoleBinding.rbac.authorization.k8s.io",
            "ValidatingWebhookConfiguration.admissionregistration.k8s.io",
            "CustomResourceDefinition.apiextensions.k8s.io",
            "APIService.apiregistration.k8s.io",
            "CertificateSigningRequest.certificates.k8s.io",
            "TokenReview.authentication.k8s.io",
            "SubjectAccessReview.authorization.k8s.io",
            "Deployment.apps",
            "CronJob.batch",
            "ImagePush.imagepush.dev",
            "Secret",
            "Pod",
            "PodTemplate",
            "ReplicationController",
            "ServiceAccount",
            "Namespace",
            "Binding",
        ];
        let lenient = policy(&everything, &[]);
        for text in everything {
            let (kind, group) = text.split_once('.').unwrap_or((text, ""));
            for policy in [&lenient, &Policy::default()] {
                let verdict = policy.judge(group, kind);
                assert!(matches!(verdict, Verdict::Refused(_)), "{text}: {verdict:?}");
            }
        }
        // However it is written: the API server takes one form only, but nobody has to rely on that here.
        assert!(matches!(lenient.judge("RBAC.authorization.k8s.io", "Role"), Verdict::Refused(_)));
    }

    #[test]
    fn the_configuration_allows_and_denies_the_rest() {
        let not_listed =
            Verdict::Refused("it is none of the kinds that whoever runs the operator allows");
        let denied = Verdict::Refused("whoever runs the operator has denied it");
        for (policy, group, kind, expected) in [
            (policy(&[], &[]), "example.com", "Thing", Verdict::IfCustom),
            (policy(&[], &[]), "", "ConfigMap", Verdict::IfCustom),
            (policy(&["Thing.example.com"], &[]), "example.com", "Thing", Verdict::Allowed),
            (policy(&["Thing.example.com"], &[]), "example.com", "Other", not_listed),
            (policy(&["Thing.example.com"], &[]), "example.org", "Thing", not_listed),
            (policy(&["*.example.com"], &[]), "example.com", "Other", Verdict::Allowed),
            (policy(&["*.example.com"], &[]), "a.example.com", "Other", not_listed),
            (policy(&["ConfigMap"], &[]), "", "ConfigMap", Verdict::Allowed),
            (policy(&["*.example.com"], &["Other.example.com"]), "example.com", "Other", denied),
            (policy(&[], &["*.example.com"]), "example.com", "Thing", denied),
        ] {
            assert_eq!(policy.judge(group, kind), expected, "{policy:?} {group} {kind}");
        }
    }

    #[test]
    fn patterns_are_read_and_printed() {
        for text in [
            "Thing.example.com",
            "*.example.com",
            "ConfigMap",
            "HTTPRoute.gateway.networking.k8s.io",
        ] {
            assert_eq!(text.parse::<KindPattern>().unwrap().to_string(), text);
        }
        for text in
            ["", "*", "*.", "Thing.", ".example.com", "Thing.example.com/v1", "a b.c", "*x.c"]
        {
            assert!(text.parse::<KindPattern>().is_err(), "{text}");
        }
    }
}
