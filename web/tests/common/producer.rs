//! Stores clusters as PutMedia does: those of files of real producers, and made ones.

use super::{h264_header, now};
use bytes::Bytes;
use media::{Chunks, Frame, Header, Start, UnixMicros, UnixMillis, mkv};
use std::sync::Arc;
use store::{Offer, Stream, Verbatim, VerbatimWriter};

/// A file of the shared material, recorded as PutMedia would: what was stored, in order, as (lead, cluster).
pub async fn store_file(stream: &Stream, file: Bytes, first_start: UnixMillis) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut writer, mut header, mut lead) = (stream.verbatim_writer(), None::<Arc<Header>>, Vec::new());
    let (mut stored, mut waits) = (Vec::new(), Vec::new());
    for piece in mkv::pieces(&file) {
        match piece {
            Ok(mkv::Piece::Header(found)) => header = Some(found.shared()),
            Ok(mkv::Piece::Other(bytes)) => lead.extend_from_slice(&bytes),
            Ok(mkv::Piece::Cluster(cluster)) => {
                let header = header.clone().unwrap();
                let lead = std::mem::take(&mut lead);
                let start = first_start.plus(stored.len() as i64 * 1000);
                let offer = put(&mut writer, &header, start, lead.clone().into(), cluster.clone()).await;
                let Offer::Sealed(_, durable) = offer else { panic!("sealed") };
                waits.push(durable);
                stored.push((lead, cluster.to_vec()));
            }
            // A capture may be cut off.
            Err(_) => break,
        }
    }
    for durable in waits {
        durable.wait().await.unwrap();
    }
    stored
}

/// One fragment, from its beginning to its end.
pub async fn put(
    writer: &mut VerbatimWriter,
    header: &Arc<Header>,
    producer_start: UnixMillis,
    lead: Bytes,
    cluster: Bytes,
) -> Offer {
    writer.begin(Start { header: header.clone(), producer_start, cause: None }).await.unwrap();
    for frame in mkv::parse_cluster(header, &cluster).unwrap() {
        writer.frame(frame).await.unwrap();
    }
    let cluster = Chunks::from(cluster);
    writer.end(Verbatim { lead, cluster, ..Verbatim::default() }).await.unwrap()
}

/// A file of the shared material; `None`, with a line that says so, where it is not here.
pub fn shared(name: &str) -> Option<Bytes> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into();
    let root: std::path::PathBuf = std::env::var_os("VIDICON_SHARED").map_or_else(beside, Into::into);
    match std::fs::read(root.join(name)) {
        Ok(bytes) => Some(bytes.into()),
        Err(_) => {
            println!("skipped: ../shared is not here ({name})");
            None
        }
    }
}

/// Fragments with a lead and a cluster of one frame of so many bytes.
pub struct Producer {
    pub writer: VerbatimWriter,
    pub header: Arc<Header>,
    pub start: UnixMillis,
    pub bytes: usize,
}

impl Producer {
    pub fn new(stream: &Stream, bytes: usize) -> Self {
        Producer { writer: stream.verbatim_writer(), header: h264_header(0), start: now(), bytes }
    }
    pub fn cluster(&self, fill: u8) -> Bytes {
        let mut cluster = mkv::ClusterWriter::new(self.start);
        let time = UnixMicros(self.start.0 * 1000);
        cluster.push(&Frame { track: 1, time, key: true, data: vec![fill; self.bytes].into() }).unwrap();
        cluster.finish().to_bytes()
    }
    pub async fn put(&mut self, fill: u8) {
        let (cluster, lead) = (self.cluster(fill), mkv::write_tags(&[("fill", fill.to_string())]));
        let Offer::Sealed(_, durable) = put(&mut self.writer, &self.header, self.start, lead, cluster).await else {
            panic!("sealed")
        };
        durable.wait().await.unwrap();
        self.start = self.start.plus(1000);
    }
}
