//! Rules: `GET/POST /v1/rules`, `DELETE /v1/rules/{name}`.

use crate::{
    auth::Caller,
    error::Error,
    extract::{Body, Params},
};
use axum::{Json, http::StatusCode};
use media::StreamName;
use serde::Deserialize;
use serde_json::{Value, json};
use store::records::{Rate, Rule};

const MOST_CLASSES: usize = 100;
const MOST_TARGETS: usize = 20;
const MOST_COOLDOWN_MS: u64 = 7 * 24 * 3_600_000;
const MOST_PER_SECOND: f32 = 30.0;

/// A rule as the API takes it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    name: StreamName,
    stream: StreamName,
    #[serde(default)]
    classes: Vec<String>,
    min_score: f32,
    #[serde(default)]
    zone: Vec<[f32; 2]>,
    cooldown_ms: u64,
    rate: Rate,
    #[serde(default)]
    targets: Vec<StreamName>,
}

fn checked(new: New) -> Result<Rule, Error> {
    let New { name, stream, mut classes, min_score, zone, cooldown_ms, rate, mut targets } = new;
    if !(0.0..=1.0).contains(&min_score) {
        return Err(Error::invalid(format!("min_score: {min_score} is not in 0 to 1")));
    }
    if cooldown_ms > MOST_COOLDOWN_MS {
        return Err(Error::invalid(format!("cooldown_ms: {cooldown_ms} is more than a week ({MOST_COOLDOWN_MS})")));
    }
    if let Rate::PerSecond(rate) = rate
        && !(rate > 0.0 && rate <= MOST_PER_SECOND)
    {
        return Err(Error::invalid(format!("rate.per_second: {rate} is not above 0 and at most {MOST_PER_SECOND}")));
    }
    if classes.len() > MOST_CLASSES || targets.len() > MOST_TARGETS {
        return Err(Error::invalid(format!("classes, targets: at most {MOST_CLASSES} and {MOST_TARGETS}")));
    }
    if let Some(class) = classes.iter().find(|c| c.trim().is_empty() || c.len() > 64) {
        return Err(Error::invalid(format!("classes: a class name has 1 to 64 characters, not {class:?}")));
    }
    zone_is_sound(&zone)?;
    classes.sort();
    classes.dedup();
    targets.sort();
    targets.dedup();
    Ok(Rule { name, stream, classes, min_score, zone, cooldown_ms, rate, targets, from_config: false })
}

/// A zone is the whole picture (empty) or a polygon with area, its corners in the picture.
fn zone_is_sound(zone: &[[f32; 2]]) -> Result<(), Error> {
    if !zone.is_empty() && !(3..=64).contains(&zone.len()) {
        return Err(Error::invalid(format!("zone: a polygon has 3 to 64 corners, this has {}", zone.len())));
    }
    // Not a number is in no range either.
    if let Some((at, corner)) = zone.iter().enumerate().find(|(_, c)| !c.iter().all(|v| (0.0..=1.0).contains(v))) {
        return Err(Error::invalid(format!("zone[{at}]: {corner:?} is outside the picture (0 to 1)")));
    }
    let next = zone.iter().cycle().skip(1);
    let twice_area: f32 = zone.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
    if !zone.is_empty() && twice_area.abs() < 1e-6 {
        return Err(Error::invalid("zone: its corners lie on one line"));
    }
    Ok(())
}

/// All rules by name.
pub(crate) async fn list(caller: Caller) -> Result<Json<Value>, Error> {
    let mut rules = caller.server()?.store.rules().await?;
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(json!({"rules": rules})))
}

/// Adds a rule (201), or replaces the one of its name (200).
pub(crate) async fn put(caller: Caller, Body(new): Body<New>) -> Result<(StatusCode, Json<Rule>), Error> {
    let app = caller.server()?;
    let rule = checked(new)?;
    let _one_at_a_time = caller.shared.edits.acquire().await.expect("the semaphore is never closed");
    if app.store.stream(&rule.stream).is_err() {
        return Err(Error::invalid(format!("stream: there is no stream {}", rule.stream)));
    }
    let targets = app.store.targets().await?;
    if let Some(unknown) = rule.targets.iter().find(|name| !targets.iter().any(|t| t.name == **name)) {
        return Err(Error::invalid(format!("targets: there is no target {unknown}")));
    }
    let old = app.store.rules().await?.into_iter().find(|r| r.name == rule.name);
    if let Some(old) = &old {
        changeable(old)?;
    }
    app.store.put_rule(rule.clone()).await?;
    tracing::info!(rule = %rule.name, stream = %rule.stream, "rule put");
    Ok((if old.is_some() { StatusCode::OK } else { StatusCode::CREATED }, Json(rule)))
}

fn changeable(rule: &Rule) -> Result<(), Error> {
    match rule.from_config {
        true => Err(Error::conflict(
            "from_config",
            format!("rule {} stands in the configuration file: change it there", rule.name),
        )),
        false => Ok(()),
    }
}

/// Removes a rule.
pub(crate) async fn remove(caller: Caller, Params(name): Params<String>) -> Result<StatusCode, Error> {
    let app = caller.server()?;
    let _one_at_a_time = caller.shared.edits.acquire().await.expect("the semaphore is never closed");
    let rules = app.store.rules().await?;
    let rule = rules
        .iter()
        .find(|r| r.name.as_str() == name)
        .ok_or_else(|| Error::not_found("there is no rule of this name"))?;
    changeable(rule)?;
    app.store.delete_rule(&rule.name).await?;
    tracing::info!(rule = %rule.name, "rule removed");
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn given(changes: Value) -> Result<Rule, String> {
        let mut rule = json!({"name": "night", "stream": "gate", "classes": ["person"], "min_score": 0.5,
            "zone": [[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]], "cooldown_ms": 1000, "rate": "key_frames"});
        let given = changes.as_object().unwrap().clone();
        rule.as_object_mut().unwrap().extend(given);
        let new: New = serde_json::from_value(rule).map_err(|e| e.to_string())?;
        checked(new).map_err(|e| e.message)
    }

    #[test]
    fn sound_rules_pass() {
        assert_eq!(given(json!({})).unwrap().classes, ["person"]);
        assert_eq!(given(json!({"zone": []})).unwrap().zone, Vec::<[f32; 2]>::new());
        assert_eq!(given(json!({"rate": {"per_second": 5.0}})).unwrap().rate, Rate::PerSecond(5.0));
    }

    #[test]
    fn refusals_name_the_field() {
        let refused = |changes: Value, field: &str| {
            let message = given(changes).unwrap_err();
            assert!(message.contains(field), "{message}");
        };
        refused(json!({"min_score": 1.5}), "min_score");
        refused(json!({"zone": [[0.0, 0.0], [1.0, 1.0]]}), "zone");
        refused(json!({"zone": [[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]}), "zone");
        refused(json!({"zone": [[0.0, 0.0], [1.0, 0.0], [0.5, 1.01]]}), "zone[2]");
        refused(json!({"zone": vec![[0.1, 0.2]; 65]}), "zone");
        refused(json!({"rate": {"per_second": 0.0}}), "rate");
        refused(json!({"rate": {"per_second": 31.0}}), "rate");
        refused(json!({"cooldown_ms": MOST_COOLDOWN_MS + 1}), "cooldown_ms");
        refused(json!({"classes": [" "]}), "classes");
        refused(json!({"colour": "red"}), "colour");
        refused(json!({"from_config": true}), "from_config");
    }
}
