//! The tags before a fragment.

use super::{ErrorId, Limits, Mark, Output, Policy, Reason, Refusal};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Says that the fragment before it is complete; belongs to no fragment.
const END_OF_FRAGMENT: &str = "AWS_KINESISVIDEO_END_OF_FRAGMENT";
/// Names with this start are the service's.
const RESERVED: &str = "AWS";
/// Of those, the ones that producers may set.
const FOR_PRODUCERS: [&str; 4] = [
    END_OF_FRAGMENT,
    "AWS_KINESISVIDEO_NOTIFICATION",
    "AWS_KINESISVIDEO_IMAGE_GENERATION",
    "AWS_KINESISVIDEO_IMAGE_PREFIX",
];
/// What the service tells consumers of each fragment. A producer that sends on what it got from GetMedia has them of another
/// stream; kept, they would be taken for those of this one.
const FOR_CONSUMERS: [&str; 11] = [
    "AWS_KINESISVIDEO_FRAGMENT_NUMBER",
    "AWS_KINESISVIDEO_SERVER_TIMESTAMP",
    "AWS_KINESISVIDEO_PRODUCER_TIMESTAMP",
    "AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP",
    "AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP",
    "AWS_KINESISVIDEO_MILLIS_BEHIND_NOW",
    "AWS_KINESISVIDEO_CONTINUATION_TOKEN",
    "AWS_KINESISVIDEO_ERROR_CODE",
    "AWS_KINESISVIDEO_ERROR_ID",
    "AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE",
    "AWS_KINESISVIDEO_EXCEPTION_MESSAGE",
];

/// Tags that wait for their fragment.
#[derive(Debug, Default)]
pub(super) struct Pending {
    lead: BytesMut,
    /// Those in the newest header.
    of_header: Vec<(String, String)>,
    tags: Vec<(String, String)>,
    /// Remarks are made once a fragment.
    many: bool,
    long: bool,
    reserved: bool,
}

impl Pending {
    /// Those of the fragment that begins: its lead, and names and values.
    pub(super) fn take(&mut self) -> (Bytes, Vec<(String, String)>) {
        let Pending { lead, of_header: mut tags, tags: own, .. } = std::mem::take(self);
        tags.extend(own);
        (lead.freeze(), tags)
    }

    /// Adds a Tags element. Whether it says that the fragment before it is complete.
    pub(super) fn element(
        &mut self,
        element: Bytes,
        mut found: Vec<(String, String)>,
        limits: &Limits,
        policy: Policy,
        out: &mut VecDeque<Output>,
    ) -> Result<bool, Refusal> {
        let all = found.len();
        found.retain(|(name, _)| name != END_OF_FRAGMENT);
        let ends = found.len() < all;
        let only_ours = all > 0 && found.iter().all(|(name, _)| FOR_CONSUMERS.contains(&name.as_str()));
        if only_ours {
            if let Some((name, _)) = found.into_iter().next() {
                self.reserved(name, policy, out)?;
            }
            return Ok(ends);
        }
        let bytes = self.lead.len() + element.len();
        if bytes > limits.max_lead_bytes {
            let (bytes, limit) = (bytes as u64, limits.max_lead_bytes);
            if policy == Policy::Strict {
                return Err((ErrorId::FragmentMetadataLimitReached, Reason::TagBytes { bytes, limit }));
            }
            out.push_back(Output::Warned(Mark::TagsDropped(element.len() as u64)));
            return Ok(ends);
        }
        self.add(found, limits, policy, out)?;
        self.lead.extend_from_slice(&element);
        Ok(ends)
    }

    /// Takes those in a new header, whose bytes are kept with it. They are not added to those of a header under which no fragment
    /// came: a producer could send one after another without an end.
    pub(super) fn header(
        &mut self,
        found: Vec<(String, String)>,
        limits: &Limits,
        policy: Policy,
        out: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        self.of_header = Vec::new();
        let before = self.tags.len();
        self.add(found, limits, policy, out)?;
        self.of_header = self.tags.split_off(before);
        Ok(())
    }

    fn add(
        &mut self,
        found: Vec<(String, String)>,
        limits: &Limits,
        policy: Policy,
        out: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        for (name, value) in found {
            if name.starts_with(RESERVED) && !FOR_PRODUCERS.contains(&name.as_str()) {
                self.reserved(name.clone(), policy, out)?;
            }
            if name.len() > limits.max_tag_name_bytes || value.len() > limits.max_tag_value_bytes {
                // The start says which.
                let short: String = name.chars().take(32).collect();
                if policy == Policy::Strict {
                    return Err((ErrorId::FragmentMetadataLimitReached, Reason::LongTag(short)));
                }
                if !std::mem::replace(&mut self.long, true) {
                    out.push_back(Output::Warned(Mark::LongTag(short)));
                }
            }
            self.tags.push((name, value));
        }
        let (tags, limit) = (self.of_header.len() + self.tags.len(), limits.max_tags);
        if tags > limit {
            if policy == Policy::Strict {
                return Err((ErrorId::FragmentMetadataLimitReached, Reason::TooManyTags { tags, limit }));
            }
            if !std::mem::replace(&mut self.many, true) {
                out.push_back(Output::Warned(Mark::ManyTags(tags)));
            }
        }
        Ok(())
    }

    fn reserved(&mut self, name: String, policy: Policy, out: &mut VecDeque<Output>) -> Result<(), Refusal> {
        let name: String = name.chars().take(64).collect();
        if policy == Policy::Strict {
            return Err((ErrorId::InvalidFragmentMetadata, Reason::ReservedTag(name)));
        }
        if !std::mem::replace(&mut self.reserved, true) {
            out.push_back(Output::Warned(Mark::ReservedTag(name)));
        }
        Ok(())
    }
}
