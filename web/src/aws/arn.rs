//! Resource names of the AWS surface: `arn:aws:kinesisvideo:<region>:<account>:<stream|channel>/<name>/<created ms>`.
//!
//! The last part is the time of creation, so that the ARN of a deleted stream is not that of a new one of its name. Some
//! clients leave it out (REFERENCE §1.2); then the name alone decides. Region and partition are not compared: producers
//! fall back to a region of their own.

use super::Error;
use media::{StreamName, UnixMillis};
use std::{fmt, str::FromStr};

/// What an ARN names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    Stream,
    Channel,
}

impl Resource {
    /// As it stands in an ARN and in messages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Resource::Stream => "stream",
            Resource::Channel => "channel",
        }
    }
}

/// An ARN, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arn {
    pub(crate) region: String,
    /// 12 digits.
    pub(crate) account: String,
    pub(crate) resource: Resource,
    pub(crate) name: StreamName,
    /// When the thing was made, if the ARN says so.
    pub(crate) created_at: Option<UnixMillis>,
}

impl FromStr for Arn {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or(());
        let (arn, partition, service, region, account, rest) = (next()?, next()?, next()?, next()?, next()?, next()?);
        let word = |s: &str| !s.is_empty() && s.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if arn != "arn" || service != "kinesisvideo" || !word(partition) || !word(region) || !digits(account) {
            return Err(());
        }
        let mut path = rest.split('/');
        let resource = match path.next() {
            Some("stream") => Resource::Stream,
            Some("channel") => Resource::Channel,
            _ => return Err(()),
        };
        let name = path.next().ok_or(())?.parse().map_err(drop)?;
        let created_at = match path.next() {
            None => None,
            Some(ms) if digits(ms) => Some(UnixMillis(ms.parse().map_err(drop)?)),
            Some(_) => return Err(()),
        };
        match path.next() {
            Some(_) => Err(()),
            None => Ok(Arn { region: region.to_owned(), account: account.to_owned(), resource, name, created_at }),
        }
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arn { region, account, resource, name, created_at } = self;
        write!(f, "arn:aws:kinesisvideo:{region}:{account}:{}/{name}", resource.as_str())?;
        match created_at {
            Some(at) => write!(f, "/{}", at.0),
            None => Ok(()),
        }
    }
}

impl Arn {
    /// Reads the ARN of a stream or a channel out of a member of a request.
    pub(crate) fn of(resource: Resource, member: &str, text: &str) -> Result<Arn, Error> {
        let arn = Self::any(member, text)?;
        match arn.resource == resource {
            true => Ok(arn),
            false => Err(Error::invalid(format!(
                "{member}: this is the ARN of a {}, one of a {} is needed",
                arn.resource.as_str(),
                resource.as_str()
            ))),
        }
    }
    /// Reads an ARN out of a member of a request.
    pub(crate) fn any(member: &str, text: &str) -> Result<Arn, Error> {
        if !(1..=1024).contains(&text.len()) {
            return Err(Error::constraint(member, "Member must have 1 to 1024 characters"));
        }
        text.parse().map_err(|()| {
            Error::constraint(
                member,
                "Member must be an ARN of the form arn:aws:kinesisvideo:<region>:<account>:<stream|channel>/<name>/<created>",
            )
        })
    }
}

/// Whose resources these are: what stands in every ARN that this server makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) region: String,
    /// 12 digits.
    pub(crate) id: String,
}

impl Account {
    pub(crate) fn arn(&self, resource: Resource, name: &StreamName, created_at: UnixMillis) -> Arn {
        let (region, account) = (self.region.clone(), self.id.clone());
        Arn { region, account, resource, name: name.clone(), created_at: Some(created_at) }
    }
    /// The ARN of a stream.
    pub(crate) fn stream(&self, info: &store::StreamInfo) -> Arn {
        self.arn(Resource::Stream, &info.name, info.created_at)
    }
    /// Whether an ARN names the thing of this name that was made then.
    pub(crate) fn names(&self, arn: &Arn, created_at: UnixMillis) -> bool {
        arn.account == self.id && arn.created_at.is_none_or(|at| at == created_at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const STREAM: &str = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/gate-1_a.b/1795404896353";

    #[test]
    fn arns_are_taken_apart_and_put_together() {
        let arn: Arn = STREAM.parse().unwrap();
        assert_eq!(arn.to_string(), STREAM);
        assert_eq!((arn.resource, arn.created_at), (Resource::Stream, Some(UnixMillis(1_795_404_896_353))));
        let channel: Arn = "arn:aws-cn:kinesisvideo:cn-north-1:1:channel/door".parse().unwrap();
        assert_eq!((channel.resource, channel.created_at), (Resource::Channel, None));
    }

    #[test]
    fn what_is_no_arn_is_refused() {
        let wrong = [
            "",
            "gate",
            "arn:aws:kinesisvideo:us-west-2:123456789012",
            "arn:aws:kinesis:us-west-2:123456789012:stream/gate/1",
            "arn:AWS:kinesisvideo:us-west-2:123456789012:stream/gate/1",
            "arn:aws:kinesisvideo::123456789012:stream/gate/1",
            "arn:aws:kinesisvideo:us-west-2:me:stream/gate/1",
            "arn:aws:kinesisvideo:us-west-2:123456789012:topic/gate/1",
            "arn:aws:kinesisvideo:us-west-2:123456789012:stream/gate/",
            "arn:aws:kinesisvideo:us-west-2:123456789012:stream/gate/1/2",
            "arn:aws:kinesisvideo:us-west-2:123456789012:stream/gate/99999999999999999999",
            "arn:aws:kinesisvideo:us-west-2:123456789012:stream/ga te/1",
            "arn:aws:kinesisvideo:us-west-2:123456789012:stream//1",
        ];
        for text in wrong {
            assert!(text.parse::<Arn>().is_err(), "{text}");
            assert!(Arn::any("ResourceARN", text).unwrap_err().message.contains("ResourceARN"));
        }
        let error = Arn::of(Resource::Channel, "ChannelARN", STREAM).unwrap_err();
        assert_eq!(error.message, "ChannelARN: this is the ARN of a stream, one of a channel is needed");
    }

    #[test]
    fn an_arn_names_the_stream_that_was_made_then() {
        let account = Account { region: "eu-central-1".into(), id: "123456789012".into() };
        let made = UnixMillis(1_795_404_896_353);
        assert!(account.names(&STREAM.parse().unwrap(), made), "of another region");
        assert!(!account.names(&STREAM.parse().unwrap(), made.plus(1)), "of an earlier stream");
        let without = STREAM.rsplit_once('/').unwrap().0;
        assert!(account.names(&without.parse().unwrap(), made.plus(1)));
        let foreign = STREAM.replace("123456789012", "210987654321");
        assert!(!account.names(&foreign.parse().unwrap(), made));
    }
}
