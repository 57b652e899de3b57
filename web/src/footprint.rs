//! What media takes of memory, as Prometheus text.
//!
//! Written when it is asked for, and of the streams that hold most alone: with thousands of them the text stays short, and a stream that
//! holds nothing any more leaves no series behind.

use std::fmt::{Display, Write};
use store::BudgetFigures;
use store::footprint::Footprint;

/// Streams that are named.
pub(crate) const STREAMS: usize = 20;

/// Adds the lines. `sending` is what answers hold, and what they may.
pub(crate) fn write(footprint: &Footprint, sending: (u64, u64), text: &mut String) {
    let budget = &footprint.budget;
    let mut gauge = |name: &str, value: u64| family(text, name, [(None::<&str>, value)]);
    gauge("vidicon_budget_bytes", budget.used_bytes);
    gauge("vidicon_budget_limit_bytes", budget.limit_bytes);
    gauge("vidicon_budget_high_bytes", budget.high_bytes);
    gauge("vidicon_budget_committing_bytes", budget.committing_bytes);
    gauge("vidicon_budget_waiting", budget.waiting);
    gauge("vidicon_budget_dropped_gops", budget.dropped_gops);
    gauge("vidicon_stream_budget_limit_bytes", footprint.stream_limit_bytes);
    gauge("vidicon_tail_limit_bytes", footprint.tail_limit_bytes);
    gauge("vidicon_follower_bytes", footprint.ring_bytes);
    gauge("vidicon_follower_limit_bytes", footprint.ring_limit_bytes);
    gauge("vidicon_http_media_bytes", sending.0);
    gauge("vidicon_http_media_limit_bytes", sending.1);
    let mut of_streams = |name: &str, value: fn(&BudgetFigures) -> u64| {
        family(text, name, footprint.streams.iter().map(|(stream, figures)| (Some(stream), value(figures))));
    };
    of_streams("vidicon_stream_budget_bytes", |figures| figures.used_bytes);
    of_streams("vidicon_stream_budget_high_bytes", |figures| figures.high_bytes);
    of_streams("vidicon_stream_budget_waiting", |figures| figures.waiting);
}

fn family<S: Display>(text: &mut String, name: &str, samples: impl IntoIterator<Item = (Option<S>, u64)>) {
    const HOLDS: &str = "a String takes whatever is written";
    writeln!(text, "# TYPE {name} gauge").expect(HOLDS);
    for (stream, value) in samples {
        match stream {
            // Names of streams are letters, digits and few marks: none of them needs escaping.
            Some(stream) => writeln!(text, "{name}{{stream=\"{stream}\"}} {value}").expect(HOLDS),
            None => writeln!(text, "{name} {value}").expect(HOLDS),
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn few_streams_are_named() {
        let figures =
            BudgetFigures { used_bytes: 7, high_bytes: 9, waiting: 2, limit_bytes: 100, ..Default::default() };
        let footprint = Footprint {
            budget: BudgetFigures { dropped_gops: 3, ..figures },
            streams: vec![("gate".parse().unwrap(), figures)],
            stream_limit_bytes: 50,
            tail_bytes: 0,
            tail_limit_bytes: 4,
            ring_bytes: 5,
            ring_limit_bytes: 6,
        };
        let mut text = String::new();
        write(&footprint, (11, 12), &mut text);
        for line in [
            "# TYPE vidicon_budget_bytes gauge\nvidicon_budget_bytes 7\n\n",
            "\nvidicon_budget_limit_bytes 100\n",
            "\nvidicon_budget_dropped_gops 3\n",
            "\nvidicon_stream_budget_limit_bytes 50\n",
            "\nvidicon_stream_budget_bytes{stream=\"gate\"} 7\n",
            "\nvidicon_stream_budget_high_bytes{stream=\"gate\"} 9\n",
            "\nvidicon_stream_budget_waiting{stream=\"gate\"} 2\n",
            "\nvidicon_http_media_bytes 11\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
    }
}
