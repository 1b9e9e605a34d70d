use super::*;

fn place(text: &str) -> Place {
    text.parse().unwrap()
}

/// `ok`, or what is told.
fn judged(policy: &Egress, host: &str, address: &str) -> String {
    let judged =
        policy.judge_name(host).and_then(|()| policy.judge(host, address.parse().unwrap()));
    match judged {
        Ok(()) => "ok".to_owned(),
        Err(error) => {
            assert_eq!((error.kind(), error.exit_code()), (Kind::AccessDenied, 1));
            let told = error.to_string();
            let end = ": the egress policy does not let connections lead there";
            told.strip_suffix(end).unwrap().to_owned()
        }
    }
}

#[test]
fn the_operator_stays_away_from_itself_and_from_metadata() {
    let policy = Egress::operator();
    for address in [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "febf::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        // The same, written in other ways.
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::169.254.169.254",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1:7f00:0:100::",
        "64:ff9b:1:a9:fe:a9fe::",
        "64:ff9b:1::a9:fea9:fe00:0",
        "64:ff9b:1::127.0.0.1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:1:2:3:4:80ff:fffe",
        "fe81::5efe:127.0.0.1",
        "2001:db8::200:5efe:127.0.0.1",
    ] {
        assert_ne!(judged(&policy, "r.example", address), "ok", "{address}");
        assert_eq!(judged(&Egress::default(), "r.example", address), "ok", "{address}");
    }
}

#[test]
fn registries_live_at_private_addresses_too() {
    for address in [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "8.8.8.8",
        "fd00::1",
        "fc00::1",
        "2606:4700::1",
        "::ffff:10.0.0.1",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ] {
        assert_eq!(judged(&Egress::operator(), "r.example", address), "ok", "{address}");
    }
}

#[test]
fn a_denial_says_which_address_of_which_host() {
    let policy =
        Egress::operator().deny(place("10.96.0.0/12")).deny(place("kubernetes.default.svc"));
    for (host, address, told) in [
        (
            "evil.example",
            "127.0.0.1",
            "`evil.example` has the address `127.0.0.1`, which is a loopback address",
        ),
        (
            "evil.example",
            "64:ff9b::a9fe:a9fe",
            "`evil.example` has the address `64:ff9b::a9fe:a9fe` (`169.254.169.254`), which is a link-local address",
        ),
        ("169.254.169.254", "169.254.169.254", "`169.254.169.254` is a link-local address"),
        ("[::1]", "::1", "`::1` is a loopback address"),
        (
            "api.example",
            "10.96.0.1",
            "`api.example` has the address `10.96.0.1`, which is in `10.96.0.0/12`",
        ),
        (
            "Kubernetes.Default.SVC.",
            "8.8.8.8",
            "`Kubernetes.Default.SVC.` is denied as `kubernetes.default.svc`",
        ),
        ("r.example", "10.112.0.1", "ok"),
    ] {
        assert_eq!(judged(&policy, host, address), told);
    }
}

#[test]
fn what_is_allowed_goes_before() {
    let policy = Egress::operator()
        .deny(place("10.0.0.0/8"))
        .allow(place("10.1.0.0/16"))
        .allow(place("127.0.0.1"))
        .allow(place("*.trusted.example"));
    for (host, address, allowed) in [
        ("r.example", "10.1.2.3", true),
        ("r.example", "10.2.2.3", false),
        ("r.example", "127.0.0.1", true),
        ("r.example", "127.0.0.2", false),
        ("r.example", "::ffff:127.0.0.1", true),
        ("r.trusted.example", "169.254.169.254", true),
        ("trusted.example", "169.254.169.254", false),
    ] {
        assert_eq!(judged(&policy, host, address) == "ok", allowed, "{host} {address}");
    }
}

#[test]
fn everything_else_can_be_denied() {
    let names = Egress::operator().only(place("r.example"));
    let both = names.clone().only(place("10.0.0.0/8"));
    for (policy, host, address, told) in [
        (&names, "r.example", "8.8.8.8", "ok"),
        (
            &names,
            "r.example",
            "127.0.0.1",
            "`r.example` has the address `127.0.0.1`, which is a loopback address",
        ),
        (&names, "cdn.example", "8.8.8.8", "`cdn.example` is not among the allowed hosts"),
        (&both, "cdn.example", "10.0.0.1", "ok"),
        (
            &both,
            "cdn.example",
            "8.8.8.8",
            "neither `cdn.example` nor its address `8.8.8.8` is allowed",
        ),
        (&both, "8.8.8.8", "8.8.8.8", "`8.8.8.8` is not among the allowed addresses"),
        (&both, "cdn.example", "::ffff:10.0.0.1", "ok"),
        // A gateway would deliver it there, but what else it would do with it isn't known.
        (
            &both,
            "cdn.example",
            "64:ff9b::10.0.0.1",
            "neither `cdn.example` nor its address `64:ff9b::a00:1` is allowed",
        ),
    ] {
        assert_eq!(judged(policy, host, address), told);
    }
}

/// The chart's policy of the network keeps the pod from the same places, as far as these are beyond the pod itself.
#[test]
fn the_charts_policy_of_the_network_says_the_same() {
    let template = include_str!("../../../../charts/imagepush/templates/network_policy.yaml");
    let lists = template.lines().filter_map(|line| line.trim().strip_prefix("except: ["));
    let written: Vec<Place> = lists
        .flat_map(|list| list.trim_end_matches(']').split(", "))
        .map(|range| range.trim_matches('"').parse().unwrap())
        .collect();
    let beyond = |(_, what): &&(Range, &str)| [LINK_LOCAL, METADATA].contains(what);
    let denied = OPERATOR_DENIES.iter().filter(beyond).map(|(range, _)| Place::Addresses(*range));
    let sorted = |places: Vec<Place>| {
        let mut texts: Vec<_> = places.iter().map(Place::to_string).collect();
        texts.sort();
        texts
    };
    assert_eq!(sorted(written), sorted(denied.collect()));
}
