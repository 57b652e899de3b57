//! What a check found, for people, for programs and for tests.

use serde_json::{Value, json};
use std::fmt;

/// Problems that are kept in words; the rest is counted.
const KEPT: usize = 100;

/// The invariants (ARCHITECTURE.md lists them) that data at rest can show.
const TITLES: [(u8, &str); 7] = [
    (1, "each fragment of the catalog is complete in its segment, with its checksum"),
    (2, "fragments of a stream stand in the log in the order of their numbers"),
    (3, "fragment numbers only grow and none was used twice"),
    (5, "the fragment index can be rebuilt from the segments alone"),
    (6, "nothing is left that a start does not mend"),
    (7, "a re-sent fragment is shown once"),
    (8, "each record belongs to the stream that its row names"),
];

/// One invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in ARCHITECTURE.md.
    pub invariant: u8,
    /// What it says.
    pub title: &'static str,
    /// Things that were looked at.
    pub checked: u64,
    /// How many of them break it.
    pub problems: u64,
}

/// What a check found. `Display` prints a line per invariant, then the problems, what was done about them, and the remarks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// A line per invariant.
    pub lines: Vec<Line>,
    /// The first hundred problems: the invariant, and what, where and why.
    pub problems: Vec<(u8, String)>,
    /// How many fragments are in quarantine: damaged, in no listing, and so no problem any more.
    pub quarantined: u64,
    /// The first hundred changes that a repair made, or would make.
    pub actions: Vec<String>,
    /// How many there were.
    pub acted: u64,
    /// What is no problem but good to know.
    pub remarks: Vec<String>,
}

impl Report {
    pub(crate) fn new() -> Report {
        let line = |&(invariant, title)| Line { invariant, title, checked: 0, problems: 0 };
        Report {
            lines: TITLES.iter().map(line).collect(),
            problems: Vec::new(),
            quarantined: 0,
            actions: Vec::new(),
            acted: 0,
            remarks: Vec::new(),
        }
    }
    /// Whether no invariant is broken.
    pub fn is_clean(&self) -> bool {
        self.lines.iter().all(|line| line.problems == 0)
    }
    /// As JSON: `{"clean","invariants":[{"invariant","title","checked","problems"}],"problems":[{"invariant","what"}],"quarantined",
    /// "actions":[…],"acted","remarks":[…]}`.
    pub fn to_json(&self) -> Value {
        let line = |l: &Line| json!({"invariant": l.invariant, "title": l.title, "checked": l.checked, "problems": l.problems});
        let problem = |(invariant, what): &(u8, String)| json!({"invariant": invariant, "what": what});
        json!({
            "clean": self.is_clean(),
            "invariants": self.lines.iter().map(line).collect::<Vec<_>>(),
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
            "quarantined": self.quarantined,
            "actions": self.actions,
            "acted": self.acted,
            "remarks": self.remarks,
        })
    }
    fn line(&mut self, invariant: u8) -> &mut Line {
        self.lines.iter_mut().find(|l| l.invariant == invariant).expect("callers name invariants of the table above")
    }
    pub(crate) fn checked(&mut self, invariant: u8, count: u64) {
        self.line(invariant).checked += count;
    }
    pub(crate) fn problem(&mut self, invariant: u8, what: String) {
        self.line(invariant).problems += 1;
        if self.problems.len() < KEPT {
            self.problems.push((invariant, what));
        }
    }
    pub(crate) fn action(&mut self, what: String) {
        self.acted += 1;
        if self.actions.len() < KEPT {
            self.actions.push(what);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let verdict = if line.problems == 0 { "ok".to_owned() } else { format!("BROKEN ({})", line.problems) };
            writeln!(f, "{}. {}: {} checked, {verdict}", line.invariant, line.title, line.checked)?;
        }
        for (invariant, what) in &self.problems {
            writeln!(f, "problem ({invariant}): {what}")?;
        }
        self.remarks.iter().try_for_each(|remark| writeln!(f, "note: {remark}"))
    }
}
