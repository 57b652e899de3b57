//! `vidicon check`: every invariant of a data folder, a line each.

use crate::args::CheckOptions;
use crate::running::Failure;

/// Prints a line an invariant, then the problems and remarks; fails when there is a problem.
#[allow(clippy::print_stdout)]
pub(crate) fn run(options: CheckOptions) -> Result<(), Failure> {
    let looked_at = store::check::CheckOptions { payloads: options.deep };
    let report = store::check::check(&options.data, looked_at).map_err(Failure::other)?;
    print!("{report}");
    if report.is_clean() {
        Ok(())
    } else {
        Err(Failure::other(format!("{} does not keep its invariants", options.data.display())))
    }
}
