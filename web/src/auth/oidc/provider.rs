//! A provider as the catalog keeps it.

use media::UnixMillis;
use serde::{Deserialize, Serialize};
use url::Url;

/// The longest address, as IAM has it.
const MOST_URL: usize = 255;
/// The most clients of one provider, as IAM has it.
const MOST_CLIENTS: usize = 100;

/// The body of a document whose name is [`name_of`] its address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Provider {
    /// The issuer's address.
    pub(super) url: String,
    /// Clients whose tokens are taken: `aud`, or `azp` where a token has one.
    pub(super) client_ids: Vec<String>,
    /// Whether it may be at a private or loopback address, and speak plain HTTP.
    #[serde(default)]
    pub(super) allow_local: bool,
    pub(super) created_at: UnixMillis,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
}

/// An issuer's address without its scheme and without a slash at its end; `None` where it is none.
pub(super) fn name_of(issuer: &str) -> Option<String> {
    let rest = issuer.strip_prefix("https://").or_else(|| issuer.strip_prefix("http://"))?;
    let name = rest.strip_suffix('/').unwrap_or(rest);
    (!name.is_empty() && issuer.len() <= MOST_URL).then(|| name.to_owned())
}

impl Provider {
    /// Whether it is the one that calls itself this. Some end their name with a slash and some do not.
    pub(super) fn is_issuer(&self, issuer: &str) -> bool {
        issuer.strip_suffix('/').unwrap_or(issuer) == self.url.strip_suffix('/').unwrap_or(&self.url)
    }

    /// Whether its values make sense.
    ///
    /// # Errors
    /// A line that names the member.
    pub(super) fn check(&self) -> Result<(), String> {
        let Provider { url: text, client_ids, allow_local, description, .. } = self;
        if text.len() > MOST_URL {
            return Err(format!("url: longer than {MOST_URL} characters"));
        }
        let url = Url::parse(text).map_err(|e| format!("url: not a URL: {e}"))?;
        match url.scheme() {
            "https" => {}
            "http" if *allow_local => {}
            "http" => {
                return Err("url: http only with allow_local; anyone on the way could give keys of its own".into());
            }
            other => return Err(format!("url: the scheme must be https, not {other}")),
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err("url: no credentials, query or fragment in it".into());
        }
        // Tokens are compared with it letter by letter.
        if url.as_str().trim_end_matches('/') != text.trim_end_matches('/') || text.ends_with("//") {
            return Err(format!("url: write it as {}", url.as_str().trim_end_matches('/')));
        }
        if !(1..=MOST_CLIENTS).contains(&client_ids.len()) {
            return Err(format!("client_ids: 1 to {MOST_CLIENTS} are needed, not {}", client_ids.len()));
        }
        if let Some(id) = client_ids.iter().find(|id| !(1..=255).contains(&id.len())) {
            let shown: String = id.chars().take(32).collect();
            return Err(format!("client_ids: each has 1 to 255 characters, {shown:?} has not"));
        }
        match description.chars().count() <= 1000 && !description.chars().any(|c| c.is_control() && c != '\n') {
            true => Ok(()),
            false => Err("description: at most 1000 characters, none of them control characters".into()),
        }
    }
}
