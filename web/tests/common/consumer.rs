//! Reads GetMedia output as consumers do, with a parser of its own: the parser library for Java takes a document for each
//! fragment and its tags by name; the one for Python cuts wherever an EBML header begins.

use super::{KEY, SECRET, Server, basic};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Incoming};
use media::{FragmentNumber, mkv};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const TRACKS: u32 = 0x1654_AE6B;
const TAGS: u32 = 0x1254_C367;
const CLUSTER: u32 = 0x1F43_B675;
/// What ends a cluster whose size is unknown.
const LEVEL_1: [u32; 8] = [EBML, SEGMENT, TAGS, CLUSTER, TRACKS, 0x1C53_BB6B, 0x1549_A966, 0x114D_9B74];

/// One fragment as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// EBML header, Segment head, Info, Tracks and what lies between them.
    pub header: Vec<u8>,
    /// The producer's elements behind Tracks.
    pub lead: Vec<u8>,
    pub cluster: Vec<u8>,
    /// Tags of the service before the cluster, by name, and after it.
    pub before: BTreeMap<String, String>,
    pub after: BTreeMap<String, String>,
}

impl Document {
    pub fn number(&self) -> FragmentNumber {
        self.before["AWS_KINESISVIDEO_FRAGMENT_NUMBER"].parse().unwrap()
    }
    fn is_whole(&self) -> bool {
        self.after.contains_key("AWS_KINESISVIDEO_CONTINUATION_TOKEN")
    }
}

/// ID, size (`None`: unknown) and length of the head at the start of these bytes.
fn head(bytes: &[u8]) -> Option<(u32, Option<usize>, usize)> {
    let id_len = bytes.first()?.leading_zeros() as usize + 1;
    let id = bytes.get(..id_len)?.iter().fold(0, |id, b| id << 8 | u32::from(*b));
    let rest = &bytes[id_len..];
    let len = rest.first()?.leading_zeros() as usize + 1;
    let size = rest.get(..len)?.iter().fold(0u64, |size, b| size << 8 | u64::from(*b)) & ((1 << (7 * len)) - 1);
    Some((id, (size != (1 << (7 * len)) - 1).then_some(size as usize), id_len + len))
}

/// The element at the start of these bytes as (ID, length), if it is all there.
fn element(bytes: &[u8]) -> Option<(u32, usize)> {
    let (id, size, len) = head(bytes)?;
    if let Some(size) = size {
        return (len + size <= bytes.len()).then_some((id, len + size));
    }
    match id {
        // Its children stand on the same level here.
        SEGMENT => Some((id, len)),
        CLUSTER => {
            let mut at = len;
            loop {
                let (child, size, len) = head(&bytes[at..])?;
                if LEVEL_1.contains(&child) {
                    return Some((id, at));
                }
                at += len + size.expect("a child of a cluster states its size");
                bytes.get(at..)?;
            }
        }
        _ => panic!("element {id:x} of unknown size"),
    }
}

/// The documents in these bytes; the last may be cut off. Of the elements between Tracks and the cluster the last are the
/// service's tags: what a producer sent may hold tags of the same names, as captures of this very output do.
pub fn documents(bytes: &[u8]) -> Vec<Document> {
    let (mut documents, mut at) = (Vec::<Document>::new(), 0);
    let (mut in_header, mut waiting) = (false, Vec::new());
    while let Some((id, len)) = element(&bytes[at..]) {
        let element = &bytes[at..at + len];
        at += len;
        if id == EBML {
            close(&mut documents, &mut waiting);
            documents.push(Document::default());
            in_header = true;
        }
        let document = documents.last_mut().expect("a document begins with an EBML header");
        match id {
            _ if in_header => {
                document.header.extend(element);
                in_header = id != TRACKS;
            }
            CLUSTER => {
                close(&mut documents, &mut waiting);
                documents.last_mut().unwrap().cluster = element.to_vec();
            }
            _ if document.cluster.is_empty() => waiting.push(element),
            TAGS => document.after.extend(mkv::parse_tags(element).unwrap()),
            other => panic!("element {other:x} behind a cluster"),
        }
    }
    close(&mut documents, &mut waiting);
    documents
}

/// The elements before the cluster, or before the end of a document that has none, are known.
fn close(documents: &mut [Document], waiting: &mut Vec<&[u8]>) {
    let Some(document) = documents.last_mut() else { return };
    if let Some(tags) = waiting.last().and_then(|last| mkv::parse_tags(last).ok()) {
        document.before.extend(tags);
        waiting.pop();
    }
    waiting.drain(..).for_each(|element| document.lead.extend(element));
}

