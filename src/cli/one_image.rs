//! The image of a subcommand that reads one: its name, what may be used to reach it, and the signals that end it.

use tokio_util::sync::CancellationToken;

use super::output::Printer;
use super::registry_access::{self, RegistryArgs};
use super::signals;
use super::source_name::SourceName;
use super::terminal::Terminal;
use crate::error::Result;
use crate::options::{Endpoint, Retry};

/// Finds out which image a name stands for, and asks for what is missing of credentials. Signals cancel what is returned
/// beside it.
pub(super) async fn endpoint(
    name: &str,
    registry: RegistryArgs,
    printer: &Printer,
) -> Result<(Endpoint, CancellationToken)> {
    let SourceName { reference, alternatives } = SourceName::parse(name)?;
    registry_access::of_one_registry(&registry, alternatives.as_ref())?;
    registry_access::warn(&registry, None, printer);
    let conf = registry_access::conf(&[&reference])?;
    // A password may be asked for, and the terminal then has to be restored.
    let cancel = signals::cancel_on_signal(printer)?;
    let person = &mut Terminal::until(&cancel);
    let access = registry_access::of_image(registry, &reference, &conf, person)?;
    let mut endpoint = Endpoint { reference, access };
    if let Some(alternatives) = alternatives {
        endpoint = alternatives.choose(endpoint, Retry::default(), &cancel, printer).await?;
    }
    Ok((endpoint, cancel))
}
