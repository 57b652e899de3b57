//! The frame's birth certificate: its wall-clock time and number as black and white blocks that survive any codec.
//!
//! ```text
//! two rows of 32 square blocks from the top left corner, a block's edge = width / 40 px, the first bit first:
//!   0..2  sync, 10    2..44  Unix time in ms mod 2^42    44..56  frame counter mod 4096    56..64  CRC-8 (0x07) of the first seven bytes
//! ```

use tiny_skia::Pixmap;

/// Blocks in a row.
pub(super) const COLUMNS: u32 = 32;
/// Rows of blocks.
pub(super) const ROWS: u32 = 2;

/// Soft black and white: far enough apart (luma 47 and 171 of 255) to be read, not to shout.
const DARK: [u8; 3] = [0x26, 0x30, 0x3a];
const LIGHT: [u8; 3] = [0xa2, 0xad, 0xb6];

/// The edge of a block in pixels.
pub(super) fn edge(width: u32) -> u32 {
    (width / 40).max(1)
}

/// The 64 bits that tell `t_ms` and `counter`.
pub(super) fn encode(t_ms: i64, counter: u32) -> u64 {
    let time = t_ms.cast_unsigned() & ((1 << 42) - 1);
    let head = (0b10 << 54) | (time << 12) | u64::from(counter & 0xfff);
    (head << 8) | u64::from(crc8(&head.to_be_bytes()[1..]))
}

/// Paints the blocks of `bits`.
pub(super) fn paint(bits: u64, out: &mut Pixmap) {
    let (width, height) = (out.width(), out.height());
    let edge = edge(width);
    let data = out.data_mut();
    for y in 0..(ROWS * edge).min(height) {
        for x in 0..COLUMNS * edge {
            let bit = 63 - (y / edge * COLUMNS + x / edge);
            let [r, g, b] = if bits >> bit & 1 == 1 { LIGHT } else { DARK };
            let at = (y * width + x) as usize * 4;
            data[at..at + 4].copy_from_slice(&[r, g, b, 255]);
        }
    }
}

fn crc8(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |crc, byte| (0..8).fold(crc ^ byte, |c: u8, _| if c & 0x80 == 0 { c << 1 } else { c << 1 ^ 7 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the blocks as a frame-clock reader does: the mean luma round a block's middle.
    fn read(pixmap: &Pixmap) -> Option<(i64, u32)> {
        let edge = edge(pixmap.width());
        let quarter = (edge / 4).max(1);
        let mut bits = 0u64;
        for block in 0..ROWS * COLUMNS {
            let (x, y) = (block % COLUMNS * edge + edge / 2, block / COLUMNS * edge + edge / 2);
            let mut luma = 0.0;
            for dy in [0, quarter, 2 * quarter] {
                for dx in [0, quarter, 2 * quarter] {
                    let p = pixmap.pixel(x + dx - quarter, y + dy - quarter)?;
                    luma += 0.299 * f32::from(p.red()) + 0.587 * f32::from(p.green()) + 0.114 * f32::from(p.blue());
                }
            }
            bits = bits << 1 | u64::from(luma >= 9.0 * 128.0);
        }
        let head = bits >> 8;
        (head >> 54 == 0b10 && u64::from(crc8(&head.to_be_bytes()[1..])) == bits & 0xff)
            .then_some((((head >> 12) & ((1 << 42) - 1)).cast_signed(), (head & 0xfff) as u32))
    }

    #[test]
    fn a_drawn_strip_reads_back() {
        for (width, height) in [(1280, 720), (640, 360), (416, 234)] {
            let mut scene = super::super::Scene::new(width, height, 1);
            let mut pixmap = Pixmap::new(width, height).expect("a pixmap of fair size");
            for (t_ms, counter) in [(1_760_000_000_123, 5), (1_795_432_198_765, 4095), (0, 0), ((1 << 42) - 1, 77)] {
                scene.draw(t_ms, counter, &mut pixmap);
                assert_eq!(read(&pixmap), Some((t_ms, counter)), "{width}x{height}");
            }
        }
    }

    #[test]
    fn a_broken_block_is_noticed() {
        let mut pixmap = Pixmap::new(1280, 720).expect("a pixmap of fair size");
        for bit in 0..64 {
            paint(encode(1_760_000_000_123, 9) ^ (1 << bit), &mut pixmap);
            assert_eq!(read(&pixmap), None, "bit {bit}");
        }
    }

    #[test]
    fn the_crc_is_the_usual_one() {
        assert_eq!(crc8(b"123456789"), 0xf4);
    }
}