/// Checks what both libraries rely on; gives the documents.
pub fn consumed(bytes: &[u8]) -> Vec<Document> {
    let documents = documents(bytes);
    let cuts = bytes.windows(4).filter(|w| *w == EBML.to_be_bytes()).count();
    assert_eq!(cuts, documents.len(), "an EBML header begins each fragment and nothing else");
    for document in &documents {
        let segment = document.header.windows(4).position(|w| w == SEGMENT.to_be_bytes()).unwrap();
        assert_eq!(document.header[segment + 4..segment + 12], [1, 255, 255, 255, 255, 255, 255, 255]);
        let number = &document.before["AWS_KINESISVIDEO_FRAGMENT_NUMBER"];
        assert_eq!(number.len(), 47);
        assert_eq!(document.after["AWS_KINESISVIDEO_CONTINUATION_TOKEN"], *number);
        document.after["AWS_KINESISVIDEO_MILLIS_BEHIND_NOW"].parse::<u64>().unwrap();
        for name in ["AWS_KINESISVIDEO_SERVER_TIMESTAMP", "AWS_KINESISVIDEO_PRODUCER_TIMESTAMP"] {
            let (seconds, millis) = document.before[name].split_once('.').unwrap();
            assert!(seconds.parse::<i64>().is_ok() && millis.len() == 3, "{name}");
        }
    }
    for two in documents.windows(2) {
        let number = |d: &Document| d.before["AWS_KINESISVIDEO_FRAGMENT_NUMBER"].clone();
        assert!(number(&two[0]) < number(&two[1]), "numbers grow as text");
    }
    documents
}

/// An answer that goes on.
pub struct Media {
    pub status: StatusCode,
    pub headers: hyper::HeaderMap,
    body: Incoming,
    pub bytes: Vec<u8>,
    /// Names of the last tag of a document so far, and up to where they were looked for.
    ends: (usize, usize),
}

impl Media {
    /// Asks for media as root.
    pub async fn ask(server: &Server, path: &str, body: &Value) -> Media {
        Self::ask_as(server, path, &basic(KEY, SECRET), body).await
    }
    /// Asks for media with this `Authorization`.
    pub async fn ask_as(server: &Server, path: &str, authorization: &str, body: &Value) -> Media {
        let request = Request::post(path)
            .header("host", server.address.to_string())
            .header("authorization", authorization)
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let (parts, body) = super::send(server.address, request).await.into_parts();
        Media { status: parts.status, headers: parts.headers, body, bytes: Vec::new(), ends: (0, 0) }
    }
    /// The next piece; `None` at the end. Fails after ten seconds of silence, and where the answer breaks off.
    pub async fn piece(&mut self) -> Option<Bytes> {
        let frame = timeout(Duration::from_secs(10), self.body.frame()).await.expect("in time")?;
        let data = frame.expect("not broken off").into_data().unwrap();
        self.bytes.extend_from_slice(&data);
        Some(data)
    }
    /// Whether nothing comes for a while.
    pub async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(300), self.piece()).await.is_err()
    }
    /// Whether the answer ends in time, all of it read.
    pub async fn ends_within(&mut self, time: Duration) -> bool {
        let end = async { while self.body.frame().await.is_some_and(|frame| frame.is_ok()) {} };
        timeout(time, end).await.is_ok()
    }
    /// So many whole documents.
    pub async fn whole(&mut self, count: usize) -> Vec<Document> {
        loop {
            if self.ends() >= count {
                let documents: Vec<_> = documents(&self.bytes).into_iter().filter(Document::is_whole).collect();
                if documents.len() >= count {
                    return documents;
                }
            }
            self.piece().await.expect("more is to come");
        }
    }
    /// How many documents may be whole: reading them all again for each piece would take a while.
    fn ends(&mut self) -> usize {
        const NAME: &[u8] = b"AWS_KINESISVIDEO_CONTINUATION_TOKEN";
        let (count, from) = self.ends;
        let found = self.bytes[from..].windows(NAME.len()).filter(|w| *w == NAME).count();
        self.ends = (count + found, self.bytes.len().saturating_sub(NAME.len() - 1).max(from));
        self.ends.0
    }
    /// All up to the end.
    pub async fn rest(&mut self) -> Vec<Document> {
        while self.piece().await.is_some() {}
        documents(&self.bytes)
    }
}

/// Asks for a stream's media as root.
pub async fn get_media(server: &Server, name: &str, selector: Value) -> Media {
    let media = Media::ask(server, "/getMedia", &json!({"StreamName": name, "StartSelector": selector})).await;
    assert_eq!(media.status, 200);
    assert_eq!(media.headers["content-type"], "video/webm");
    assert_eq!(media.headers["transfer-encoding"], "chunked");
    assert!(media.headers.contains_key("x-amzn-requestid"));
    media
}

/// The bytes that the clusters of a [`Producer`] were filled with.
pub fn fills(documents: &[Document]) -> Vec<u8> {
    documents.iter().map(|d| *d.cluster.last().unwrap()).collect()
}
