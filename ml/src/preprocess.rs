//! From a picture to a model's input: scaling as OpenCV's INTER_LINEAR does, colour, letterbox. No allocation per picture
//! once the sizes are known.
//!
//! Luma and chroma are scaled first and become colours at the small size: both steps are linear, so the order makes no
//! difference but for clipping, and the colour arithmetic runs on the model's pixels instead of the camera's.

use crate::image::{Image, Matrix, Plane};
use crate::layout::Pixels;
use std::sync::{Arc, Mutex, PoisonError};

/// Grey of the padding, as YOLOX was trained with.
pub const PAD: u8 = 114;

/// Where the samples of one axis come from.
#[derive(Default)]
struct Axis {
    source: usize,
    target: usize,
    taps: Vec<Tap>,
}

/// A target sample mixes the source samples `low` and the one after it.
#[derive(Clone, Copy)]
struct Tap {
    low: u32,
    /// Weight of the one after, in 1/256.
    weight: u32,
}

impl Axis {
    /// Centres are aligned as OpenCV does: (i + ½) · source / target − ½, held at the edges. Chroma (where
    /// `source` is not `full`) is mapped on the full-size axis first, then onto samples that lie between its pixels.
    fn fit(&mut self, source: usize, target: usize, full: usize) {
        if (self.source, self.target) == (source, target) {
            return;
        }
        (self.source, self.target) = (source, target);
        self.taps.clear();
        self.taps.extend((0..target).map(|i| {
            let at = (i as f64 + 0.5) * full as f64 / target as f64 - 0.5;
            let at = if source == full { at } else { (at + 0.5) / 2.0 - 0.5 };
            let at = at.clamp(0.0, (source - 1) as f64);
            Tap { low: at.floor() as u32, weight: ((at - at.floor()) * 256.0).round() as u32 }
        }));
    }
}

/// Scales one channel; keeps its tables and its row between pictures.
#[derive(Default)]
struct Channel {
    across: Axis,
    down: Axis,
    /// Two source rows mixed, each sample × 256.
    mixed: Vec<u16>,
    /// One target row, each sample × 2¹⁶.
    sums: Vec<i32>,
    /// One target row.
    row: Vec<f32>,
}

impl Channel {
    fn fit(&mut self, size: (usize, usize), full: (usize, usize), target: (usize, usize)) {
        self.across.fit(size.0, target.0, full.0);
        self.down.fit(size.1, target.1, full.1);
        self.sums.resize(target.0, 0);
        self.row.resize(target.0, 0.0);
    }

    /// Fills `row` with target row `y`.
    fn scale_row(&mut self, plane: &Plane<'_>, y: usize) {
        let width = self.across.source;
        let Tap { low, weight } = self.down.taps[y];
        let upper = plane.row(low as usize, width);
        let lower = plane.row((low as usize + 1).min(self.down.source - 1), width);
        let weight = weight as u16;
        let (step, len) = (plane.step, upper.len());
        self.mixed.resize(len + step, 0);
        // 255 · 256 fits in 16 bits, so this runs many samples at a time.
        for ((mixed, a), b) in self.mixed.iter_mut().zip(upper).zip(lower) {
            *mixed = u16::from(*a) * (256 - weight) + u16::from(*b) * weight;
        }
        // The last sample has one after it as well: itself.
        self.mixed[len + step - 1] = self.mixed[len - 1];
        match step {
            1 => self.mix_across::<1>(),
            2 => self.mix_across::<2>(),
            _ => self.mix_across::<3>(),
        }
    }

    /// Fills `row` from `mixed`; a step that is known lets the compiler see that both samples are there.
    fn mix_across<const STEP: usize>(&mut self) {
        let lows = &self.mixed[..self.mixed.len() - STEP];
        let nexts = &self.mixed[STEP..][..lows.len()];
        for (sum, tap) in self.sums.iter_mut().zip(&self.across.taps) {
            let at = tap.low as usize * STEP;
            let (Some(a), Some(b)) = (lows.get(at), nexts.get(at)) else { continue };
            let (a, b) = (i32::from(*a), i32::from(*b));
            // a · (256 − weight) + b · weight: at most 255 · 2¹⁶.
            *sum = a * 256 + (b - a) * tap.weight as i32;
        }
        // Apart from the above, which jumps about in memory, so that this runs many samples at a time.
        for (target, sum) in self.row.iter_mut().zip(&self.sums) {
            *target = *sum as f32 * (1.0 / 65_536.0);
        }
    }
}

/// Scales pictures to a size, row by row. Reused, so that its tables are made once per camera size.
#[derive(Default)]
pub struct Scaler {
    channels: [Channel; 3],
}

