//! Sequence parameter sets (H.264, sections 7.3.2.1.1 and E.1.1).
//!
//! Lenient where cameras are careless: whatever comes after the picture size (VUI) may be cut off or wrong, and is
//! then left out instead of refused.

use super::{Error, nal::unescape, types};
use crate::bits::Bits;

/// More than any SPS needs; foreign ones beyond it are cut.
const MAX_SPS: usize = 4096;
/// Twice the width and height of level 6.2.
const MAX_SIDE: u32 = 32_768;

/// What a sequence parameter set says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpsInfo {
    /// Picture width in pixels after cropping.
    pub width: u32,
    /// Picture height in pixels after cropping.
    pub height: u32,
    /// `profile_idc`: 66 Baseline, 77 Main, 100 High, …
    pub profile_idc: u8,
    /// The byte of `constraint_set` flags.
    pub constraint: u8,
    /// `level_idc`: ten times the level.
    pub level_idc: u8,
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format_idc: u8,
    /// Bits per luma sample, 8 to 14.
    pub bit_depth_luma: u8,
    /// Bits per chroma sample, 8 to 14.
    pub bit_depth_chroma: u8,
    /// How many pictures may come before one that is shown earlier; 0 rules B-frames out. `None` if not said.
    pub max_num_reorder_frames: Option<u8>,
    /// Frames per second as the encoder states it, which may be wrong. `None` if not said.
    pub fps: Option<f64>,
}

/// Reads a sequence parameter set, given as a NAL unit with its type byte.
pub fn sps_info(nal: &[u8]) -> Result<SpsInfo, Error> {
    match nal.first() {
        Some(first) if super::nal_type(*first) == types::SPS => {}
        _ => return Err(Error::Sps { at: 0, what: "no SPS NAL unit" }),
    }
    let rbsp = unescape(&nal[1..nal.len().min(MAX_SPS)]);
    let mut bits = Bits::new(&rbsp);
    let mut info = match picture(&mut bits) {
        Some(info) => info?,
        None => return Err(Error::Sps { at: bits.at(), what: "it ends too early" }),
    };
    // From here on what is missing is left out.
    let _ = vui(&mut bits, &mut info);
    // Profiles without B slices, and intra-only ones (constraint_set3 of the High family; H.264, section A.2).
    let intra_only = info.constraint & 0x10 != 0 && matches!(info.profile_idc, 44 | 86 | 100 | 110 | 122 | 244);
    if info.max_num_reorder_frames.is_none() && (info.profile_idc == 66 || intra_only) {
        info.max_num_reorder_frames = Some(0);
    }
    Ok(info)
}

