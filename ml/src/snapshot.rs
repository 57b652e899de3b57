//! The picture of an alert as a JPEG: clean (no boxes drawn), at most 1280 pixels wide.

use crate::{decode::Picture, image::Image, preprocess::Scaler};
use image::codecs::jpeg::JpegEncoder;

/// Widest snapshot, in pixels.
pub const WIDEST: usize = 1280;
/// JPEG quality.
const QUALITY: u8 = 80;

/// Encodes a picture. `None` if it cannot be read.
pub fn jpeg(picture: &Picture) -> Option<Vec<u8>> {
    picture.with_image(encode)?
}

/// Encodes an image.
pub fn encode(image: &Image<'_>) -> Option<Vec<u8>> {
    let width = image.width.min(WIDEST);
    let height = (image.height * width / image.width).max(1);
    let mut pixels = vec![0u8; width * height * 3];
    Scaler::default().rows(image, width, height, |y, [red, green, blue]| {
        let row = &mut pixels[y * width * 3..][..width * 3];
        for (pixel, ((r, g), b)) in row.chunks_exact_mut(3).zip(red.iter().zip(green).zip(blue)) {
            // Saturates at 0 and 255.
            pixel.copy_from_slice(&[(r + 0.5) as u8, (g + 0.5) as u8, (b + 0.5) as u8]);
        }
    });
    let mut bytes = Vec::with_capacity(pixels.len() / 10);
    let size = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode(&pixels, size.0, size.1, image::ExtendedColorType::Rgb8)
        .ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    #[test]
    fn a_snapshot_is_a_jpeg_of_the_picture_and_not_wider_than_allowed() {
        let (width, height) = (1921, 1081);
        let pixels: Vec<u8> = (0..height)
            .flat_map(|_| (0..width).flat_map(|x| if x < width / 2 { [250, 10, 10] } else { [10, 10, 250] }))
            .collect();
        let bytes = encode(&Image::rgb(width, height, &pixels).expect("long enough")).expect("encoded");
        let back = ::image::load_from_memory(&bytes).expect("a JPEG").to_rgb8();
        assert_eq!((back.width(), back.height()), (1280, 720));
        let (left, right) = (back.get_pixel(100, 300).0, back.get_pixel(1200, 300).0);
        assert!(left[0] > 200 && left[2] < 60 && right[2] > 200 && right[0] < 60, "{left:?} {right:?}");
        assert!(encode(&Image::rgb(1, 1, &[1, 2, 3]).expect("long enough")).is_some());
    }
}
