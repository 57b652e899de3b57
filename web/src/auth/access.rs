//! Who may do what, decided in one function after the object is resolved. What it lets through comes out of the
//! [`Door`], and nothing else does.

use super::{
    identity::{Around, Denial, Identity, Resource},
    session_token::{Claims, Of},
    token::{Playback, Session},
};
use crate::error::Error;
use media::{StreamName, UnixMillis};
use std::sync::Arc;
use store::Range;

pub(crate) use super::door::{Door, Granted, Kept};

/// Who asks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Principal {
    /// The owner of the root credentials; the session they came by, if they did.
    Root(Option<Session>),
    /// The bearer of a playback token.
    Playback(Playback),
    /// The bearer of an access key of the catalog, or of a session's credentials.
    Identity(Arc<Identity>),
}

impl Principal {
    /// Under which name counts what it has in use: its access key, that of who asked for its session, or the session of a role that
    /// was got without one.
    pub(crate) fn holder(&self) -> String {
        const ROOT: &str = "root";
        match self {
            Principal::Root(_) => ROOT.to_owned(),
            Principal::Playback(playback) => format!("the playback tokens of stream {}", playback.stream),
            Principal::Identity(identity) => match identity.claims.as_deref() {
                None => identity.access_key_id.clone(),
                Some(Claims { issuer: Some(issuer), .. }) => issuer.clone(),
                Some(Claims { of: Of::Root, .. }) => ROOT.to_owned(),
                Some(_) => identity.user_id.clone(),
            },
        }
    }
}

/// What is asked. Each route of the table names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Action {
    access: Access,
    name: &'static str,
}

/// Who can ask for an action at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Access {
    /// Everyone; credentials are not looked at.
    Public,
    /// Also the bearer of a playback token.
    Play,
    /// Whoever the policies allow it.
    Named,
}

impl Action {
    /// Open to all: health, and signing in itself.
    pub(crate) const PUBLIC: Action = Action { access: Access::Public, name: "vidicon:Public" };
    /// What is in no table: files of the page, and unknown paths.
    pub(crate) const PAGE: Action = Action::named("vidicon:UsePage");

    /// An action as policies name it, such as `kinesisvideo:GetMedia` or `vidicon:PutRule`.
    pub(crate) const fn named(name: &'static str) -> Action {
        Action { access: Access::Named, name }
    }
    /// The same, which the bearer of a playback token may do too, within its token.
    pub(crate) const fn play(name: &'static str) -> Action {
        Action { access: Access::Play, name }
    }
    /// Its name in policies.
    pub(crate) const fn name(self) -> &'static str {
        self.name
    }
    /// Whether it is done without looking at credentials.
    pub(crate) fn is_public(self) -> bool {
        self.access == Access::Public
    }
}

