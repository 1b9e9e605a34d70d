//! The flags of `imagepush operator` about hosts that are no registries: what they may have, for all objects.
//!
//! No field of an object says any of this: its author need not be the one whose credentials are in the Secret.

use clap::Args;

use crate::access::{Elsewhere, LayerHost, TokenServer, UploadHost};

/// What hosts may have that registries lead to.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct ElsewhereArgs {
    /// Let the token server HOST have the credentials of REGISTRY, for all objects. Without this, they go to the registry's
    /// own host and domain only. May be given several times; in the variable, with commas between
    #[arg(
        long,
        value_name = "REGISTRY=HOST[:PORT]",
        env = "IMAGEPUSH_TOKEN_SERVER",
        hide_env_values = true,
        value_delimiter = ','
    )]
    token_server: Vec<TokenServer>,

    /// Let REGISTRY have blobs sent to HOST, without credentials, for all objects. Without this, they are sent to the registry
    /// itself only. May be given several times; in the variable, with commas between
    #[arg(
        long,
        value_name = "REGISTRY=HOST[:PORT]",
        env = "IMAGEPUSH_UPLOAD_HOST",
        hide_env_values = true,
        value_delimiter = ','
    )]
    upload_host: Vec<UploadHost>,

    /// The same, and let HOST have the credentials that are for REGISTRY
    #[arg(
        long,
        value_name = "REGISTRY=HOST[:PORT]",
        env = "IMAGEPUSH_UPLOAD_HOST_WITH_CREDENTIALS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    upload_host_with_credentials: Vec<UploadHost>,

    /// Fetch foreign layers that a registry doesn't hold from HOST, if their `urls` lead there and the destination has to hold
    /// them. Without this, no such URL is fetched. May be given several times; in the variable, with commas between
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        env = "IMAGEPUSH_FOREIGN_LAYER_HOST",
        hide_env_values = true,
        value_delimiter = ','
    )]
    foreign_layer_host: Vec<LayerHost>,
}

// === impl ElsewhereArgs ===

impl ElsewhereArgs {
    /// These flags, for a program that is to keep to the same.
    pub(super) fn arguments(&self) -> impl Iterator<Item = String> {
        let Self { token_server, upload_host, upload_host_with_credentials, foreign_layer_host } =
            self;
        let servers = token_server.iter().map(|it| format!("--token-server={it}"));
        let bare = upload_host.iter().map(|it| format!("--upload-host={it}"));
        let shown = upload_host_with_credentials
            .iter()
            .map(|it| format!("--upload-host-with-credentials={it}"));
        let layers = foreign_layer_host.iter().map(|it| format!("--foreign-layer-host={it}"));
        servers.chain(bare).chain(shown).chain(layers)
    }

    /// What they allow.
    pub(super) fn settings(self) -> Elsewhere {
        let Self { token_server, upload_host, upload_host_with_credentials, foreign_layer_host } =
            self;
        Elsewhere {
            token_servers: token_server,
            upload_hosts: upload_host,
            upload_hosts_with_credentials: upload_host_with_credentials,
            layer_hosts: foreign_layer_host,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        elsewhere: ElsewhereArgs,
    }

    fn parse(arguments: &str) -> Result<Elsewhere, String> {
        let arguments = ["operator"].into_iter().chain(arguments.split_whitespace());
        let program = Program::try_parse_from(arguments);
        program.map(|program| program.elsewhere.settings()).map_err(|error| error.to_string())
    }

    fn read<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn others_are_trusted_for_the_registries_they_are_named_with() {
        let arguments = "--token-server a.example=b.example,c.example:5000=d.example:444 --token-server \
                         e.example=f.example --upload-host g.example=h.example:80 --upload-host \
                         i.example=j.example --upload-host-with-credentials k.example=l.example \
                         --foreign-layer-host m.example,n.example:444";
        let expected = Elsewhere {
            token_servers: read(&[
                "a.example=b.example",
                "c.example:5000=d.example:444",
                "e.example=f.example",
            ]),
            upload_hosts: read(&["g.example=h.example:80", "i.example=j.example"]),
            upload_hosts_with_credentials: read(&["k.example=l.example"]),
            layer_hosts: read(&["m.example", "n.example:444"]),
        };
        assert_eq!(parse(arguments), Ok(expected));
        assert_eq!(parse(""), Ok(Elsewhere::default()));
        for (arguments, message) in [
            ("--token-server b", "`b` does not name a registry and its token server"),
            ("--upload-host b", "`b` does not name a registry and where its uploads go"),
            ("--foreign-layer-host b/c", "`b/c` does not name a host"),
            (
                "--upload-host-with-credentials b=c/d",
                "`b=c/d` does not name a registry and where its uploads go",
            ),
        ] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_program_that_keeps_to_the_same_gets_the_same_flags() {
        let arguments = "--token-server=a=b:443 --upload-host=c=d:5 --upload-host-with-credentials=e=f \
                         --foreign-layer-host=g:6";
        let line = ["operator"].into_iter().chain(arguments.split_whitespace());
        let program = Program::try_parse_from(line).unwrap();
        let given = program.elsewhere.arguments();
        assert_eq!(given.collect::<Vec<_>>().join(" "), arguments);
    }
}
