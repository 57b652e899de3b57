//! Fragment numbers: 47 decimal digits that sort as strings in the order of ingestion.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A fragment's number in its stream: `1<<156 | counter<<92 | server_ms<<28 | random28`, written as 47 digits.
///
/// The layout is the one observed in Kinesis Video Streams output. `counter` only grows within a stream and is never
/// reused (invariant 3), so numeric order, string order and the derived `Ord` are the order of ingestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FragmentNumber {
    counter: u64,
    server_ms: u64,
    random: u32,
}

/// The text is not a number of a fragment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fragment number is 47 decimal digits with the leading marker bit, this is not: {0:?}")]
pub struct NumberError(String);

/// `1 << 156` takes 157 bits: five 32-bit limbs.
const LIMBS: usize = 5;

impl FragmentNumber {
    /// The largest counter whose number still has 47 digits: at 5 fragments a second, seven billion years.
    pub const MAX_COUNTER: u64 = (1 << 60) - 1;

    /// Builds a number. `counter` is at most [`Self::MAX_COUNTER`]; `random` is cut to its low 28 bits.
    pub const fn new(counter: u64, server_ms: u64, random: u32) -> Self {
        FragmentNumber { counter, server_ms, random: random & 0x0fff_ffff }
    }
    /// The position in the stream, from 1.
    pub fn counter(self) -> u64 {
        self.counter
    }
    /// The server time in milliseconds since the Unix epoch that is part of the number.
    pub fn server_ms(self) -> u64 {
        self.server_ms
    }
    /// The 28 random bits.
    pub fn random(self) -> u32 {
        self.random
    }

    /// Little-endian 32-bit limbs of the 157-bit integer.
    fn to_limbs(self) -> [u32; LIMBS] {
        // The low 92 bits are server_ms and random; the counter starts at bit 92 = limb 2, bit 28.
        let low: u128 = (u128::from(self.server_ms) << 28) | u128::from(self.random);
        let counter = u128::from(self.counter) << 28;
        let middle = ((low >> 64) as u64 & 0x0fff_ffff) as u128 | counter;
        [low as u32, (low >> 32) as u32, middle as u32, (middle >> 32) as u32, (middle >> 64) as u32 | 1 << 28]
    }

    fn from_limbs(limbs: [u32; LIMBS]) -> Option<Self> {
        if limbs[4] >> 28 != 1 {
            return None;
        }
        let middle = u128::from(limbs[2]) | u128::from(limbs[3]) << 32 | u128::from(limbs[4] & 0x0fff_ffff) << 64;
        let low = u128::from(limbs[0]) | u128::from(limbs[1]) << 32 | (middle & 0x0fff_ffff) << 64;
        Some(FragmentNumber {
            counter: (middle >> 28) as u64,
            server_ms: (low >> 28) as u64,
            random: low as u32 & 0x0fff_ffff,
        })
    }
}

impl fmt::Display for FragmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut limbs = self.to_limbs();
        let mut digits = [b'0'; 48];
        // Repeated division by 10^9, nine digits a round, from the right.
        let mut end = digits.len();
        while limbs.iter().any(|&l| l != 0) {
            let mut rest: u64 = 0;
            for limb in limbs.iter_mut().rev() {
                let value = rest << 32 | u64::from(*limb);
                *limb = (value / 1_000_000_000) as u32;
                rest = value % 1_000_000_000;
            }
            for _ in 0..9 {
                if end == 0 {
                    break;
                }
                end -= 1;
                digits[end] = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        f.write_str(std::str::from_utf8(&digits[1..]).expect("digits are ASCII"))
    }
}

impl FromStr for FragmentNumber {
    type Err = NumberError;
    fn from_str(text: &str) -> Result<Self, NumberError> {
        let error = || NumberError(text.chars().take(64).collect());
        if text.len() != 47 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let mut limbs = [0u32; LIMBS];
        for digit in text.bytes() {
            let mut carry = u64::from(digit - b'0');
            for limb in limbs.iter_mut() {
                let value = u64::from(*limb) * 10 + carry;
                *limb = value as u32;
                carry = value >> 32;
            }
            if carry != 0 {
                return Err(error());
            }
        }
        Self::from_limbs(limbs).ok_or_else(error)
    }
}

impl TryFrom<String> for FragmentNumber {
    type Error = NumberError;
    fn try_from(text: String) -> Result<Self, NumberError> {
        text.parse()
    }
}

impl From<FragmentNumber> for String {
    fn from(number: FragmentNumber) -> String {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: u64 = FragmentNumber::MAX_COUNTER + 1;

    #[test]
    fn a_number_of_the_cloud_is_read_and_written_back() {
        // Seen in real GetMedia output: the first fragment of a stream.
        let text = "91343852333181432392682062622610059363596303923";
        let number: FragmentNumber = text.parse().expect("a real number");
        assert_eq!(number.to_string(), text);
        assert!(number.counter() < 10_000, "counter {}", number.counter());
    }

    #[test]
    fn refuses_what_is_no_number() {
        assert!("".parse::<FragmentNumber>().is_err());
        assert!("1".repeat(47).parse::<FragmentNumber>().is_err());
        assert!("9".repeat(48).parse::<FragmentNumber>().is_err());
        assert!("9134385233318143239268206262261005936359630392x".parse::<FragmentNumber>().is_err());
    }

    proptest! {
        #[test]
        fn round_trip_and_string_order(a in (0..MAX, any::<u64>(), any::<u32>()), b in (0..MAX, any::<u64>(), any::<u32>())) {
            let (x, y) = (FragmentNumber::new(a.0, a.1, a.2), FragmentNumber::new(b.0, b.1, b.2));
            prop_assert_eq!(x.to_string().len(), 47);
            prop_assert_eq!(x.to_string().parse::<FragmentNumber>(), Ok(x));
            prop_assert_eq!(x.cmp(&y), x.to_string().cmp(&y.to_string()));
        }
    }
}
