//! Settings of the HTTP surface and of its AWS part.

use super::{arn::Account, quotas::Quotas};
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

/// Settings of the HTTP surface: `[http]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Where clients reach this server, such as `https://video.example`: what endpoint calls answer. Without it they answer
    /// the host that the client used.
    pub public_url: Option<String>,
}

/// Settings of the AWS surface: `[aws]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsConfig {
    /// The region in ARNs. Clients may sign for any.
    pub region: String,
    /// The account in ARNs, 12 digits.
    #[serde(deserialize_with = "digits")]
    pub account_id: String,
    /// Whether a listing whose range ends before what the stream keeps begins is refused with InvalidArgumentException, as the
    /// cloud does. Else it is empty, with a warning in a header.
    pub refuse_expired_ranges: bool,
    /// Limits that the cloud has; all are off unless set.
    pub quotas: Quotas,
}

impl Default for AwsConfig {
    fn default() -> Self {
        AwsConfig {
            region: "us-east-1".into(),
            account_id: "123456789012".into(),
            refuse_expired_ranges: false,
            quotas: Quotas::default(),
        }
    }
}

/// An environment variable of digits alone arrives as a number.
fn digits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Text(String),
        Number(u64),
    }
    Ok(match Given::deserialize(deserializer)? {
        Given::Text(text) => text,
        Given::Number(number) => format!("{number:012}"),
    })
}

impl HttpConfig {
    /// Whether the values make sense.
    ///
    /// # Errors
    /// A line that names the key.
    pub fn check(&self) -> Result<(), String> {
        self.base().map(drop)
    }

    /// The host of the public URL: a name, or an address without brackets.
    pub fn public_host(&self) -> Option<String> {
        let host = self.base().ok()??.host()?.to_owned();
        Some(match host {
            url::Host::Domain(name) => name,
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_string(),
        })
    }

    /// The public URL as clients append paths to it: without a slash at the end.
    pub(crate) fn base(&self) -> Result<Option<Url>, String> {
        let Some(text) = &self.public_url else { return Ok(None) };
        let wrong = |why: &str| Err(format!("http.public_url is {text:?}: {why}"));
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(e) => return wrong(&e.to_string()),
        };
        match url.scheme() {
            _ if url.host_str().is_none() => wrong("it names no host"),
            "http" | "https" if url.path() != "/" || url.query().is_some() || url.fragment().is_some() => {
                wrong("it must be scheme, host and port alone: clients append paths of their own")
            }
            "http" | "https" if !url.username().is_empty() || url.password().is_some() => {
                wrong("it must not hold credentials")
            }
            "http" | "https" => Ok(Some(url)),
            _ => wrong("it must begin with https:// or http://"),
        }
    }
}

impl AwsConfig {
    /// Whether the values make sense.
    ///
    /// # Errors
    /// A line that names the key.
    pub fn check(&self) -> Result<(), String> {
        let AwsConfig { region, account_id, refuse_expired_ranges: _, quotas: _ } = self;
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&region.len()) || !region.bytes().all(word) {
            return Err(format!("aws.region is {region:?}: it must be lower-case letters, digits and '-', at most 32"));
        }
        if account_id.len() != 12 || !account_id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("aws.account_id is {account_id:?}: it must be 12 digits"));
        }
        Ok(())
    }

    pub(crate) fn account(&self) -> Account {
        Account { region: self.region.clone(), id: self.account_id.clone() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn public_urls_are_scheme_host_and_port() {
        let base = |text: &str| HttpConfig { public_url: Some(text.into()) }.base();
        for right in ["https://video.example", "http://192.0.2.1:8080/", "https://[2001:db8::1]:8443"] {
            assert!(base(right).unwrap().is_some(), "{right}");
        }
        for wrong in ["video.example", "ftp://a", "https://", "https://a/b", "https://a/?b", "https://u:p@a", "wss://a"]
        {
            assert!(base(wrong).unwrap_err().starts_with("http.public_url"), "{wrong}");
        }
        assert_eq!(HttpConfig::default().base(), Ok(None));
    }

    #[test]
    fn accounts_are_twelve_digits() {
        assert_eq!(AwsConfig::default().check(), Ok(()));
        let of = |json: &str| serde_json::from_str::<AwsConfig>(json).unwrap();
        assert_eq!(of(r#"{"account_id": 123}"#).account_id, "000000000123", "as a variable gives it");
        assert_eq!(of(r#"{"account_id": "123456789012"}"#).check(), Ok(()));
        assert!(of(r#"{"account_id": "12345678901"}"#).check().unwrap_err().starts_with("aws.account_id"));
        assert!(of(r#"{"region": "US East"}"#).check().unwrap_err().starts_with("aws.region"));
    }
}
