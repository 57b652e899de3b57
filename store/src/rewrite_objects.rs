//! Erasure in a bucket: objects that hold bytes which do not count any more are put anew without them, under a name of their own.
//!
//! The new object has the id of the old one and the next generation, which stands in its name. What is there at each step:
//!
//! 1. The catalog notes the name: whatever comes to lie there does not count ([`leftovers`]). Then the object is put, create-only.
//! 2. The file `rewritten` counts one more than the catalog does, and names the object.
//! 3. One transaction lets the rows point into the new object, says its generation, and notes the old one as left over.
//! 4. What is left over is removed, and once more an hour later, for a PUT that was cut off may arrive late.
//!
//! So at each moment every object is a segment's or noted, and a start has nothing to look for. Whoever read a row before step 3 reads the
//! old object, or looks at the row again where that is gone.

use crate::catalog::{leftovers, rewrites};
use crate::rewrite::{Rewriter, blocking};
use crate::segments::copy::{self, Contents};
use crate::segments::objects::bucket::Objects;
use crate::segments::scan::Scan;
use crate::{Error, Kind};
use media::UnixMillis;
use std::io::Cursor;
use std::sync::Arc;

/// Objects that are removed with one round of requests.
const AT_ONCE: usize = 64;

impl Rewriter {
    /// Puts one anew; gives its length. `None` where its object is not in the bucket yet. Memory holds the old one and the new one: two
    /// groups, as a group is one object.
    pub(crate) async fn in_bucket(
        &self,
        objects: &Arc<Objects>,
        row: rewrites::Row,
        paced: bool,
        now: UnixMillis,
    ) -> Result<Option<u64>, Error> {
        if row.generation == 0 && objects.spool.len(row.id).is_some() {
            return Ok(None);
        }
        let mut pace = self.pace(paced);
        let unread = |e: object_store::Error| {
            Error::new(Kind::Unavailable, format!("{} cannot be read", objects.name(row.edition()))).with_source(e)
        };
        let Some(bytes) = objects.whole(row.edition()).await.map_err(unread)? else {
            // The sweep may have taken it meanwhile.
            let _places = self.places.lock().await;
            return match self.shared.catalog.read(move |c| rewrites::row(c, row.id)).await? {
                Some(_) => Err(Error::new(Kind::Corrupt, "it is missing")),
                None => Ok(None),
            };
        };
        let of = bytes.clone();
        let contents = blocking(move || {
            let io = |e| Error::new(Kind::Corrupt, "it cannot be walked").with_source(e);
            let len = of.len() as u64;
            match Scan::of(Box::new(Cursor::new(of)), len, false).map_err(io)? {
                Ok(scan) => Contents::read(scan, row.end),
                Err(why) => Err(Error::new(Kind::Corrupt, why.to_string())),
            }
        });
        let contents = Arc::new(contents.await?);
        let keep = self.keep(row.id, &contents).await?;
        self.faults.check("rewrite.write").map_err(Error::of_disk)?;
        let new = self.shared.catalog.write(move |c| leftovers::begin(c, row.id)).await?;
        let (copied, payload) = blocking(move || {
            let mut payload = Vec::with_capacity(bytes.len());
            let io = |e| Error::new(Kind::Internal, "a segment could not be copied in memory").with_source(e);
            let pair = (&mut Cursor::new(bytes), &mut payload);
            let copied = copy::write(&contents, &keep, new.generation, pair, |_| true).map_err(io)?;
            match copied {
                Some(copied) if pace(copied.end) => Ok((copied, payload)),
                _ => Err(copy::stopping()),
            }
        })
        .await?;
        self.faults.check("rewrite.sync").map_err(Error::of_disk)?;
        objects.put_new(new, payload.into()).await?;

        let places = self.places.lock().await;
        let end = copied.end;
        let count = self.note(new, None).await?;
        self.faults.check("rewrite.commit").map_err(Error::of_disk)?;
        self.shared.catalog.write(move |c| rewrites::moved(c, &row, &copied, new.generation, count, true)).await?;
        drop(places);
        // What cannot be removed now is tried again.
        if let Err(error) = self.remove_noted(now).await {
            tracing::debug!(segment = row.id, %error, "what a segment left over is not removed yet");
        }
        Ok(Some(end))
    }

    /// Removes objects that do not count. Not while one is put that is to count.
    pub(crate) async fn remove_leftovers(&self, now: UnixMillis) -> Result<(), Error> {
        let _one = self.one.lock().await;
        self.remove_noted(now).await
    }

    /// The same for who holds `one`.
    async fn remove_noted(&self, now: UnixMillis) -> Result<(), Error> {
        let due = self.shared.catalog.read(move |c| leftovers::due(c, now)).await?;
        for some in due.chunks(AT_ONCE) {
            self.faults.check("rewrite.rename").map_err(Error::of_disk)?;
            let gone = self.shelf.remove(some).await;
            self.faults.check("rewrite.dir").map_err(Error::of_disk)?;
            let write = move |c: &mut rusqlite::Connection| {
                let tx = c.transaction().map_err(crate::catalog::db)?;
                gone.iter().try_for_each(|edition| leftovers::removed(&tx, *edition, now))?;
                tx.commit().map_err(crate::catalog::db)
            };
            self.shared.catalog.write(write).await?;
        }
        Ok(())
    }
}
