//! `imagepush crd`: the definition of ImagePush objects, to be applied to a cluster.

use super::output::Printer;
use crate::api;
use crate::error::Result;

pub(crate) fn run(printer: &Printer) -> Result<()> {
    printer.data(&api::crd_yaml()?)
}
