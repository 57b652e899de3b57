//! The root credentials: from the environment, else made at the first start and printed once.

use store::Store;
use web::Root;

const ID: &str = "VIDICON_ROOT_ACCESS_KEY_ID";
const SECRET: &str = "VIDICON_ROOT_SECRET_ACCESS_KEY";

/// Root credentials and whether they were made just now.
pub(crate) struct Credentials {
    pub(crate) root: Root,
    pub(crate) made_now: bool,
}

/// The environment's pair, if it is set; half a pair, or one that is too short, is an error.
pub(crate) fn from_environment() -> Result<Option<Root>, String> {
    let read = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    match (read(ID), read(SECRET)) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(format!("{ID} is set and {SECRET} is not")),
        (None, Some(_)) => Err(format!("{SECRET} is set and {ID} is not")),
        (Some(id), Some(_)) if id.len() < 3 || id.contains([':', ' ']) => {
            Err(format!("{ID} must have at least 3 characters and no colon or space"))
        }
        (Some(_), Some(secret)) if secret.len() < 8 => Err(format!("{SECRET} must have at least 8 characters")),
        (Some(access_key_id), Some(secret_access_key)) => Ok(Some(Root { access_key_id, secret_access_key })),
    }
}

/// The environment's pair, else the data folder's, else a new one that the data folder keeps.
pub(crate) async fn resolve(store: &Store, environment: Option<Root>) -> Result<Credentials, store::Error> {
    if let Some(root) = environment {
        return Ok(Credentials { root, made_now: false });
    }
    let kept = (store.setting("root_access_key_id").await?, store.setting("root_secret_access_key").await?);
    if let (Some(access_key_id), Some(secret_access_key)) = kept {
        return Ok(Credentials { root: Root { access_key_id, secret_access_key }, made_now: false });
    }
    let root = Root { access_key_id: format!("VK{}", random_text(18)), secret_access_key: random_text(40) };
    // The secret first: a kill in between leaves no id without a secret.
    store.set_setting("root_secret_access_key", &root.secret_access_key).await?;
    store.set_setting("root_access_key_id", &root.access_key_id).await?;
    Ok(Credentials { root, made_now: true })
}

/// So many characters out of 32 that cannot be mistaken for each other: 5 bits each.
pub(crate) fn random_text(len: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut bytes = vec![0u8; len];
    getrandom::fill(&mut bytes).expect("the system has a random source");
    bytes.iter().map(|b| char::from(ALPHABET[usize::from(b & 31)])).collect()
}
