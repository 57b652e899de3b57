//! Which pictures are made of fragments that ask for it, and where they go (REFERENCE §7.4).

use super::{notification::Status, words};
use crate::aws::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The shortest time between two pictures, in ms.
const LEAST_INTERVAL_MS: u32 = 200;
/// The one key that `FormatConfig` may have.
const QUALITY: &str = "JPEGQuality";

/// Whose clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Selector {
    ServerTimestamp,
    ProducerTimestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Format {
    Jpeg,
    Png,
}

/// `ImageGenerationConfiguration` of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ImageGenerationConfiguration {
    pub(crate) status: Status,
    pub(crate) image_selector_type: Selector,
    pub(crate) destination_config: ImageDestination,
    /// Milliseconds between two pictures.
    pub(crate) sampling_interval: u32,
    pub(crate) format: Format,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format_config: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) width_pixels: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) height_pixels: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ImageDestination {
    /// `s3://bucket[/prefix]`.
    pub(crate) uri: String,
    pub(crate) destination_region: String,
}

impl ImageGenerationConfiguration {
    pub(crate) fn is_enabled(&self) -> bool {
        self.status == Status::Enabled
    }

    /// Whether it makes sense.
    ///
    /// # Errors
    /// `InvalidArgumentException`, naming the member and the rule.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |member: &str, rule: &str| {
            Err(Error::constraint(
                &format!("ImageGenerationConfiguration.{member}"),
                format_args!("Member must {rule}"),
            ))
        };
        let ImageDestination { uri, destination_region } = &self.destination_config;
        words::destination("ImageGenerationConfiguration.DestinationConfig.Uri", uri)?;
        if !uri.starts_with("s3://") {
            return wrong("DestinationConfig.Uri", "be s3://bucket[/prefix]");
        }
        if !is_region(destination_region) {
            return wrong(
                "DestinationConfig.DestinationRegion",
                "be a region such as us-west-2, of 9 to 14 characters",
            );
        }
        if self.sampling_interval < LEAST_INTERVAL_MS {
            return wrong("SamplingInterval", "be at least 200 ms");
        }
        if let Some(config) = &self.format_config {
            let quality = |text: &String| text.parse().is_ok_and(|n: u8| (1..=100).contains(&n));
            if config.len() != 1 || !config.get(QUALITY).is_some_and(quality) {
                return wrong("FormatConfig", "be JPEGQuality from 1 to 100 alone");
            }
        }
        if !self.width_pixels.is_none_or(|w| (1..=3840).contains(&w)) {
            return wrong("WidthPixels", "be from 1 to 3840");
        }
        if !self.height_pixels.is_none_or(|h| (1..=2160).contains(&h)) {
            return wrong("HeightPixels", "be from 1 to 2160");
        }
        Ok(())
    }
}

/// `^[a-z]+(-[a-z]+)?-[a-z]+-[0-9]$`, 9–14 characters.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let (Some((last, words)), true) = (parts.split_last(), (9..=14).contains(&text.len())) else { return false };
    (2..=3).contains(&words.len())
        && words.iter().all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
        && last.len() == 1
        && last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::{Value, json};

    fn checked(member: &str, value: Value) -> Result<(), String> {
        let mut body = json!({"Status": "ENABLED", "ImageSelectorType": "PRODUCER_TIMESTAMP", "SamplingInterval": 3000, "Format": "JPEG",
            "DestinationConfig": {"Uri": "s3://bucket/prefix", "DestinationRegion": "us-west-2"}});
        match member.split_once('.') {
            Some((outer, inner)) => body[outer][inner] = value,
            None => body[member] = value,
        }
        serde_json::from_value::<ImageGenerationConfiguration>(body).unwrap().check().map_err(|e| e.message)
    }

    #[test]
    fn members_follow_the_model() {
        for (member, right) in [
            ("SamplingInterval", json!(200)),
            ("Format", json!("PNG")),
            ("FormatConfig", json!({"JPEGQuality": "100"})),
            ("WidthPixels", json!(3840)),
            ("HeightPixels", json!(1)),
            ("DestinationConfig.DestinationRegion", json!("us-gov-east-1")),
            ("DestinationConfig.Uri", json!("s3://b")),
        ] {
            assert_eq!(checked(member, right), Ok(()), "{member}");
        }
        for (member, wrong) in [
            ("SamplingInterval", json!(199)),
            ("FormatConfig", json!({})),
            ("FormatConfig", json!({"JPEGQuality": "0"})),
            ("FormatConfig", json!({"JPEGQuality": "101"})),
            ("FormatConfig", json!({"PNGQuality": "80"})),
            ("FormatConfig", json!({"JPEGQuality": "80", "More": "1"})),
            ("WidthPixels", json!(0)),
            ("WidthPixels", json!(3841)),
            ("HeightPixels", json!(2161)),
            ("DestinationConfig.Uri", json!("https://a/b")),
            ("DestinationConfig.Uri", json!("s3://")),
            ("DestinationConfig.DestinationRegion", json!("us-west")),
            ("DestinationConfig.DestinationRegion", json!("US-WEST-2")),
            ("DestinationConfig.DestinationRegion", json!("us-west-22")),
            ("DestinationConfig.DestinationRegion", json!("mars")),
        ] {
            let message = checked(member, wrong).unwrap_err();
            assert!(message.contains(&format!("'ImageGenerationConfiguration.{member}'")), "{message}");
        }
    }
}