/// What it is asked of, resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Object<'a> {
    /// The server as a whole: its catalog, its figures, its events. `*` in policies.
    Server,
    /// A stream by the catalog's id, and as policies see it.
    Stream(u64, &'a Resource),
    /// Anything else that has an ARN, such as a channel; also what is yet to be made.
    Other(&'a Resource),
    /// What is not there, by the ARN that it would have.
    Missing(&'a Resource),
}

/// Proof that [`authorise`] said yes. Made nowhere else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed(());

/// The one decision. What a principal may not describe does not exist for it; foreign streams do not exist for a playback token.
pub(crate) fn authorise(
    principal: &Principal,
    action: Action,
    object: Object<'_>,
    around: &Around,
    now: UnixMillis,
) -> Result<Allowed, Error> {
    admit(principal, action)?;
    match principal {
        Principal::Root(_) => Ok(Allowed(())),
        Principal::Playback(playback) => match (action.access, object) {
            (Access::Public, _) => Ok(Allowed(())),
            (Access::Play, Object::Stream(id, _)) if id == playback.stream => Ok(Allowed(())),
            (Access::Play, Object::Stream(_, resource) | Object::Missing(resource)) => Err(hidden(resource)),
            _ => Err(only_plays()),
        },
        Principal::Identity(identity) => {
            let everything = Resource::new("*");
            let (resource, decided) = match object {
                Object::Server => (&everything, identity.may(action.name, &everything, around, now)),
                Object::Stream(_, resource) | Object::Other(resource) => {
                    (resource, identity.may(action.name, resource, around, now))
                }
                Object::Missing(resource) => (resource, identity.may_miss(action.name, resource, around, now)),
            };
            match decided {
                Ok(()) => Ok(Allowed(())),
                Err(Denial::Told(message)) => Err(Error::forbidden(message)),
                Err(Denial::Hidden) => Err(hidden(resource)),
            }
        }
    }
}

/// What can be said before the object is known, and is said before a body is read: whether such a principal ever may.
pub(super) fn admit(principal: &Principal, action: Action) -> Result<(), Error> {
    match (principal, action.access) {
        (Principal::Playback(_), Access::Named) => Err(only_plays()),
        _ => Ok(()),
    }
}

/// The part of a range that a playback token lets its bearer see.
pub(super) fn within(playback: &Playback, asked: Range) -> Result<Range, Error> {
    match asked.from < playback.range.to && playback.range.from < asked.to {
        true => Ok(Range { from: asked.from.max(playback.range.from), to: asked.to.min(playback.range.to) }),
        false => Err(Error::not_found("the playback token is for another time range")),
    }
}

fn only_plays() -> Error {
    Error::forbidden("a playback token only plays its own stream")
}

/// There is no such stream: the same words whether there is none or it is hidden. The name is the caller's own word.
pub(crate) fn no_stream(name: &StreamName) -> Error {
    Error::not_found(format!("there is no stream {name}"))
}

/// What is hidden, in the words for what is not there.
fn hidden(resource: &Resource) -> Error {
    let path = resource.arn.splitn(6, ':').nth(5).unwrap_or_default();
    let name = path.strip_prefix("stream/").and_then(|path| path.rsplit_once('/')?.0.parse().ok());
    name.map_or_else(|| Error::not_found("there is no stream of this name"), |name| no_stream(&name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::auth::policy::Policy;
    use axum::http::StatusCode;

    const PLAY: Action = Action::play("kinesisvideo:GetHLSStreamingSessionURL");
    const READ: Action = Action::named("kinesisvideo:ListFragments");
    const NOW: UnixMillis = UnixMillis(0);

    fn range(from: i64, to: i64) -> Range {
        Range { from: UnixMillis(from), to: UnixMillis(to) }
    }
    fn stream(name: &str, created_at: i64) -> Resource {
        Resource::new(format!("arn:aws:kinesisvideo:us-east-1:123456789012:stream/{name}/{created_at}"))
    }
    fn decided(principal: &Principal, action: Action, object: Object<'_>) -> Result<(), (StatusCode, String)> {
        let around = Around::default();
        authorise(principal, action, object, &around, NOW).map(|_| ()).map_err(|e| (e.status, e.message))
    }
    fn identity(document: &str) -> Principal {
        Principal::Identity(Arc::new(Identity {
            access_key_id: "AKIATEST".into(),
            arn: "arn:aws:iam::123456789012:user/gate".into(),
            user_id: "AKIATEST".into(),
            policies: vec![Arc::new(Policy::parse(document).unwrap())],
            session_policies: None,
            tags: Default::default(),
            variables: Default::default(),
            session: None,
            expires_at: None,
            claims: None,
        }))
    }

    #[test]
    fn root_may_do_everything() {
        let stream = stream("gate", 1);
        for action in [Action::PUBLIC, Action::PAGE, PLAY, READ] {
            for object in [Object::Server, Object::Stream(1, &stream), Object::Other(&stream), Object::Missing(&stream)]
            {
                assert_eq!(decided(&Principal::Root(None), action, object), Ok(()));
            }
        }
    }

    #[test]
    fn a_playback_token_plays_its_stream_and_range_and_nothing_else() {
        let playback = Playback { stream: 7, range: range(100, 200), expires_at: UnixMillis(1000) };
        let stream = stream("gate", 1);
        let bearer = Principal::Playback(playback);
        let status = |action, object| decided(&bearer, action, object).map_err(|e| e.0);
        assert_eq!(status(PLAY, Object::Stream(7, &stream)), Ok(()));
        assert_eq!(status(PLAY, Object::Stream(8, &stream)), Err(StatusCode::NOT_FOUND));
        assert_eq!(status(PLAY, Object::Missing(&stream)), Err(StatusCode::NOT_FOUND));
        assert_eq!(status(PLAY, Object::Server), Err(StatusCode::FORBIDDEN));
        for action in [Action::PAGE, READ] {
            for object in [Object::Server, Object::Stream(7, &stream), Object::Other(&stream), Object::Missing(&stream)]
            {
                assert_eq!(status(action, object), Err(StatusCode::FORBIDDEN), "{action:?}");
            }
        }
        assert_eq!(within(&playback, range(150, 160)).unwrap(), range(150, 160));
        assert_eq!(within(&playback, range(0, 101)).unwrap(), range(100, 101), "overlaps");
        for foreign in [range(0, 100), range(200, 300)] {
            assert_eq!(within(&playback, foreign).unwrap_err().status, StatusCode::NOT_FOUND);
        }
    }

    #[test]
    fn what_may_not_be_described_does_not_exist() {
        // Anything may be read but what is tagged secret.
        let mut secret = stream("gate", 1);
        secret.tags.insert("secret".into(), "yes".into());
        let hides = identity(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
            {"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/secret":"yes"}}}]}"#,
        );
        assert_eq!(decided(&hides, READ, Object::Missing(&stream("none", 0))), Ok(()), "the handler answers 404");
        assert_eq!(decided(&hides, READ, Object::Stream(1, &stream("gate", 1))), Ok(()));
        let hidden = decided(&hides, READ, Object::Stream(1, &secret)).unwrap_err();
        assert_eq!(hidden, (StatusCode::NOT_FOUND, "there is no stream gate".to_owned()));
        // With describing allowed, it is told.
        let tells = identity(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
            {"Effect":"Deny","NotAction":"kinesisvideo:DescribeStream","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/secret":"yes"}}}]}"#,
        );
        let told = decided(&tells, READ, Object::Stream(1, &secret)).unwrap_err();
        assert_eq!(told.0, StatusCode::FORBIDDEN);
        assert!(told.1.ends_with("stream/gate/1 with an explicit deny in an identity-based policy"), "{}", told.1);
        // Someone with rights to another stream alone hears the same of what is there and what is not.
        let narrow = identity(
            r#"{"Statement":{"Effect":"Allow","Action":"kinesisvideo:*","Resource":"arn:aws:kinesisvideo:*:*:stream/own/*"}}"#,
        );
        let there = decided(&narrow, READ, Object::Stream(1, &secret)).unwrap_err();
        let not_there = decided(&narrow, READ, Object::Missing(&stream("gate", 0))).unwrap_err();
        assert_eq!(there, not_there);
        assert_eq!(there.0, StatusCode::FORBIDDEN);
        assert!(!there.1.contains("gate/"), "no time of creation: {}", there.1);
        assert_eq!(decided(&narrow, READ, Object::Stream(1, &stream("own", 5))), Ok(()));
    }
}
