//! Figures of PutMedia, named after those of the service in Prometheus form.

use media::StreamName;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::time::Duration;

/// The figures of one session. Handles are looked up once: a frame costs an addition.
pub(super) struct Meters {
    stream: String,
    pub(super) bytes: Counter,
    pub(super) fragments: Counter,
    pub(super) frames: Counter,
    pub(super) duplicates: Counter,
    pub(super) unread_acks: Counter,
    ingestion: Histogram,
    buffering: Histogram,
    received: Histogram,
    persisted: Histogram,
    active: Gauge,
}

impl Meters {
    /// Counts a session as begun; it ends with the value.
    pub(super) fn begin(stream: &StreamName) -> Meters {
        let stream = stream.to_string();
        let label = || [("stream", stream.clone())];
        counter!("vidicon_put_media_requests_total", &label()).increment(1);
        let active = gauge!("vidicon_put_media_active_connections", &label());
        active.increment(1);
        Meters {
            bytes: counter!("vidicon_put_media_incoming_bytes_total", &label()),
            fragments: counter!("vidicon_put_media_incoming_fragments_total", &label()),
            frames: counter!("vidicon_put_media_incoming_frames_total", &label()),
            duplicates: counter!("vidicon_put_media_duplicate_fragments_total", &label()),
            unread_acks: counter!("vidicon_put_media_unread_acks_total", &label()),
            ingestion: histogram!("vidicon_put_media_fragment_ingestion_seconds"),
            buffering: histogram!("vidicon_put_media_buffering_ack_seconds"),
            received: histogram!("vidicon_put_media_received_ack_seconds"),
            persisted: histogram!("vidicon_put_media_persisted_ack_seconds"),
            active,
            stream,
        }
    }

    /// BUFFERING was said so long after the fragment's first bytes came.
    pub(super) fn buffering(&self, after: Duration) {
        self.buffering.record(after);
    }
    /// RECEIVED was said so long after the fragment's last bytes came, which was so long after its first.
    pub(super) fn received(&self, after: Duration, ingestion: Duration) {
        self.received.record(after);
        self.ingestion.record(ingestion);
    }
    /// A fragment was durable so long after its last bytes came.
    pub(super) fn persisted(&self, after: Duration) {
        self.persisted.record(after);
    }
    /// An acknowledgement that names an error.
    pub(super) fn error(&self, code: &'static str) {
        counter!("vidicon_put_media_error_acks_total", "stream" => self.stream.clone(), "code" => code).increment(1);
    }
    /// The producer's input was marked: stored, but not as the service would have it.
    pub(super) fn mark(&self, name: &'static str) {
        counter!("vidicon_put_media_marks_total", "stream" => self.stream.clone(), "mark" => name).increment(1);
    }
    /// The session is over: as its producer wanted, or not.
    pub(super) fn end(&self, outcome: &'static str) {
        let name = if outcome == "complete" {
            "vidicon_put_media_success_total"
        } else {
            "vidicon_put_media_connection_errors_total"
        };
        counter!(name, "stream" => self.stream.clone(), "outcome" => outcome).increment(1);
    }
}

impl Drop for Meters {
    fn drop(&mut self) {
        self.active.decrement(1);
    }
}
