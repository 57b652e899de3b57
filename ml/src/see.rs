//! What becomes of a picture that was looked at: detections are stored, rules judge them, alerts are raised.

use crate::{decode::Picture, engine::Seen, rules::Judge, snapshot, watch::Rules};
use media::{StreamName, UnixMillis};
use std::collections::HashMap;
use store::{
    Store,
    records::{Alert, Detection, Rule},
};
use tokio::sync::mpsc;
use uuid::{NoContext, Timestamp, Uuid};

/// Alerts of a stream that are read to learn which cooldowns are still running after a restart.
const REMEMBERED: usize = 200;

/// Judges the pictures of one stream.
pub(crate) struct Eyes {
    store: Store,
    stream: StreamName,
    rules: Rules,
    judges: Vec<Judge>,
    label: String,
}

impl Eyes {
    pub(crate) async fn open(store: Store, stream: StreamName, mut rules: Rules) -> Eyes {
        let mut last: HashMap<StreamName, UnixMillis> = HashMap::new();
        match store.alerts(Some(&stream), None, REMEMBERED).await {
            Ok(newest_first) => newest_first.into_iter().for_each(|alert| {
                last.entry(alert.rule).or_insert(alert.detection.time);
            }),
            Err(error) => tracing::warn!(%error, "earlier alerts cannot be read; cooldowns start anew"),
        }
        let judges =
            rules.borrow_and_update().iter().map(|r| Judge::new(r.clone(), last.get(&r.name).copied())).collect();
        let label = stream.to_string();
        Eyes { store, stream, rules, judges, label }
    }

    /// Judges what comes until all senders are gone.
    pub(crate) async fn run(mut self, mut seen: mpsc::Receiver<Seen>) {
        while let Some(Seen { picture, found }) = seen.recv().await {
            self.follow_rules();
            let shot = picture.shot;
            let lag_ms = self.store.now().0.saturating_sub(shot.time.0);
            metrics::gauge!("vidicon_detect_lag_seconds", "stream" => self.label.clone()).set(lag_ms as f64 / 1000.0);
            let detection = |f: crate::detector::Found| Detection {
                fragment: shot.fragment,
                offset_ms: shot.offset_ms,
                time: shot.time,
                class: f.name.as_ref().to_owned(),
                score: f.score,
                bounds: f.bounds,
            };
            let detections: Vec<Detection> = found.into_iter().map(detection).collect();
            if detections.is_empty() {
                continue;
            }
            for d in &detections {
                metrics::counter!("vidicon_detections_total", "stream" => self.label.clone(), "class" => d.class.clone()).increment(1);
            }
            self.judge(&picture, &detections).await;
            if let Err(error) = self.store.add_detections(&self.stream, detections).await {
                tracing::warn!(%error, "detections of a picture could not be stored");
            }
        }
    }

    /// Takes over changed rules; a rule that stays keeps its cooldown.
    fn follow_rules(&mut self) {
        if !self.rules.has_changed().unwrap_or(false) {
            return;
        }
        let rules = self.rules.borrow_and_update().clone();
        let last = |rule: &Rule| self.judges.iter().find(|j| j.rule().name == rule.name).and_then(Judge::last_alert);
        self.judges = rules.iter().map(|r| Judge::new(r.clone(), last(r))).collect();
    }

    async fn judge(&mut self, picture: &Picture, detections: &[Detection]) {
        let mut jpeg: Option<Vec<u8>> = None;
        for judge in &mut self.judges {
            let before = judge.clone();
            let Some(best) = judge.judge(picture.shot.time, detections) else { continue };
            if jpeg.is_none() {
                jpeg = encode(picture.clone()).await;
            }
            let Some(jpeg) = jpeg.clone() else {
                tracing::error!("the picture of an alert could not be encoded");
                *judge = before;
                return;
            };
            let alert = alert(self.store.now(), judge.rule(), best);
            tracing::info!(rule = %alert.rule, class = %best.class, score = best.score, fragment = %best.fragment, alert = %alert.id, "alert");
            metrics::counter!("vidicon_alerts_total", "stream" => self.label.clone()).increment(1);
            if let Err(error) = self.store.raise_alert(alert, jpeg, &judge.rule().targets).await {
                tracing::error!(%error, "an alert could not be stored; the next picture that matches raises it");
                *judge = before;
            }
        }
    }
}

fn alert(now: UnixMillis, rule: &Rule, detection: &Detection) -> Alert {
    let ms = now.0.max(0) as u64;
    let stamp = Timestamp::from_unix(NoContext, ms / 1000, (ms % 1000) as u32 * 1_000_000);
    Alert {
        id: Uuid::new_v7(stamp).to_string(),
        rule: rule.name.clone(),
        stream: rule.stream.clone(),
        detection: detection.clone(),
        raised_at: now,
    }
}

/// JPEG takes tens of milliseconds: not on a thread that others wait for.
async fn encode(picture: Picture) -> Option<Vec<u8>> {
    tokio::task::spawn_blocking(move || snapshot::jpeg(&picture)).await.ok().flatten()
}
