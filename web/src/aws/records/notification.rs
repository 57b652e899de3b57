//! Whom fragments that ask for it are told to (REFERENCE §7.3). What is told, and how it gets there: `docs/notifications.md`.

use super::words;
use crate::aws::Error;
use serde::{Deserialize, Serialize};
use store::notifications::Destination;

/// Whether a configuration is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Status {
    Enabled,
    Disabled,
}

/// `NotificationConfiguration` of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NotificationConfiguration {
    pub(crate) status: Status,
    pub(crate) destination_config: DestinationConfig,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DestinationConfig {
    /// The ARN of an SNS topic, or an http(s) URL.
    pub(crate) uri: String,
}

impl NotificationConfiguration {
    pub(crate) fn is_enabled(&self) -> bool {
        self.status == Status::Enabled
    }

    /// Where notifications go.
    ///
    /// # Errors
    /// `InvalidArgumentException` if the URI is nothing that this server delivers to.
    pub(crate) fn destination(&self) -> Result<Destination, Error> {
        const MEMBER: &str = "NotificationConfiguration.DestinationConfig.Uri";
        words::destination(MEMBER, &self.destination_config.uri)?;
        Destination::of_uri(&self.destination_config.uri)
            .map_err(|e| Error::constraint(MEMBER, format_args!("Member must be an SNS topic or an http(s) URL: {e}")))
    }
}
