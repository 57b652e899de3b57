//! Cutting a whole byte string (a file, a GetMedia answer) into headers and clusters.

use super::{
    ebml::{Elements, head},
    error::{Error, Reason},
    header::parse_header,
    id,
};
use crate::Header;
use bytes::Bytes;

/// A top-level part of Matroska bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// EBML header, Segment start, Info and Tracks.
    Header(Header),
    /// A Cluster element with its ID and size, as [`super::parse_cluster`] takes it.
    Cluster(Bytes),
    /// Any other element: Tags, Cues, Void, …
    Other(Bytes),
}

/// Iterates over the [`Piece`]s of a byte string. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Pieces {
    bytes: Bytes,
    at: usize,
}

/// Cuts `bytes`, which may hold any number of Matroska documents in a row, into headers and clusters.
pub fn pieces(bytes: &Bytes) -> Pieces {
    Pieces { bytes: bytes.clone(), at: 0 }
}

impl Pieces {
    fn piece(&mut self) -> Result<Option<Piece>, Error> {
        let start = self.at;
        if start >= self.bytes.len() {
            return Ok(None);
        }
        let error = |reason| Error::new(start, reason);
        let (id, size, len) = head(&self.bytes[start..]).map_err(error)?.ok_or(error(Reason::Truncated))?;
        if id == id::EBML {
            let rest = self.bytes.slice(start..);
            let header = parse_header(&rest).map_err(|e| Error::new(start + e.at, e.reason))?;
            self.at = start + header.bytes.len();
            return Ok(Some(Piece::Header(header)));
        }
        self.at = match size {
            Some(size) => usize::try_from(size)
                .ok()
                .and_then(|size| (start + len).checked_add(size))
                .filter(|end| *end <= self.bytes.len())
                .ok_or(error(Reason::Truncated))?,
            None if id == id::CLUSTER => self.end_of_cluster(start + len)?,
            None => return Err(error(Reason::UnknownSize(id))),
        };
        let bytes = self.bytes.slice(start..self.at);
        Ok(Some(if id == id::CLUSTER { Piece::Cluster(bytes) } else { Piece::Other(bytes) }))
    }

    /// Where the children of a cluster of unknown size end.
    fn end_of_cluster(&self, children: usize) -> Result<usize, Error> {
        let mut at = children;
        let mut elements = Elements::new(&self.bytes, children..self.bytes.len());
        while at < self.bytes.len() {
            match head(&self.bytes[at..]) {
                Ok(Some((id, _, _))) if id::ends_cluster(id) => return Ok(at),
                _ => {}
            }
            match elements.next_sized()? {
                Some(child) => at = child.body.end,
                None => break,
            }
        }
        Ok(at)
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.piece().transpose();
        if let Some(Err(_)) = piece {
            self.at = self.bytes.len();
        }
        piece
    }
}
