//! Whom producers want told of their fragments: what a session needs of that, without knowing how streams are configured.

use futures_util::future::BoxFuture;
use media::FragmentNumber;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::notifications::Notify;

/// What is configured of the notifications of a session's stream.
pub trait Topics: Send + Sync {
    /// What is to be told of a fragment with these pairs, and to whom; `None` where the stream's configuration wants nothing told.
    /// Asked for each fragment that carries the tag, so that a change of the configuration is in force at once.
    fn of(&self, payload: BTreeMap<String, String>) -> BoxFuture<'_, Option<Arc<Notify>>>;

    /// Has it told of a fragment that is durable already, sent again by its producer. Told before, it is not told again.
    fn again(&self, fragment: FragmentNumber, notify: Arc<Notify>) -> BoxFuture<'static, Result<(), store::Error>>;
}