impl Scaler {
    /// Scales `image` to `width` × `height` (both at least 1) and gives each row as red, green, blue in 0–255.
    pub fn rows(&mut self, image: &Image<'_>, width: usize, height: usize, mut row: impl FnMut(usize, [&[f32]; 3])) {
        for (at, channel) in self.channels.iter_mut().enumerate() {
            channel.fit(image.channel_size(at), (image.width, image.height), (width, height));
        }
        for y in 0..height {
            for (channel, plane) in self.channels.iter_mut().zip(&image.channels) {
                channel.scale_row(plane, y);
            }
            let [a, b, c] = &mut self.channels;
            if let Some(matrix) = image.matrix {
                to_rgb(matrix, &mut a.row, &mut b.row, &mut c.row);
            }
            row(y, [&a.row, &b.row, &c.row]);
        }
    }
}

/// Y, U, V to red, green, blue in place.
fn to_rgb(matrix: Matrix, y: &mut [f32], u: &mut [f32], v: &mut [f32]) {
    let Matrix { kr, kb, full_range } = matrix;
    let kg = 1.0 - kr - kb;
    let (black, luma, chroma) = if full_range { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
    let (red_v, blue_u) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
    let (green_u, green_v) = (blue_u * kb / kg, red_v * kr / kg);
    for ((y, u), v) in y.iter_mut().zip(u.iter_mut()).zip(v.iter_mut()) {
        let (light, blue, red) = ((*y - black) * luma, *u - 128.0, *v - 128.0);
        *y = (light + red_v * red).clamp(0.0, 255.0);
        *u = (light - green_u * blue - green_v * red).clamp(0.0, 255.0);
        *v = (light + blue_u * blue).clamp(0.0, 255.0);
    }
}

/// A tensor's numbers and how much of them the last picture covered; everything beside that is padding.
struct Buffer {
    tensor: Vec<f32>,
    filled: (usize, usize),
}

/// A picture that is ready for the model: the input tensor, and how the picture lies in it. When it is dropped, its buffer
/// goes back to the [`Letterbox`] that made it.
pub struct Input {
    buffer: Buffer,
    /// Input pixels per picture pixel.
    pub scale: f32,
    /// Width and height of the picture, in its own pixels.
    pub picture: (usize, usize),
    spare: Arc<Mutex<Vec<Buffer>>>,
}

impl Input {
    /// The tensor's numbers, `[1, 3, height, width]`.
    pub fn tensor(&self) -> &[f32] {
        &self.buffer.tensor
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let buffer = Buffer { tensor: std::mem::take(&mut self.buffer.tensor), filled: self.buffer.filled };
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MOST_SPARE {
            spare.push(buffer);
        }
    }
}

/// Buffers kept for the next pictures of a stream: one that is being filled, those that wait and one that the model is at.
const MOST_SPARE: usize = 4;

/// Makes pictures ready for a model: one per stream, on the thread that decodes it, so that the model's thread need not.
pub struct Letterbox {
    width: usize,
    height: usize,
    pixels: Pixels,
    scaler: Scaler,
    spare: Arc<Mutex<Vec<Buffer>>>,
}

impl Letterbox {
    /// For a model that takes `[1, 3, height, width]`.
    pub fn new(width: usize, height: usize, pixels: Pixels) -> Letterbox {
        Letterbox { width, height, pixels, scaler: Scaler::default(), spare: Arc::default() }
    }

    /// Puts a picture into the top left corner of a tensor, as large as fits.
    pub fn fill(&mut self, image: &Image<'_>) -> Input {
        let scale = (self.width as f64 / image.width as f64).min(self.height as f64 / image.height as f64);
        let width = ((image.width as f64 * scale) as usize).clamp(1, self.width);
        let height = ((image.height as f64 * scale) as usize).clamp(1, self.height);
        let mut buffer = self.buffer((width, height));
        let (row_len, plane_len) = (self.width, self.width * self.height);
        let (order, factor) = match self.pixels {
            Pixels::Bgr255 => ([2, 1, 0], 1.0),
            Pixels::Rgb01 => ([0, 1, 2], 1.0 / 255.0),
        };
        let tensor = &mut buffer.tensor;
        self.scaler.rows(image, width, height, |y, rgb| {
            for (plane, channel) in order.into_iter().enumerate() {
                let target = &mut tensor[plane * plane_len + y * row_len..][..width];
                target.iter_mut().zip(rgb[channel]).for_each(|(t, s)| *t = *s * factor);
            }
        });
        Input { buffer, scale: scale as f32, picture: (image.width, image.height), spare: self.spare.clone() }
    }

    /// A buffer in which all but the top left `fills` is padding.
    fn buffer(&self, fills: (usize, usize)) -> Buffer {
        let pad = match self.pixels {
            Pixels::Bgr255 => f32::from(PAD),
            Pixels::Rgb01 => f32::from(PAD) / 255.0,
        };
        match self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            Some(mut buffer) => {
                if buffer.filled != fills {
                    // A picture of another shape may have covered more.
                    buffer.tensor.fill(pad);
                    buffer.filled = fills;
                }
                buffer
            }
            None => Buffer { tensor: vec![pad; 3 * self.width * self.height], filled: fills },
        }
    }
}

#[cfg(test)]
#[path = "preprocess_tests.rs"]
mod tests;
