//! Whose objects these are: `vidicon-store.json` under the prefix, made once and looked at by each start.

use super::bucket::{Objects, of_start};
use crate::Error;
use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The name of the object, under the prefix.
pub(crate) const NAME: &str = "vidicon-store.json";
const FORMAT: &str = "vidicon-segments";
/// Version of the layout under a prefix. In 2 segments that were written anew have names of their own.
const VERSION: u32 = 2;
/// The oldest one that is taken over.
const OLDEST: u32 = 1;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Identity {
    format: String,
    version: u32,
    store: Uuid,
}

/// Whether a PUT that must not overwrite is refused where an object is: found out by making the identity a second time, with the
/// same bytes, which does no harm where the condition is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conditional {
    Kept,
    Ignored,
}

/// Makes the identity under a prefix without one, or compares it. `used`: this store has segments already, so it must be there.
/// Errors of configuration: the prefix belongs to another installation, is of a newer format, or is not the one it was.
pub(crate) async fn claim(store: &dyn ObjectStore, label: &str, id: Uuid, used: bool) -> Result<Conditional, Error> {
    let at = ObjectPath::from(NAME);
    let ours = Identity { format: FORMAT.to_owned(), version: VERSION, store: id };
    let bytes = Bytes::from(serde_json::to_vec(&ours).expect("a name, a number and an id have a JSON form"));
    let found = found(store, label, &at, id).await?;
    if found.is_some_and(|version| version < VERSION) {
        // Nothing there has to change for it, and earlier versions of this program are to keep away.
        store.put(&at, bytes.clone().into()).await.map_err(|e| of_start(label, e))?;
        tracing::info!(storage = label, to = VERSION, "the identity of the store says its new version");
    }
    if found.is_none() {
        if used {
            return Err(Error::of_configuration(format!(
                "{label} has no {NAME}, but this data folder has recordings: they lie elsewhere (is storage.url what it was?)"
            )));
        }
        create(store, label, &at, bytes.clone()).await?;
        // Someone else may have been faster, or the service may have taken two.
        if self::found(store, label, &at, id).await?.is_none() {
            return Err(Error::of_configuration(format!("{label}: {NAME} was written and is not there")));
        }
        tracing::info!(storage = label, store = %id, "the identity of the store is written");
    }
    create(store, label, &at, bytes).await
}

/// Whether a prefix is this store's, for those who only read it.
pub(crate) async fn compare(store: &dyn ObjectStore, label: &str, id: Uuid) -> Result<(), Error> {
    match found(store, label, &ObjectPath::from(NAME), id).await? {
        Some(_) => Ok(()),
        None => Err(Error::of_configuration(format!("{label} has no {NAME}"))),
    }
}

/// Its version; `None` if there is none.
async fn found(store: &dyn ObjectStore, label: &str, at: &ObjectPath, id: Uuid) -> Result<Option<u32>, Error> {
    let found = match store.get(at).await {
        Ok(found) => found.bytes().await.map_err(|e| of_start(label, e))?,
        Err(object_store::Error::NotFound { source, .. }) if !super::bucket::is_bucket_missing(&source.to_string()) => {
            return Ok(None);
        }
        Err(e) => return Err(of_start(label, e)),
    };
    let refused = |why: String| Err(Error::of_configuration(format!("{label}: {why}")));
    let Ok(found) = serde_json::from_slice::<Identity>(&found) else {
        return refused(format!("{NAME} is none of this program's"));
    };
    match found {
        Identity { format, .. } if format != FORMAT => refused(format!("{NAME} is of another program: {format:?}")),
        Identity { version, .. } if !(OLDEST..=VERSION).contains(&version) => refused(format!(
            "{NAME} has format version {version}, this program knows up to version {VERSION}: use a newer one"
        )),
        Identity { store, .. } if store != id => {
            refused(format!("it belongs to another installation ({store}; this one is {id}): use another prefix"))
        }
        Identity { version, .. } => Ok(Some(version)),
    }
}

async fn create(store: &dyn ObjectStore, label: &str, at: &ObjectPath, bytes: Bytes) -> Result<Conditional, Error> {
    let create = PutOptions { mode: PutMode::Create, ..Default::default() };
    match store.put_opts(at, bytes.clone().into(), create).await {
        Ok(_) => Ok(Conditional::Ignored),
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
            Ok(Conditional::Kept)
        }
        // A service that does not know the condition at all; what stands there is ours, or nothing.
        Err(e) if Objects::is_unsupported(&e) => {
            store.put(at, bytes.into()).await.map_err(|e| of_start(label, e))?;
            Ok(Conditional::Ignored)
        }
        Err(e) => Err(of_start(label, e)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use object_store::memory::InMemory;

    async fn refused(store: &InMemory, id: Uuid, used: bool) -> String {
        let error = claim(store, "s3://media/a", id, used).await.unwrap_err();
        assert!(error.is_configuration(), "{error}");
        error.to_string()
    }

    #[tokio::test]
    async fn a_prefix_is_claimed_once_and_belongs_to_one() {
        let (store, ours, other) = (InMemory::new(), Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(refused(&store, ours, true).await.contains("elsewhere"), "recordings without their identity");
        assert_eq!(claim(&store, "s3://media/a", ours, false).await.unwrap(), Conditional::Kept);
        assert_eq!(claim(&store, "s3://media/a", ours, true).await.unwrap(), Conditional::Kept);
        let text = refused(&store, other, false).await;
        assert!(text.contains("another installation") && text.contains("s3://media/a"), "{text}");
    }

    #[tokio::test]
    async fn an_earlier_version_is_taken_over() {
        let (store, id) = (InMemory::new(), Uuid::from_u128(1));
        let body = serde_json::to_vec(&Identity { format: FORMAT.to_owned(), version: 1, store: id }).unwrap();
        store.put(&ObjectPath::from(NAME), body.into()).await.unwrap();
        compare(&store, "s3://media/a", id).await.unwrap();
        assert!(refused(&store, Uuid::from_u128(2), false).await.contains("another installation"));
        assert_eq!(claim(&store, "s3://media/a", id, true).await.unwrap(), Conditional::Kept);
        let now = store.get(&ObjectPath::from(NAME)).await.unwrap().bytes().await.unwrap();
        assert_eq!(serde_json::from_slice::<Identity>(&now).unwrap().version, VERSION);
    }

    #[tokio::test]
    async fn what_is_newer_or_foreign_is_refused_by_name() {
        for (body, says) in [
            (
                r#"{"format":"vidicon-segments","version":9,"store":"01890000-0000-7000-8000-000000000000"}"#,
                "version 9",
            ),
            (r#"{"format":"else","version":1,"store":"01890000-0000-7000-8000-000000000000"}"#, "\"else\""),
            ("<html>", "none of this program's"),
        ] {
            let store = InMemory::new();
            store.put(&ObjectPath::from(NAME), Bytes::from(body).into()).await.unwrap();
            let text = refused(&store, Uuid::nil(), false).await;
            assert!(text.contains(says), "{text}");
        }
    }
}
