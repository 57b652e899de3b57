//! Settings of signaling channels.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Least of `max_message_bytes`: an SDP of 10 000 bytes, as the cloud takes it, in Base64 and its envelope.
const LEAST_MESSAGE_BYTES: usize = 16 << 10;
/// Most of it: messages are kept in memory.
const MOST_MESSAGE_BYTES: usize = 1 << 20;

/// Settings of signaling channels: `[signaling]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Most masters and viewers connected at a time, all channels together.
    pub max_sockets: usize,
    /// Most of them by one access key, with the sessions that it asked for.
    pub max_sockets_per_key: usize,
    /// Most viewers of one channel at a time.
    pub max_viewers_per_channel: usize,
    /// Longest message of a client.
    pub max_message_bytes: usize,
    /// How many messages a second one socket may send in the long run; at once, what makes five seconds.
    pub messages_per_s: u32,
    /// Most messages that wait in a channel, for those who are away or read slowly.
    pub kept_messages_per_channel: usize,
    /// Most bytes of these.
    pub kept_bytes_per_channel: usize,
    /// Most bytes of all waiting messages together.
    pub kept_bytes: usize,
    /// A peer that was not heard for so long is sent a ping.
    pub ping_interval_s: u64,
    /// A peer that does not answer a ping for so long is gone.
    pub pong_timeout_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_sockets: 20_000,
            max_sockets_per_key: 12_000,
            max_viewers_per_channel: 100,
            max_message_bytes: 64 << 10,
            messages_per_s: 200,
            kept_messages_per_channel: 1000,
            kept_bytes_per_channel: 4 << 20,
            kept_bytes: 64 << 20,
            ping_interval_s: 25,
            pong_timeout_s: 20,
        }
    }
}

impl Config {
    /// Whether the values make sense.
    ///
    /// # Errors
    /// A line that names the key.
    pub fn check(&self) -> Result<(), String> {
        let none = [
            ("max_sockets", self.max_sockets == 0),
            ("max_sockets_per_key", self.max_sockets_per_key == 0),
            ("max_viewers_per_channel", self.max_viewers_per_channel == 0),
            ("messages_per_s", self.messages_per_s == 0),
            ("kept_messages_per_channel", self.kept_messages_per_channel == 0),
            ("ping_interval_s", self.ping_interval_s == 0),
            ("pong_timeout_s", self.pong_timeout_s == 0),
        ];
        if let Some((key, _)) = none.into_iter().find(|(_, is_none)| *is_none) {
            return Err(format!("signaling.{key} is 0: it must be at least 1"));
        }
        if !(LEAST_MESSAGE_BYTES..=MOST_MESSAGE_BYTES).contains(&self.max_message_bytes) {
            return Err(format!(
                "signaling.max_message_bytes is {}: it must be from {LEAST_MESSAGE_BYTES} to {MOST_MESSAGE_BYTES}",
                self.max_message_bytes
            ));
        }
        // A quarter of a channel's room is one viewer's, which must hold a message of the longest kind.
        let least = 8 * self.max_message_bytes;
        for (key, bytes) in [("kept_bytes_per_channel", self.kept_bytes_per_channel), ("kept_bytes", self.kept_bytes)] {
            if bytes < least {
                return Err(format!(
                    "signaling.{key} is {bytes}: it must be at least {least}, eight times max_message_bytes"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn ping_interval(&self) -> Duration {
        Duration::from_secs(self.ping_interval_s)
    }
    pub(super) fn pong_timeout(&self) -> Duration {
        Duration::from_secs(self.pong_timeout_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        let default = Config::default();
        assert_eq!(default.check(), Ok(()));
        let wrong = [
            Config { max_sockets: 0, ..default.clone() },
            Config { messages_per_s: 0, ..default.clone() },
            Config { ping_interval_s: 0, ..default.clone() },
            Config { max_message_bytes: 1000, ..default.clone() },
            Config { max_message_bytes: 2 << 20, ..default.clone() },
            Config { kept_bytes_per_channel: 100_000, ..default.clone() },
            Config { kept_bytes: 0, ..default },
        ];
        for (config, key) in wrong.iter().zip([
            "max_sockets ",
            "messages_per_s",
            "ping_interval_s",
            "max_message_bytes",
            "max_message_bytes",
            "kept_bytes_per_channel",
            "kept_bytes ",
        ]) {
            let told = config.check().expect_err(key);
            assert!(told.starts_with(&format!("signaling.{key}")), "{told}");
        }
    }
}
