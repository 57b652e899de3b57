//! Rules, pure: which pictures to look at, and which detections raise an alert. All times are media time.

use media::UnixMillis;
use store::records::{Box01, Detection, Rate, Rule};

/// Decides which pictures of a stream are looked at, for all of its rules together.
#[derive(Debug, Default)]
pub struct Sampler {
    /// When the next picture is due, where a rule wants some a second.
    next: Option<UnixMillis>,
}

impl Sampler {
    /// Whether to look at a picture. A rule that wants n a second gets them on a grid, with a quarter of an interval of
    /// tolerance, so that a camera of n pictures a second with a little jitter is not halved.
    pub fn wants(&mut self, rules: &[Rule], time: UnixMillis, key: bool) -> bool {
        let for_key = key && rules.iter().any(|r| r.rate == Rate::KeyFrames);
        let Some(interval) = interval_ms(rules) else { return for_key };
        let next = self.next.unwrap_or(time);
        // A producer clock that was set back must not silence the stream until it has caught up.
        let jumped = next.0.saturating_sub(time.0) > 2 * interval;
        if time.0.saturating_add(interval / 4) < next.0 && !jumped {
            return for_key;
        }
        let on_grid = next.plus(interval);
        self.next = Some(if jumped || on_grid <= time { time.plus(interval) } else { on_grid });
        true
    }
}

/// Whether every frame must be decoded: some rule wants more than key frames.
pub fn needs_all_frames(rules: &[Rule]) -> bool {
    interval_ms(rules).is_some()
}

/// The shortest interval that a rule of n pictures a second asks for.
fn interval_ms(rules: &[Rule]) -> Option<i64> {
    let per_second = |rule: &Rule| match rule.rate {
        Rate::PerSecond(n) if n.is_finite() && n > 0.0 => Some(n),
        _ => None,
    };
    let most =
        rules.iter().filter_map(per_second).fold(None, |most: Option<f32>, n| Some(most.map_or(n, |m| m.max(n))))?;
    Some(((1000.0 / f64::from(most)).round() as i64).clamp(1, 3_600_000))
}

/// The least score worth asking the detector for: what the rules need, and what the page shows at least.
pub fn min_score(rules: &[Rule]) -> f32 {
    const SHOWN: f32 = 0.25;
    rules.iter().map(|r| r.min_score).filter(|s| s.is_finite()).fold(SHOWN, f32::min).max(0.05)
}

/// A rule with its memory.
#[derive(Clone, Debug)]
pub struct Judge {
    rule: Rule,
    last_alert: Option<UnixMillis>,
}

impl Judge {
    /// A rule that last raised an alert for a picture of `last_alert`.
    pub fn new(rule: Rule, last_alert: Option<UnixMillis>) -> Judge {
        Judge { rule, last_alert }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// When it last raised an alert.
    pub fn last_alert(&self) -> Option<UnixMillis> {
        self.last_alert
    }

    /// Judges the detections of one picture. Returns the strongest that matches, if the cooldown is over; the cooldown
    /// then starts again.
    pub fn judge<'d>(&mut self, time: UnixMillis, detections: &'d [Detection]) -> Option<&'d Detection> {
        // A clock set back by more than the cooldown ends it as well.
        let cooling = self.last_alert.is_some_and(|last| time.0.abs_diff(last.0) < self.rule.cooldown_ms);
        if cooling {
            return None;
        }
        let best = detections.iter().filter(|d| self.matches(d)).max_by(|a, b| a.score.total_cmp(&b.score))?;
        self.last_alert = Some(time);
        Some(best)
    }

    fn matches(&self, detection: &Detection) -> bool {
        let Rule { classes, min_score, zone, .. } = &self.rule;
        (classes.is_empty() || classes.contains(&detection.class))
            && detection.score >= *min_score
            && (zone.is_empty() || inside(zone, foot(&detection.bounds)))
    }
}

/// The bottom-centre point of a box: where a thing stands.
pub fn foot(bounds: &Box01) -> [f32; 2] {
    [(bounds[0] + bounds[2]) / 2.0, bounds[3]]
}

/// Whether a point is inside a polygon (even-odd rule; points on an edge count as inside). Fewer than three corners hold
/// nothing.
pub fn inside(polygon: &[[f32; 2]], [x, y]: [f32; 2]) -> bool {
    let mut inside = false;
    let edges = polygon.iter().zip(polygon.iter().cycle().skip(1));
    for (&[ax, ay], &[bx, by]) in edges.take(if polygon.len() < 3 { 0 } else { polygon.len() }) {
        let cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax);
        let within = x >= ax.min(bx) && x <= ax.max(bx) && y >= ay.min(by) && y <= ay.max(by);
        if within && cross.abs() <= 1e-6 {
            return true;
        }
        if (ay > y) != (by > y) && x < ax + (y - ay) / (by - ay) * (bx - ax) {
            inside = !inside;
        }
    }
    inside
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
