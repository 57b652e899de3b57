//! Which channel a request is about: `ChannelName` or `ChannelARN`.

use super::record::ChannelRecord;
use crate::{
    App,
    auth::{Caller, access::Kept, identity},
    aws::{
        Error,
        arn::{Arn, Resource},
        target,
    },
    error,
};
use media::{StreamName, UnixMillis};
use serde::Deserialize;
use store::{
    Kind,
    documents::{CHANNEL, Expect},
};

/// How often a change is made anew because others changed the same channel meanwhile.
pub(super) const TRIES: usize = 16;

/// What ends more tries than that.
pub(super) fn crowded() -> Error {
    Error::in_use("the signaling channel is being changed by many at once: try again")
}

/// The members by which a request names a channel.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Target {
    channel_name: Option<String>,
    #[serde(rename = "ChannelARN")]
    channel_arn: Option<String>,
}

/// A channel, for a caller who may do the route's action on it.
pub(crate) struct Found<'a> {
    pub(crate) app: &'a App,
    pub(crate) name: StreamName,
    pub(crate) record: ChannelRecord,
    /// What a change must still find.
    pub(crate) expect: Expect,
}

/// The same words whether there is none or it is hidden. The name is the caller's own word.
pub(crate) fn no_channel(name: &str) -> error::Error {
    error::Error::not_found(format!("there is no signaling channel {name}"))
}

impl Target {
    /// What the members name: the channel's name, and the ARN if one was given.
    pub(super) fn read(&self) -> Result<(StreamName, Option<Arn>), Error> {
        let named = self.channel_name.as_deref().map(|text| target::name("ChannelName", text)).transpose()?;
        let arn = self.channel_arn.as_deref().map(|text| Arn::of(Resource::Channel, "ChannelARN", text)).transpose()?;
        match (named, arn) {
            (None, None) => Err(Error::invalid("either ChannelName or ChannelARN must be given")),
            (Some(name), Some(arn)) if name != arn.name => {
                Err(Error::invalid(format!("ChannelName is {name}, but ChannelARN names the channel {}", arn.name)))
            }
            (None, Some(arn)) => Ok((arn.name.clone(), Some(arn))),
            (Some(name), arn) => Ok((name, arn)),
        }
    }

    /// The channel. See [`find`].
    pub(crate) async fn resolve<'a>(&self, caller: &'a Caller) -> Result<Found<'a>, Error> {
        let (name, arn) = self.read()?;
        find(caller, name, arn, &identity::Resource::default()).await
    }
}

/// The channel of an ARN in a member of a request. See [`find`].
pub(crate) async fn by_arn<'a>(caller: &'a Caller, member: &str, text: &str) -> Result<Found<'a>, Error> {
    let arn = Arn::of(Resource::Channel, member, text)?;
    find(caller, arn.name.clone(), Some(arn), &identity::Resource::default()).await
}

/// A channel by name, the one that the ARN means if there is one, for a caller who may do the route's action on it. `request` has
/// the tags that the request gives or takes.
///
/// # Errors
/// `ResourceNotFoundException` also for the ARN of an earlier channel of the name, and for who may not describe it.
pub(crate) async fn find<'a>(
    caller: &'a Caller,
    name: StreamName,
    arn: Option<Arn>,
    request: &identity::Resource,
) -> Result<Found<'a>, Error> {
    let account = &caller.shared.aws.account;
    let seen = |arn: Arn| identity::Resource { arn: arn.to_string(), ..request.clone() };
    let unmade = seen(account.arn(Resource::Channel, &name, UnixMillis(0)));
    let kept = Kept { collection: CHANNEL, name: name.as_str(), unmade: &unmade, none: no_channel };
    let (app, version, record) = caller
        .kept(kept, |document| {
            let record = ChannelRecord::of(document)?;
            let resource = identity::Resource { tags: record.tags.clone(), ..seen(record.arn(account, &name)) };
            Ok::<_, Error>((record, resource))
        })
        .await?;
    match arn.is_none_or(|arn| account.names(&arn, record.created_at)) {
        true => Ok(Found { app, name, record, expect: Expect::Version(version) }),
        false => Err(no_channel(name.as_str()).into()),
    }
}

/// A channel by its name alone, for the native API.
///
/// # Errors
/// 404 where there is none, or none that the caller may know of; 403.
pub(crate) async fn named<'a>(caller: &'a Caller, name: &str) -> Result<Found<'a>, error::Error> {
    let none = |_| error::Error::not_found("no signaling channel has such a name");
    let name: StreamName = name.parse().map_err(none)?;
    let account = &caller.shared.aws.account;
    let unmade = identity::Resource::new(account.arn(Resource::Channel, &name, UnixMillis(0)).to_string());
    let kept = Kept { collection: CHANNEL, name: name.as_str(), unmade: &unmade, none: no_channel };
    let (app, version, record) = caller
        .kept(kept, |document| {
            let record = ChannelRecord::of(document)
                .map_err(|e| error::Error::from(store::Error::new(Kind::Internal, e.message)))?;
            let arn = record.arn(account, &name).to_string();
            let resource = identity::Resource { tags: record.tags.clone(), ..identity::Resource::new(arn) };
            Ok::<_, error::Error>((record, resource))
        })
        .await?;
    Ok(Found { app, name, record, expect: Expect::Version(version) })
}

/// Changes the channel of an ARN, all or nothing. `edit` sees it as it is, and again if somebody else was faster. `request` has the
/// tags that the request gives or takes.
///
/// # Errors
/// Those of [`find`] and of `edit`.
pub(crate) async fn change(
    caller: &Caller,
    arn: &Arn,
    request: &identity::Resource,
    mut edit: impl FnMut(&StreamName, &mut ChannelRecord) -> Result<(), Error>,
) -> Result<(), Error> {
    for _ in 0..TRIES {
        let Found { app, name, mut record, expect } =
            find(caller, arn.name.clone(), Some(arn.clone()), request).await?;
        edit(&name, &mut record)?;
        match app.store.put_document(CHANNEL, name.as_str(), expect, record.body()?).await {
            Ok(_) => return Ok(()),
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(crowded())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{super::super::json::read, *};

    #[test]
    fn a_channel_by_name_or_by_arn_or_by_both_if_they_agree() {
        let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/door/1";
        let of = |members: &str| read::<Target>(format!("{{{members}}}").as_bytes())?.read();
        assert_eq!(of(r#""ChannelName":"door""#).unwrap(), ("door".parse().unwrap(), None));
        let (name, read) = of(&format!(r#""ChannelARN":"{arn}","ChannelName":null"#)).unwrap();
        assert_eq!((name.as_str(), read.unwrap().to_string().as_str()), ("door", arn));
        assert!(of(&format!(r#""ChannelARN":"{arn}","ChannelName":"door""#)).is_ok());
        let message = |members: &str| of(members).unwrap_err().message;
        assert!(message(&format!(r#""ChannelARN":"{arn}","ChannelName":"gate""#)).contains("names the channel door"));
        assert!(message("").contains("either ChannelName or ChannelARN"));
        assert!(message(r#""ChannelName":5"#).contains("'ChannelName'"));
        assert!(message(r#""ChannelName":"a b""#).contains("'ChannelName'"));
        assert!(message(r#""ChannelARN":"door""#).contains("'ChannelARN'"));
        assert!(
            message(r#""ChannelARN":"arn:aws:kinesisvideo:x:1:stream/a/1""#).contains("one of a channel is needed")
        );
    }
}
