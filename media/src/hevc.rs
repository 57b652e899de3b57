//! H.265: what its decoder configuration record (`hvcC`, ISO/IEC 14496-15, section 8.3.3) says.

/// The codec's name after ISO/IEC 14496-15, annex E: `hvc1.1.6.L93.B0`. `None` if `hvcc` is no record of version 1.
///
/// ```text
///  1 | profile_space 2, tier 1, profile_idc 5 | compatibility 32 | constraints 48 | level_idc 8 | …
/// ```
pub fn codec_string(hvcc: &[u8]) -> Option<String> {
    let [1, profile, compatibility @ .., level] = hvcc.get(..13)? else { return None };
    let (compatibility, constraints) = compatibility.split_at(4);
    let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
    let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
    let flags = compatibility.iter().fold(0u32, |value, b| value << 8 | u32::from(*b)).reverse_bits();
    let mut name = format!("hvc1.{space}{}.{flags:X}.{tier}{level}", profile & 0x1f);
    // Constraint bytes up to the last that is not 0.
    let used = constraints.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    constraints[..used].iter().for_each(|b| name.push_str(&format!(".{b:X}")));
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_known_records() {
        let main = [1, 0x01, 0x60, 0, 0, 0, 0xB0, 0, 0, 0, 0, 0, 93];
        assert_eq!(codec_string(&main).as_deref(), Some("hvc1.1.6.L93.B0"));
        let high_tier = [1, 0x22, 0x20, 0, 0, 0, 0x90, 0x01, 0, 0, 0, 0, 120, 0];
        assert_eq!(codec_string(&high_tier).as_deref(), Some("hvc1.2.4.H120.90.1"));
        assert_eq!(codec_string(&main[..12]), None);
        assert_eq!(codec_string(&[0; 23]), None);
    }
}