/// Up to and with the cropping rectangle. `None` if the bits end.
fn picture(bits: &mut Bits<'_>) -> Option<Result<SpsInfo, Error>> {
    let profile_idc = bits.bits(8)? as u8;
    let constraint = bits.bits(8)? as u8;
    let level_idc = bits.bits(8)? as u8;
    bits.ue()?;
    let (mut chroma_format_idc, mut depths, mut separate_planes) = (1, [8, 8], false);
    if matches!(profile_idc, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        let chroma = bits.ue()?;
        if chroma > 3 {
            return error(bits, "chroma_format_idc above 3");
        }
        chroma_format_idc = chroma as u8;
        separate_planes = chroma == 3 && bits.bit()?;
        for depth in &mut depths {
            let over = bits.ue()?;
            if over > 6 {
                return error(bits, "a bit depth above 14");
            }
            *depth = 8 + over as u8;
        }
        bits.bit()?;
        if bits.bit()? {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.bit()? {
                    skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.ue()?;
    match bits.ue()? {
        0 => drop(bits.ue()?),
        1 => {
            bits.bit()?;
            bits.se()?;
            bits.se()?;
            let count = bits.ue()?;
            if count > 255 {
                return error(bits, "num_ref_frames_in_pic_order_cnt_cycle above 255");
            }
            for _ in 0..count {
                bits.se()?;
            }
        }
        _ => {}
    }
    bits.ue()?;
    bits.bit()?;
    let width_mbs = bits.ue()?.saturating_add(1);
    let height_units = bits.ue()?.saturating_add(1);
    let frames_only = bits.bit()?;
    if !frames_only {
        bits.bit()?;
    }
    bits.bit()?;
    let fields = if frames_only { 1 } else { 2 };
    let (width, height) = (width_mbs.saturating_mul(16), height_units.saturating_mul(16 * fields));
    if width > MAX_SIDE || height > MAX_SIDE {
        return error(bits, "a picture of absurd size");
    }
    // Cropping counts in chroma samples (H.264, equations 7-19 to 7-22).
    let (unit_x, unit_y) = match chroma_format_idc {
        1 if !separate_planes => (2, 2 * fields),
        2 if !separate_planes => (2, fields),
        _ => (1, fields),
    };
    let mut crop = [0; 4];
    if bits.bit()? {
        for side in &mut crop {
            *side = bits.ue()?;
        }
    }
    let cut = |size: u32, a: u32, b: u32, unit: u32| {
        size.checked_sub(a.saturating_add(b).saturating_mul(unit)).filter(|left| *left > 0)
    };
    let (Some(width), Some(height)) = (cut(width, crop[0], crop[1], unit_x), cut(height, crop[2], crop[3], unit_y))
    else {
        return error(bits, "cropping leaves no picture");
    };
    Some(Ok(SpsInfo {
        width,
        height,
        profile_idc,
        constraint,
        level_idc,
        chroma_format_idc,
        bit_depth_luma: depths[0],
        bit_depth_chroma: depths[1],
        max_num_reorder_frames: None,
        fps: None,
    }))
}

fn error(bits: &Bits<'_>, what: &'static str) -> Option<Result<SpsInfo, Error>> {
    Some(Err(Error::Sps { at: bits.at(), what }))
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = last.wrapping_add(bits.se()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// Video usability information: frame rate and reordering. Fills in what it finds until the bits end.
fn vui(bits: &mut Bits<'_>, info: &mut SpsInfo) -> Option<()> {
    if !bits.bit()? {
        return Some(());
    }
    // Aspect ratio: 255 is an explicit one.
    if bits.bit()? && bits.bits(8)? == 255 {
        bits.bits(32)?;
    }
    if bits.bit()? {
        bits.bit()?;
    }
    // Video signal type, with a colour description.
    if bits.bit()? {
        bits.bits(4)?;
        if bits.bit()? {
            bits.bits(24)?;
        }
    }
    // Chroma location.
    if bits.bit()? {
        bits.ue()?;
        bits.ue()?;
    }
    if bits.bit()? {
        let units_in_tick = bits.bits(32)?;
        let time_scale = bits.bits(32)?;
        bits.bit()?;
        if units_in_tick > 0 && time_scale > 0 {
            // Two ticks, one per field, are a frame.
            info.fps = Some(f64::from(time_scale) / (2.0 * f64::from(units_in_tick)));
        }
    }
    let nal_hrd = bits.bit()?;
    if nal_hrd {
        skip_hrd(bits)?;
    }
    let vcl_hrd = bits.bit()?;
    if vcl_hrd {
        skip_hrd(bits)?;
    }
    if nal_hrd || vcl_hrd {
        bits.bit()?;
    }
    bits.bit()?;
    if bits.bit()? {
        bits.bit()?;
        for _ in 0..4 {
            bits.ue()?;
        }
        let reorder = bits.ue()?;
        info.max_num_reorder_frames = u8::try_from(reorder).ok().filter(|n| *n <= 16);
    }
    Some(())
}

fn skip_hrd(bits: &mut Bits<'_>) -> Option<()> {
    let count = bits.ue()?;
    if count > 31 {
        return None;
    }
    bits.bits(8)?;
    for _ in 0..=count {
        bits.ue()?;
        bits.ue()?;
        bits.bit()?;
    }
    bits.bits(20)?;
    Some(())
}
