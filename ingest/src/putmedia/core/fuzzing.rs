//! What must hold for any input, as the body of the fuzz target `putmedia` and of property tests.

use super::{Core, Limits, Options, Output, Policy, Timecode};
use bytes::Bytes;
use media::{Frame, Header, UnixMillis, mkv};
use std::sync::Arc;

/// The start of a session that counts from it.
const START: UnixMillis = UnixMillis(1_795_404_896_353);

/// Bytes as a session, whole and cut into pieces: no panic, the same outputs, and each fragment can be read again.
///
/// The first byte says which options, the second how to cut.
pub fn drive(data: &[u8]) {
    let Some((&[mode, cut], data)) = data.split_first_chunk::<2>() else { return };
    let options = Options {
        timecode: if mode & 1 == 0 { Timecode::Absolute } else { Timecode::Relative(START) },
        limits: match mode >> 1 & 3 {
            0 => Limits::default(),
            1 => Limits::of_the_service(),
            _ => Limits {
                max_fragment_bytes: 256,
                max_fragment_ms: 100,
                max_header_bytes: 512,
                max_lead_bytes: 64,
                ..Limits::default()
            },
        },
        policy: if mode & 8 == 0 { Policy::Lenient } else { Policy::Strict },
    };
    let clean = mode & 16 == 0;
    let whole = said(&options, [data], clean);
    let cut = usize::from(cut).max(1);
    assert_eq!(said(&options, data.chunks(cut), clean), whole, "cut into pieces of {cut}");
}

/// What a session says of these pieces, as text; and on the way, that it keeps to its protocol.
pub fn said<'a>(options: &Options, pieces: impl IntoIterator<Item = &'a [u8]>, clean: bool) -> Vec<String> {
    let mut core = Core::new(options.clone());
    let mut check = Check::new(options.clone());
    let mut said = Vec::new();
    let mut take = |core: &mut Core| {
        while let Some(output) = core.poll() {
            said.push(check.output(output));
        }
    };
    for piece in pieces {
        core.handle_input(Bytes::copy_from_slice(piece));
        take(&mut core);
    }
    core.handle_end(clean);
    take(&mut core);
    assert!(core.poll().is_none());
    said
}

struct Check {
    options: Options,
    header: Option<Arc<Header>>,
    open: Option<Vec<Frame>>,
    part: u32,
    more: bool,
    over: bool,
}

impl Check {
    fn new(options: Options) -> Check {
        let options = Options { limits: options.limits.within_the_store(), ..options };
        Check { options, header: None, open: None, part: 0, more: false, over: false }
    }

    fn output(&mut self, output: Output) -> String {
        assert!(!self.over, "nothing follows a fault");
        match output {
            Output::Header(header) => {
                assert!(header.bytes.len() <= self.options.limits.max_header_bytes);
                assert_eq!(mkv::parse_header(&header.bytes).as_ref(), Ok(&*header), "a header read again is the same");
                let said = format!("header {} of {}", header.id, header.bytes.len());
                self.header = Some(header);
                said
            }
            Output::Begin { start, timecode, part } => {
                assert!(self.open.is_none(), "one fragment at a time");
                assert_eq!(part, if self.more { self.part + 1 } else { 0 });
                assert_eq!(Some(start.header.id), self.header.as_ref().map(|header| header.id));
                (self.open, self.part) = (Some(Vec::new()), part);
                format!("begin {timecode} at {} part {part}", start.producer_start.0)
            }
            Output::Frame(frame) => {
                let said = format!("frame {frame:?}");
                self.open.as_mut().expect("a frame is in a fragment").push(frame);
                said
            }
            Output::End { lead, cluster, tags, duration_ms, more } => {
                let frames = self.open.take().expect("what ends has begun");
                assert!(!frames.is_empty());
                let limits = &self.options.limits;
                assert!(lead.len() <= limits.max_lead_bytes);
                // The new head of what was split may be a few bytes longer.
                assert!(cluster.len() <= limits.max_fragment_bytes + 32);
                assert!(duration_ms.is_none_or(|ms| (1..=limits.max_fragment_ms).contains(&ms)));
                let header = self.header.as_ref().expect("a header comes first");
                let shift_us = match self.options.timecode {
                    Timecode::Absolute => 0,
                    Timecode::Relative(start) => start.to_micros().0,
                };
                let mut again = mkv::parse_chunks(header, &cluster).expect("a fragment can be read again");
                again.iter_mut().for_each(|frame| frame.time = frame.time.plus(shift_us));
                assert_eq!(again, frames, "it is read as it was said");
                self.more = more;
                format!("end {lead:?} {:?} {tags:?} {duration_ms:?} {more}", cluster.to_bytes())
            }
            Output::Empty => {
                assert!(self.open.take().expect("what ends has begun").is_empty());
                "empty".to_owned()
            }
            Output::EndOfFragment => {
                assert!(self.open.is_none());
                "end of fragment".to_owned()
            }
            Output::Failed(fault) => {
                self.over = true;
                format!("failed {fault:?} {fault}")
            }
            Output::Warned(mark) => format!("warned {mark:?}"),
        }
    }
}
