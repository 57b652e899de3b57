//! A picture as somebody else's bytes: planes, strides, colour. Checked once, then only read.

/// One channel of a picture: a byte each `step`, rows each `stride`.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    /// The bytes, from the first sample on.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Bytes from one sample to the next.
    pub step: usize,
}

impl Plane<'_> {
    fn holds(&self, width: usize, height: usize) -> bool {
        let last = height
            .checked_sub(1)
            .and_then(|h| h.checked_mul(self.stride))
            .zip(width.checked_sub(1).and_then(|w| w.checked_mul(self.step)));
        self.step > 0
            && last.is_some_and(|(row, column)| row.checked_add(column).is_some_and(|at| at < self.data.len()))
    }

    /// The bytes of row `y` for `width` samples.
    pub(crate) fn row(&self, y: usize, width: usize) -> &[u8] {
        &self.data[y * self.stride..][..(width - 1) * self.step + 1]
    }
}

/// How luma and chroma make red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix {
    /// Weight of red in luma.
    pub kr: f32,
    /// Weight of blue in luma.
    pub kb: f32,
    /// Whether samples use all of 0–255 (else 16–235 and 16–240).
    pub full_range: bool,
}

impl Matrix {
    /// ITU-R BT.601, limited range: what standard-definition cameras send.
    pub const BT601: Matrix = Matrix { kr: 0.299, kb: 0.114, full_range: false };
    /// ITU-R BT.709, limited range.
    pub const BT709: Matrix = Matrix { kr: 0.2126, kb: 0.0722, full_range: false };
    /// ITU-R BT.2020, limited range.
    pub const BT2020: Matrix = Matrix { kr: 0.2627, kb: 0.0593, full_range: false };
}

/// A picture of 8 bits per sample.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    pub(crate) channels: [Plane<'a>; 3],
    /// For Y, U, V with chroma of half the size; `None` for red, green, blue.
    pub(crate) matrix: Option<Matrix>,
}

impl<'a> Image<'a> {
    /// A 4:2:0 picture from its three planes (I420 has `step` 1; NV12's chroma planes share bytes with `step` 2).
    /// `None` if a plane is too short for the size or a side is 0.
    pub fn yuv420(width: usize, height: usize, channels: [Plane<'a>; 3], matrix: Matrix) -> Option<Image<'a>> {
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let fits = channels[0].holds(width, height) && channels[1..].iter().all(|c| c.holds(half_width, half_height));
        fits.then_some(Image { width, height, channels, matrix: Some(matrix) })
    }

    /// A packed I420 picture: all of Y, then U, then V, without padding.
    pub fn i420(width: usize, height: usize, data: &'a [u8], matrix: Matrix) -> Option<Image<'a>> {
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let luma = width.checked_mul(height)?;
        let chroma = half_width.checked_mul(half_height)?;
        let (y, rest) = data.split_at_checked(luma)?;
        let (u, v) = rest.split_at_checked(chroma)?;
        let plane = |data, stride| Plane { data, stride, step: 1 };
        Image::yuv420(width, height, [plane(y, width), plane(u, half_width), plane(v, half_width)], matrix)
    }

    /// Packed red, green, blue bytes without padding.
    pub fn rgb(width: usize, height: usize, data: &'a [u8]) -> Option<Image<'a>> {
        let channel = |at: usize| data.get(at..).map(|data| Plane { data, stride: width.saturating_mul(3), step: 3 });
        let channels = [channel(0)?, channel(1)?, channel(2)?];
        channels.iter().all(|c| c.holds(width, height)).then_some(Image { width, height, channels, matrix: None })
    }

    /// Size of a channel in samples.
    pub(crate) fn channel_size(&self, channel: usize) -> (usize, usize) {
        match (self.matrix, channel) {
            (Some(_), 1..) => (self.width.div_ceil(2), self.height.div_ceil(2)),
            _ => (self.width, self.height),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_that_are_too_short_are_refused() {
        let bytes = vec![0; 5 * 3 + 2 * (3 * 2)];
        assert!(Image::i420(5, 3, &bytes, Matrix::BT601).is_some());
        assert!(Image::i420(5, 3, &bytes[1..], Matrix::BT601).is_none());
        assert!(Image::i420(0, 3, &bytes, Matrix::BT601).is_none());
        assert!(Image::i420(usize::MAX, 3, &bytes, Matrix::BT601).is_none());
        assert!(Image::rgb(3, 3, &bytes).is_some());
        assert!(Image::rgb(3, 4, &bytes).is_none());
        assert!(Image::rgb(0, 0, &[]).is_none());
    }
}
