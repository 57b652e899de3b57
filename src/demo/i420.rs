//! RGBA pictures as I420 (BT.709, limited range), converting only what changed: most of a street stands still.

use tiny_skia::Pixmap;

/// Pixels in a row of a tile, the unit that is compared and converted. Tiles are two rows high, as chroma is.
const TILE: usize = 64;

/// The last picture, in both forms.
pub(super) struct I420 {
    width: usize,
    height: usize,
    before: Vec<u8>,
    planes: Vec<u8>,
}

impl I420 {
    /// Pictures of this size; both sides are even.
    pub(super) fn new(width: u32, height: u32) -> I420 {
        let (width, height) = (width as usize, height as usize);
        // Nothing drawn is transparent, so every pixel differs from these.
        I420 { width, height, before: vec![0; width * height * 4], planes: vec![0; width * height * 3 / 2] }
    }

    /// `picture` as Y, U and V planes, one after the other without padding.
    pub(super) fn convert(&mut self, picture: &Pixmap) -> &[u8] {
        let data = picture.data();
        let stride = self.width * 4;
        for y in (0..self.height).step_by(2) {
            for x in (0..self.width).step_by(TILE) {
                let wide = TILE.min(self.width - x);
                let upper = y * stride + x * 4..y * stride + (x + wide) * 4;
                let lower = upper.start + stride..upper.end + stride;
                if data[upper.clone()] != self.before[upper.clone()]
                    || data[lower.clone()] != self.before[lower.clone()]
                {
                    self.before[upper.clone()].copy_from_slice(&data[upper.clone()]);
                    self.before[lower.clone()].copy_from_slice(&data[lower.clone()]);
                    self.tile(x, y, &data[upper], &data[lower]);
                }
            }
        }
        &self.planes
    }

    fn tile(&mut self, x: usize, y: usize, upper: &[u8], lower: &[u8]) {
        let (luma, chroma) = self.planes.split_at_mut(self.width * self.height);
        let (u, v) = chroma.split_at_mut(self.width * self.height / 4);
        for (row, pixels) in [(y, upper), (y + 1, lower)] {
            let out = &mut luma[row * self.width + x..];
            for (out, pixel) in out.iter_mut().zip(pixels.chunks_exact(4)) {
                *out = to_luma(i32::from(pixel[0]), i32::from(pixel[1]), i32::from(pixel[2]));
            }
        }
        let at = y / 2 * (self.width / 2) + x / 2;
        for (i, (a, b)) in upper.chunks_exact(8).zip(lower.chunks_exact(8)).enumerate() {
            let mean =
                |c: usize| (i32::from(a[c]) + i32::from(a[c + 4]) + i32::from(b[c]) + i32::from(b[c + 4]) + 2) >> 2;
            (u[at + i], v[at + i]) = to_chroma(mean(0), mean(1), mean(2));
        }
    }
}

/// ITU-R BT.709 in 16.16 fixed point, 16 to 235.
fn to_luma(r: i32, g: i32, b: i32) -> u8 {
    ((11_966 * r + 40_254 * g + 4_064 * b + (16 << 16) + 32_768) >> 16) as u8
}

/// ITU-R BT.709 in 16.16 fixed point, 16 to 240.
fn to_chroma(r: i32, g: i32, b: i32) -> (u8, u8) {
    let centre = (128 << 16) + 32_768;
    let u = (-6_596 * r - 22_189 * g + 28_785 * b + centre) >> 16;
    let v = (28_785 * r - 26_145 * g - 2_640 * b + centre) >> 16;
    (u as u8, v as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_skia::Color;

    #[test]
    fn colours_are_those_of_bt_709() {
        assert_eq!((to_luma(0, 0, 0), to_chroma(0, 0, 0)), (16, (128, 128)));
        assert_eq!((to_luma(255, 255, 255), to_chroma(255, 255, 255)), (235, (128, 128)));
        assert_eq!((to_luma(255, 0, 0), to_chroma(255, 0, 0)), (63, (102, 240)));
        assert_eq!((to_luma(0, 0, 255), to_chroma(0, 0, 255)), (32, (240, 118)));
    }

    #[test]
    fn a_changed_pixel_is_converted_and_the_rest_kept() {
        let mut picture = Pixmap::new(200, 6).expect("a pixmap of fair size");
        picture.fill(Color::WHITE);
        let mut converter = I420::new(200, 6);
        assert!(converter.convert(&picture)[..1200].iter().all(|y| *y == 235));
        let at = (3 * 200 + 199) * 4;
        picture.data_mut()[at..at + 3].copy_from_slice(&[0, 0, 0]);
        let changed = converter.convert(&picture).to_vec();
        assert_eq!(changed[3 * 200 + 199], 16);
        assert_eq!(changed[..1200].iter().filter(|y| **y == 235).count(), 1199);
        assert_eq!(changed, I420::new(200, 6).convert(&picture));
    }
}
