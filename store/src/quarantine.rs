//! A fragment whose record is damaged is set aside: marked in the catalog, in no listing, a gap on the timeline, counted and logged.
//! The rest of its stream is served.

use crate::catalog::quarantine;
use crate::segments::reader::Place;
use crate::segments::record::record_len_of;
use crate::state::StreamState;
use crate::{Error, Kind};
use bytes::Bytes;
use media::FragmentMeta;

/// Reads a fragment that was found damaged once more. If it is still damaged, it goes into quarantine and the error is given back.
pub(crate) async fn confirm(
    state: &StreamState,
    meta: &FragmentMeta,
    at: (Place, u32),
    first: Error,
) -> Result<Bytes, Error> {
    let (shared, name, id) = (&state.shared, state.name().as_str(), state.id());
    let error = match shared.reader.payload(name, id, meta, at, None).await {
        Ok(payload) => {
            tracing::warn!(stream = name, number = %meta.number, %first, "a fragment that seemed damaged is whole at the second look");
            return Ok(payload);
        }
        Err(error) if error.kind() == Kind::Corrupt => error,
        Err(other) => return Err(other),
    };
    let place = at.0;
    let (number, reason, now) = (meta.number, error.to_string(), (shared.clock)());
    match shared.catalog.write(move |c| quarantine::put(c, id, number, place, &reason, now)).await {
        Ok(true) => {
            state.forget_one(number);
            state.account.gone(record_len_of(meta));
            metrics::counter!("vidicon_quarantined_fragments_total", "stream" => name.to_owned()).increment(1);
            tracing::error!(stream = name, %number, %place, %error, "a damaged fragment is left out from now on");
        }
        // Deleted, or moved, meanwhile.
        Ok(false) => {}
        Err(not_marked) => {
            tracing::warn!(stream = name, %number, error = %not_marked, "a damaged fragment could not be marked")
        }
    }
    Err(error)
}
