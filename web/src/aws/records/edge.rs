//! What an edge agent is asked to record and upload to a stream. No agent of this server takes it up: it is kept, validated
//! and shown, for agents that ask.

use super::words;
use crate::aws::Error;
use media::UnixMillis;
use serde::{Deserialize, Serialize};
use store::records::Secret;

/// An edge configuration with its times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edge {
    /// When the stream got its first.
    pub(crate) created_at: UnixMillis,
    pub(crate) updated_at: UnixMillis,
    pub(crate) config: EdgeConfig,
}

/// `EdgeConfig` of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EdgeConfig {
    /// The IoT thing that the agent runs on.
    pub(crate) hub_device_arn: String,
    recorder_config: RecorderConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    uploader_config: Option<UploaderConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_config: Option<DeletionConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecorderConfig {
    media_source_config: MediaSourceConfig,
    /// Without one, the agent always records.
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule_config: Option<ScheduleConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MediaSourceConfig {
    /// The model calls it sensitive.
    media_uri_secret_arn: Secret,
    media_uri_type: MediaUriType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum MediaUriType {
    RtspUri,
    FileUri,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ScheduleConfig {
    /// A cron expression of Quartz: six or seven fields.
    schedule_expression: String,
    duration_in_seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UploaderConfig {
    schedule_config: ScheduleConfig,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeletionConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    edge_retention_in_hours: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_size_config: Option<LocalSizeConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_after_upload: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LocalSizeConfig {
    #[serde(rename = "MaxLocalMediaSizeInMB", skip_serializing_if = "Option::is_none")]
    max_local_media_size_in_mb: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy_on_full_size: Option<Strategy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Strategy {
    DeleteOldestMedia,
    DenyNewMedia,
}

fn range(member: &str, value: Option<u32>, least: u32, most: u32) -> Result<(), Error> {
    match value.is_none_or(|v| (least..=most).contains(&v)) {
        true => Ok(()),
        false => Err(Error::constraint(member, format_args!("Member must be from {least} to {most}"))),
    }
}

/// `arn:<partition>:<service>:<region>:<account>:<rest>`, the rest with its prefix taken away.
fn rest_of_arn<'a>(text: &'a str, service: &str, prefix: &str) -> Option<&'a str> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    match parts[..] {
        ["arn", partition, named, region, account, rest]
            if named == service
                && word(partition)
                && word(region)
                && !account.is_empty()
                && account.bytes().all(|b| b.is_ascii_digit()) =>
        {
            rest.strip_prefix(prefix)
        }
        _ => None,
    }
}

/// The name of a thing or secret: `[a-zA-Z0-9_.-]+`.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Checks the ARN of the IoT thing that an agent runs on.
///
/// # Errors
/// `InvalidArgumentException`, naming the member.
pub(crate) fn check_hub(member: &str, text: &str) -> Result<(), Error> {
    words::length(member, text, 1, 1024)?;
    match rest_of_arn(text, "iot", "thing/").is_some_and(is_name) {
        true => Ok(()),
        false => Err(Error::constraint(member, "Member must be arn:aws:iot:<region>:<account>:thing/<name>")),
    }
}

impl ScheduleConfig {
    fn check(&self, member: &str) -> Result<(), Error> {
        let expression = format!("{member}.ScheduleExpression");
        words::length(&expression, &self.schedule_expression, 11, 100)?;
        let in_a_field = |c: char| c.is_ascii_alphanumeric() || "*?/,-#".contains(c);
        let fields: Vec<&str> = self.schedule_expression.split(' ').filter(|f| !f.is_empty()).collect();
        if !(6..=7).contains(&fields.len()) || !fields.iter().all(|f| f.chars().all(in_a_field)) {
            let rule = "Member must be a cron expression of Quartz, with six or seven fields";
            return Err(Error::constraint(&expression, rule));
        }
        range(&format!("{member}.DurationInSeconds"), Some(self.duration_in_seconds), 60, 3600)
    }
}

impl EdgeConfig {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// `InvalidArgumentException`, naming the member and the rule.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_hub("EdgeConfig.HubDeviceArn", &self.hub_device_arn)?;
        let RecorderConfig { media_source_config, schedule_config } = &self.recorder_config;
        let (member, secret) = (
            "EdgeConfig.RecorderConfig.MediaSourceConfig.MediaUriSecretArn",
            &media_source_config.media_uri_secret_arn.0,
        );
        words::length(member, secret, 20, 2048)?;
        if !rest_of_arn(secret, "secretsmanager", "secret:").is_some_and(is_name) {
            let rule = "Member must be arn:aws:secretsmanager:<region>:<account>:secret:<name>";
            return Err(Error::constraint(member, rule));
        }
        if let Some(schedule) = schedule_config {
            schedule.check("EdgeConfig.RecorderConfig.ScheduleConfig")?;
        }
        if let Some(uploader) = &self.uploader_config {
            uploader.schedule_config.check("EdgeConfig.UploaderConfig.ScheduleConfig")?;
        }
        let Some(deletion) = &self.deletion_config else { return Ok(()) };
        range("EdgeConfig.DeletionConfig.EdgeRetentionInHours", deletion.edge_retention_in_hours, 1, 720)?;
        let size = deletion.local_size_config.as_ref().and_then(|size| size.max_local_media_size_in_mb);
        range("EdgeConfig.DeletionConfig.LocalSizeConfig.MaxLocalMediaSizeInMB", size, 64, 2_000_000)
    }
}
