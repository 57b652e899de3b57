//! `vidicon check`: every invariant of a data folder, a line each.

use crate::args::CheckOptions;
use crate::running::Failure;

/// Prints one line an invariant and one a problem; fails when there is a problem.
#[allow(clippy::print_stdout)]
pub(crate) fn run(_options: CheckOptions) -> Result<(), Failure> {
    Err(Failure::other("skeleton"))
}
