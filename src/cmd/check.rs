//! `vidicon check`: every invariant of a data folder, a line each; `--repair` and `--rebuild`.

use crate::args::CheckOptions;
use crate::running::Failure;
use media::UnixMillis;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use store::check::{self, Report};

/// Exit code where it could not look at all.
const COULD_NOT_LOOK: u8 = 3;

/// Prints a line an invariant, then the problems, what was done about them, and remarks; fails when a problem is left.
pub(crate) fn run(options: CheckOptions) -> Result<(), Failure> {
    if options.rebuild {
        rebuild(&options)?;
    }
    let how = looked_at(&options, options.deep);
    let failed = |e: store::Error| match e.kind() {
        store::Kind::Unavailable if !options.online => {
            Failure::with_code(COULD_NOT_LOOK, format!("{e}: beside a server, use --online"))
        }
        _ => Failure::with_code(COULD_NOT_LOOK, e),
    };
    let report = if options.repair {
        let mut said = |line: &str| say(&options, line);
        let found = match options.online {
            true => check::quarantine_online(&options.data, how, options.dry_run, now(), &mut said),
            false => check::repair(&options.data, how, options.dry_run, now(), &mut said),
        };
        let found = found.map_err(failed)?;
        // What is left; the payloads were read just now.
        let after = looked_at(&options, false);
        match options.dry_run {
            true => found,
            false => Report { actions: found.actions, acted: found.acted, ..look(&options, after).map_err(failed)? },
        }
    } else {
        look(&options, how).map_err(failed)?
    };
    show(&options, &report);
    match report.is_clean() {
        true => Ok(()),
        false => Err(Failure::other(format!("{} does not keep its invariants", options.data.display()))),
    }
}

fn looked_at(options: &CheckOptions, payloads: bool) -> check::CheckOptions {
    check::CheckOptions { payloads, bytes_per_s: options.rate.map(|megabytes| megabytes * 1_000_000) }
}

fn look(options: &CheckOptions, how: check::CheckOptions) -> Result<Report, store::Error> {
    match options.online {
        true => check::check_online(&options.data, how),
        false => check::check(&options.data, how),
    }
}

fn now() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
}

#[allow(clippy::print_stdout)]
fn say(options: &CheckOptions, line: &str) {
    if !options.json {
        println!("repair: {line}");
    }
}

#[allow(clippy::print_stdout)]
fn show(options: &CheckOptions, report: &Report) {
    match options.json {
        true => println!("{:#}", report.to_json()),
        false => print!("{report}"),
    }
}

/// Makes the catalog anew; the check that follows says what came of it.
fn rebuild(options: &CheckOptions) -> Result<(), Failure> {
    let done = check::rebuild_in_place(&options.data, options.deep);
    let done = done.map_err(|e| Failure::with_code(COULD_NOT_LOOK, e))?;
    let (rebuilt, aside) = (&done.rebuilt, done.kept_aside.as_ref().map(|file| file.display().to_string()));
    // Beside the report of the check, which is what programs read.
    if options.json {
        let value = json!({"segments": rebuilt.segments, "streams": rebuilt.streams, "fragments": rebuilt.fragments,
            "problems": rebuilt.problems, "kept_aside": aside});
        eprintln!("{value}");
        return Ok(());
    }
    rebuilt.problems.iter().for_each(|problem| eprintln!("rebuild: {problem}"));
    eprintln!(
        "rebuild: {} fragments of {} streams out of {} segments; the old catalog is {}",
        rebuilt.fragments,
        rebuilt.streams,
        rebuilt.segments,
        aside.as_deref().unwrap_or("not there")
    );
    Ok(())
}
