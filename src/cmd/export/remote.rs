//! A stream of a running server, read over its native API: lists of fragments, and each as the Matroska file that the server gives.

use crate::cmd::identities::remote::{Answer, Server};
use media::mkv::{Piece, pieces};
use media::{Chunks, Fragment, FragmentMeta, FragmentNumber, Header, HeaderId, StreamName};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use store::export::Source;
use store::{Error, Kind, Position, Range};
use web::Listed;

#[derive(Clone)]
pub(super) struct Stream {
    inner: Arc<Inner>,
}

struct Inner {
    server: Server,
    name: StreamName,
    /// What was listed: the server's file of a fragment does not say it.
    listed: Mutex<HashMap<FragmentNumber, FragmentMeta>>,
    headers: Mutex<HashMap<HeaderId, Arc<Header>>>,
}

#[derive(Deserialize)]
struct Page {
    fragments: Vec<Listed>,
}

impl Stream {
    pub(super) fn new(server: Server, name: StreamName) -> Stream {
        let (listed, headers) = Default::default();
        Stream { inner: Arc::new(Inner { server, name, listed, headers }) }
    }

    async fn get(&self, path: &str) -> Result<Answer, Error> {
        let answer = self.inner.server.get(path).await;
        let answer = answer.map_err(|e| Error::new(Kind::Unavailable, e.to_string()))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let kind = match answer.status.as_u16() {
            404 => Kind::NotFound,
            500 if answer.code() == "corrupt" => Kind::Corrupt,
            _ => Kind::Unavailable,
        };
        Err(Error::new(kind, answer.message()))
    }

    fn wrong(&self, what: &str) -> Error {
        Error::new(Kind::Corrupt, format!("stream {}: {what}", self.inner.name))
    }

    /// The header, and the lead and cluster behind it.
    async fn file(&self, meta: &FragmentMeta) -> Result<Fragment, Error> {
        let (name, number) = (&self.inner.name, meta.number);
        let bytes = self.get(&format!("/v1/streams/{name}/fragments/{number}")).await?.body;
        let mut parts = pieces(&bytes);
        let Some(Ok(Piece::Header(header))) = parts.next() else {
            return Err(self.wrong(&format!("the server's file of fragment {number} has no header")));
        };
        let stored = bytes.slice(header.bytes.len().min(bytes.len())..);
        let otherwise = match meta.encrypted {
            true => stored.len() != meta.bytes as usize,
            false => crc32c::crc32c(&stored) != meta.crc32c,
        };
        if otherwise || header.id != meta.header {
            return Err(self.wrong(&format!("fragment {number} came otherwise than it was listed")));
        }
        let lead: usize = parts
            .map_while(|piece| match piece {
                Ok(Piece::Other(other)) => Some(other.len()),
                _ => None,
            })
            .sum();
        let cluster = Chunks::from(stored.slice(lead.min(stored.len())..));
        let meta = FragmentMeta { lead_bytes: lead as u32, ..meta.clone() };
        let lead = stored.slice(..lead.min(stored.len()));
        let header = Arc::new(header);
        self.inner.headers.lock().unwrap_or_else(|e| e.into_inner()).insert(header.id, header.clone());
        Ok(Fragment { meta, header, lead, cluster })
    }
}

impl Source for Stream {
    async fn headers_in(&self, range: Range) -> Result<Vec<HeaderId>, Error> {
        let (mut found, mut at) = (Vec::<HeaderId>::new(), Position::Start);
        loop {
            let page = self.page(range, at, 1000).await?;
            self.inner.listed.lock().unwrap_or_else(|e| e.into_inner()).clear();
            for meta in &page {
                if !found.contains(&meta.header) {
                    found.push(meta.header);
                    self.file(meta).await?;
                }
            }
            match page.last().filter(|_| page.len() == 1000) {
                Some(last) => at = Position::After(last.number),
                None => return Ok(found),
            }
        }
    }

    async fn page(&self, range: Range, at: Position, limit: usize) -> Result<Vec<FragmentMeta>, Error> {
        // What the server takes for a time: it refuses those that are far away.
        let (from, to) = (range.from.0.max(0), range.to.0.min(253_402_300_799_000));
        let mut path = format!("/v1/streams/{}/fragments?from={from}&to={to}&limit={limit}", self.inner.name);
        if let Position::After(number) = at {
            path += &format!("&after={number}");
        }
        let answer = self.get(&path).await?;
        let page: Page = serde_json::from_slice(&answer.body)
            .map_err(|e| self.wrong(&format!("the server's list cannot be read: {e}")))?;
        let metas: Option<Vec<FragmentMeta>> = page.fragments.into_iter().map(Listed::meta).collect();
        let metas = metas.ok_or_else(|| self.wrong("the server's list cannot be read"))?;
        let mut listed = self.inner.listed.lock().unwrap_or_else(|e| e.into_inner());
        listed.extend(metas.iter().map(|meta| (meta.number, meta.clone())));
        Ok(metas)
    }

    async fn header(&self, header: HeaderId) -> Result<Arc<Header>, Error> {
        let known = self.inner.headers.lock().unwrap_or_else(|e| e.into_inner()).get(&header).cloned();
        known.ok_or_else(|| self.wrong(&format!("header {header} came after it was looked for: try again")))
    }

    async fn fragment(&self, number: FragmentNumber, _: Arc<Header>) -> Result<Arc<Fragment>, Error> {
        let meta = self.inner.listed.lock().unwrap_or_else(|e| e.into_inner()).remove(&number);
        let meta = meta.ok_or_else(|| self.wrong(&format!("fragment {number} was not listed")))?;
        self.file(&meta).await.map(Arc::new)
    }
}
