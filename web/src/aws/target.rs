//! Which stream a request is about: `StreamName` or `StreamARN`, in bodies and in headers.

use super::{
    Error,
    arn::{self, Arn},
};
use crate::auth::{Caller, access::Granted, identity::Resource};
use media::StreamName;
use serde::{Deserialize, Deserializer, de::Error as _};

/// The members by which a request names a stream; flattened into the inputs of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Target {
    #[serde(deserialize_with = "stream_name")]
    pub(crate) stream_name: Option<String>,
    #[serde(rename = "StreamARN", deserialize_with = "stream_arn")]
    pub(crate) stream_arn: Option<String>,
}

// Flattened members are read without their path, so these say it themselves.
fn stream_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer).map_err(|_| D::Error::custom("StreamName must be a string"))
}
fn stream_arn<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer).map_err(|_| D::Error::custom("StreamARN must be a string"))
}

/// Reads a name of a stream or channel out of a member of a request.
pub(crate) fn name(member: &str, text: &str) -> Result<StreamName, Error> {
    text.parse().map_err(|e: <StreamName as std::str::FromStr>::Err| {
        // Channels have names of the same form.
        let why = e.to_string().replacen("a stream name", "a name", 1);
        Error::constraint(member, format_args!("Member must match [a-zA-Z0-9_.-]{{1,256}}: {why}"))
    })
}

impl Target {
    /// A target out of an ARN alone.
    pub(crate) fn by_arn(arn: &str) -> Self {
        Target { stream_name: None, stream_arn: Some(arn.to_owned()) }
    }

    /// What the members name: the stream's name, and the ARN if one was given.
    pub(crate) fn read(&self) -> Result<(StreamName, Option<Arn>), Error> {
        let named = self.stream_name.as_deref().map(|text| name("StreamName", text)).transpose()?;
        let arn =
            self.stream_arn.as_deref().map(|text| Arn::of(arn::Resource::Stream, "StreamARN", text)).transpose()?;
        match (named, arn) {
            (None, None) => Err(Error::invalid("either StreamName or StreamARN must be given")),
            (Some(name), Some(arn)) if name != arn.name => {
                Err(Error::invalid(format!("StreamName is {name}, but StreamARN names the stream {}", arn.name)))
            }
            (None, Some(arn)) => Ok((arn.name.clone(), Some(arn))),
            (Some(name), arn) => Ok((name, arn)),
        }
    }

    /// The stream, for a caller who may do the route's action on it.
    ///
    /// # Errors
    /// `ResourceNotFoundException` also for the ARN of an earlier stream of the name; `InvalidArgumentException` for
    /// members that name no stream.
    pub(crate) async fn resolve(&self, caller: &Caller) -> Result<Granted, Error> {
        self.resolve_to_tag(caller, &Resource::default()).await
    }

    /// The same for a request that gives the stream tags or takes some from it: policies see those of `request`.
    pub(crate) async fn resolve_to_tag(&self, caller: &Caller, request: &Resource) -> Result<Granted, Error> {
        let (name, arn) = self.read()?;
        let granted = caller.stream_to_tag(name.as_str(), request).await?;
        let aws = &caller.shared.aws;
        if !arn.is_none_or(|arn| aws.account.names(&arn, granted.info().created_at)) {
            return Err(crate::auth::access::no_stream(&name).into());
        }
        aws.called_on(caller.action().name(), granted.id(), caller.now())?;
        Ok(granted)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{super::json::read, *};

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Input {
        #[serde(flatten)]
        target: Target,
        #[serde(rename = "APIName")]
        _api_name: String,
    }

    fn target(json: &str) -> Result<(StreamName, Option<Arn>), Error> {
        read::<Input>(json.as_bytes())?.target.read()
    }

    #[test]
    fn a_stream_by_name_or_by_arn_or_by_both_if_they_agree() {
        let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/gate/1";
        let of = |name: &str| target(&format!(r#"{{"APIName":"a",{name}}}"#));
        assert_eq!(of(r#""StreamName":"gate""#).unwrap(), ("gate".parse().unwrap(), None));
        let (name, read) = of(&format!(r#""StreamARN":"{arn}","StreamName":null"#)).unwrap();
        assert_eq!((name.as_str(), read.unwrap().to_string().as_str()), ("gate", arn));
        assert!(of(&format!(r#""StreamARN":"{arn}","StreamName":"gate""#)).is_ok());
        let message = |body: &str| of(body).unwrap_err().message;
        assert!(message(&format!(r#""StreamARN":"{arn}","StreamName":"door""#)).contains("names the stream gate"));
        assert!(message(r#""Other":1"#).contains("either StreamName or StreamARN"));
        assert!(message(r#""StreamName":5"#).contains("StreamName must be a string"));
        assert!(message(r#""StreamName":"a b""#).contains("'StreamName'"));
        assert!(message(r#""StreamARN":"gate""#).contains("'StreamARN'"));
        assert!(message(r#""StreamARN":"arn:aws:kinesisvideo:x:1:channel/a/1""#).contains("one of a stream is needed"));
        assert!(target(r#"{"StreamName":"gate"}"#).unwrap_err().message.contains("'APIName'"));
    }
}
