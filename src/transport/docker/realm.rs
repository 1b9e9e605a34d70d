//! Whether a registry may send us to a token server.
//!
//! A realm is text from the registry; following it sends it the credentials of that registry. So it must be the registry's
//! own host or one of the same owner, as far as names show that, and never less protected than the registry.

use url::{Host, Url};

/// Names below which anybody can have one, beside the countries' own: those of clouds and of services that give names away.
const SHARED: [&str; 24] = [
    "amazonaws.com",
    "appspot.com",
    "azurewebsites.net",
    "cloudapp.azure.com",
    "cloudapp.net",
    "duckdns.org",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "netlify.app",
    "ngrok-free.app",
    "ngrok.app",
    "ngrok.io",
    "nip.io",
    "onrender.com",
    "pages.dev",
    "run.app",
    "sslip.io",
    // A namespace of a cluster.
    "svc.cluster.local",
    "trycloudflare.com",
    "vercel.app",
    "web.app",
    "workers.dev",
];

/// Second labels below which a country's names are registered, such as `co` of `co.uk`.
const SECOND_LEVEL: [&str; 7] = ["ac", "co", "com", "edu", "gov", "net", "org"];

/// Decides about a realm that the registry at `registry` names; the error says what is wrong with it.
///
/// `trusted` says what whoever runs the program has said of a token server.
pub(super) fn check(
    registry: &Url,
    realm: &str,
    trusted: impl Fn(&Url) -> bool,
) -> Result<Url, String> {
    let url = Url::parse(realm).map_err(|error| format!("it is not a URL: {error}"))?;
    match (registry.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        (_, "http") => return Err("it is not protected by TLS".into()),
        (_, scheme) => return Err(format!("its scheme is `{scheme}`")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name".into());
    }
    match (registry.host(), url.host()) {
        (Some(own), Some(other)) if own == other || same_owner(&own, &other) => Ok(url),
        _ if trusted(&url) => Ok(url),
        (_, Some(other)) => Err(format!("its host `{other}` is not the registry's")),
        (_, None) => Err("it names no host".into()),
    }
}

fn same_owner(own: &Host<&str>, other: &Host<&str>) -> bool {
    match (own, other) {
        (Host::Domain(own), Host::Domain(other)) => {
            registered(own).is_some_and(|name| Some(name) == registered(other))
        }
        // An address belongs to nobody that a name could show.
        _ => false,
    }
}

/// The part of a name that somebody registered, as far as that shows without a list of suffixes.
fn registered(domain: &str) -> Option<&str> {
    if SHARED.contains(&domain) {
        return None;
    }
    let shared = SHARED.iter().find_map(|shared| domain.strip_suffix(shared)?.strip_suffix('.'));
    if let Some(below) = shared {
        return domain.get(below.rfind('.').map_or(0, |at| at + 1)..);
    }
    let mut dots = domain.rmatch_indices('.').map(|(at, _)| at);
    let last = dots.next()?;
    let second = dots.next();
    let top = domain.get(last + 1..)?;
    let label = domain.get(second.map_or(0, |at| at + 1)..last)?;
    if top.is_empty() {
        return None;
    }
    let below_country = top.len() == 2 && SECOND_LEVEL.contains(&label);
    let cut = if below_country {
        second?;
        dots.next()
    } else {
        second
    };
    domain.get(cut.map_or(0, |at| at + 1)..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_of_the_same_owner_are_followed() {
        for (registry, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token"),
            ("https://ghcr.io", "https://ghcr.io/token"),
            ("https://quay.io", "https://quay.io:443/v2/auth"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
            ("https://registry.example.co.uk", "https://auth.example.co.uk/"),
            ("https://10.0.0.1:5000", "https://10.0.0.1:5001/token"),
            ("https://127.0.0.1:5000", "https://0x7f.1/token"),
            ("https://registry:5000", "https://registry/token"),
            ("http://localhost:5000", "http://localhost:5001/token"),
            ("http://r.example.com", "https://auth.example.com/token"),
            ("https://core.harbor.svc.cluster.local", "https://token.harbor.svc.cluster.local/t"),
            ("https://r.me.github.io", "https://auth.me.github.io"),
            ("https://r.evilrun.app", "https://auth.evilrun.app"),
            ("https://[fd00::1]:5000", "https://[fd00::1]/token"),
        ] {
            let found = check(&Url::parse(registry).unwrap(), realm, |_| false);
            assert!(found.is_ok(), "{registry} {realm}: {found:?}");
        }
    }

    #[test]
    fn other_realms_are_not() {
        let foreign = |host: &str| format!("its host `{host}` is not the registry's");
        for (realm, reason) in [
            ("", "it is not a URL: relative URL without a base".to_owned()),
            ("/token", "it is not a URL: relative URL without a base".to_owned()),
            ("http://r.example.com/token", "it is not protected by TLS".to_owned()),
            ("ftp://r.example.com/", "its scheme is `ftp`".to_owned()),
            ("file:///etc/passwd", "its scheme is `file`".to_owned()),
            ("javascript:x", "its scheme is `javascript`".to_owned()),
            ("https://user@r.example.com/", "it holds a user name".to_owned()),
            ("https://:p@r.example.com/", "it holds a user name".to_owned()),
            ("https://evil.com/", foreign("evil.com")),
            ("https://example.com.evil.com/", foreign("example.com.evil.com")),
            ("https://evilexample.com/", foreign("evilexample.com")),
            ("https://r.example.com@evil.com/", "it holds a user name".to_owned()),
            ("https://r.example.com.evil.net/", foreign("r.example.com.evil.net")),
            ("https://r.example.com./", foreign("r.example.com.")),
            ("https://example.com./", foreign("example.com.")),
            ("https://com/", foreign("com")),
            ("https://r.ex\u{430}mple.com/", foreign("r.xn--exmple-4nf.com")),
            ("https://169.254.169.254/latest", foreign("169.254.169.254")),
            ("https://127.0.0.1/", foreign("127.0.0.1")),
            ("https://0x7f.1/", foreign("127.0.0.1")),
            ("https://2130706433/", foreign("127.0.0.1")),
            ("https://10.0.0.1/", foreign("10.0.0.1")),
            ("https://0/", foreign("0.0.0.0")),
            ("https://8.8.8.8/", foreign("8.8.8.8")),
            ("https://[::1]/", foreign("[::1]")),
            ("https://[::ffff:7f00:1]/", foreign("[::ffff:7f00:1]")),
            ("https://[fd00:ec2::254]/", foreign("[fd00:ec2::254]")),
            ("https://[fe80::1]/", foreign("[fe80::1]")),
            ("https://localhost/", foreign("localhost")),
            ("https://kubernetes.default.svc/", foreign("kubernetes.default.svc")),
        ] {
            let found = check(&Url::parse("https://r.example.com").unwrap(), realm, |_| false);
            assert_eq!(found.map(String::from), Err(reason), "{realm}");
        }
    }

    #[test]
    fn a_trusted_realm_is_followed_where_it_is_protected() {
        let registry = Url::parse("https://r.example.com").unwrap();
        let follow = |realm: &str| {
            check(&registry, realm, |url| url.host_str() == Some("login.test")).map(String::from)
        };
        assert_eq!(follow("https://login.test/x"), Ok("https://login.test/x".to_owned()));
        assert_eq!(follow("http://login.test/x"), Err("it is not protected by TLS".to_owned()));
        assert_eq!(follow("https://u@login.test/x"), Err("it holds a user name".to_owned()));
        assert_eq!(
            follow("https://evil.test/"),
            Err("its host `evil.test` is not the registry's".to_owned())
        );
    }

    #[test]
    fn neighbours_under_a_shared_suffix_are_strangers() {
        for (registry, realm) in [
            ("https://a.co.uk", "https://b.co.uk"),
            ("https://co.uk", "https://a.co.uk"),
            ("https://localhost", "https://evil.localhost"),
            ("https://me.github.io", "https://evil.github.io"),
            ("https://github.io", "https://evil.github.io"),
            ("https://a.eu-west-1.elb.amazonaws.com", "https://s3.amazonaws.com"),
            ("https://r.one.svc.cluster.local", "https://r.two.svc.cluster.local"),
            ("https://registry", "https://other"),
            ("https://10.0.0.1", "https://10.0.0.2"),
            ("https://127.0.0.1", "https://[::ffff:127.0.0.1]"),
        ] {
            let found = check(&Url::parse(registry).unwrap(), realm, |_| false);
            assert!(found.is_err(), "{registry} {realm}");
        }
    }
}
