//! A street that does not exist: the picture that the demo camera sees, and the truth about what is in it.
//!
//! Everything follows from a seed and a time: the same frame can be drawn again, and a detector can be trained on frames whose
//! boxes are known. Drawing only; encoding and serving are the camera's.

mod background;
mod bicycle;
mod canvas;
mod caption;
mod car;
mod dice;
mod light;
mod marker;
mod person;
mod traffic;

use canvas::{Canvas, Extent};
use light::Light;
use serde::Serialize;
use tiny_skia::Pixmap;

/// The scene's own units, which a picture of any size is scaled from.
const WIDTH: f32 = 1280.0;

/// The light moves on in steps, so that the background can be kept.
const LIGHT_STEP_MS: i64 = 60_000;

/// Less of a thing than this cannot be told from the background, and is not labelled.
const LEAST_SHARE: f32 = 0.04;

/// What a thing on the street is. A bicycle includes its rider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// Somebody on foot.
    Person,
    /// A bicycle and whoever rides it.
    Bicycle,
    /// A car or a van.
    Car,
}

/// A box in pixels of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Bounds {
    /// From the left edge.
    pub(crate) left: f32,
    /// From the top edge.
    pub(crate) top: f32,
    /// From the left edge, exclusive.
    pub(crate) right: f32,
    /// From the top edge, exclusive.
    pub(crate) bottom: f32,
}

/// A thing in the picture, and where.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Labelled {
    /// What it is.
    pub(crate) class: Class,
    /// The part of it that can be seen.
    pub(crate) bounds: Bounds,
    /// How much of it that is, 0 to 1.
    pub(crate) share: f32,
    /// All of it is inside the frame, and hardly any of it hidden.
    pub(crate) whole: bool,
}

/// The street at one size.
pub(crate) struct Scene {
    width: u32,
    height: u32,
    seed: u64,
    background: Option<(i64, Pixmap)>,
}

impl Scene {
    /// A street of its own for each `seed`, drawn `width` pixels wide. Meant for 16:9; a lower picture loses the pavement.
    pub(crate) fn new(width: u32, height: u32, seed: u64) -> Scene {
        Scene { width, height, seed, background: None }
    }

    /// Draws the street at `t_ms` (Unix milliseconds), with the time and `counter` burned in. Every pixel is opaque.
    ///
    /// # Panics
    /// If `out` has another size than the scene.
    pub(crate) fn draw(&mut self, t_ms: i64, counter: u32, out: &mut Pixmap) {
        assert_eq!((out.width(), out.height()), (self.width, self.height), "the picture has the scene's size");
        let step = t_ms.div_euclid(LIGHT_STEP_MS);
        let light = Light::at(step * LIGHT_STEP_MS);
        let scale = self.scale();
        if self.background.as_ref().is_none_or(|(of, _)| *of != step) {
            let mut kept = self.background.take().map_or_else(|| out.clone(), |(_, kept)| kept);
            // Edges blend with what was there before: nothing, whatever the hour.
            kept.fill(tiny_skia::Color::BLACK);
            background::draw(&mut Canvas::new(&mut kept, scale, light), self.seed);
            self.background = Some((step, kept));
        }
        if let Some((_, kept)) = &self.background {
            out.data_mut().copy_from_slice(kept.data());
        }
        let mut canvas = Canvas::new(out, scale, light);
        let actors = traffic::at(self.seed, t_ms);
        let (behind, before) = actors.split_at(actors.partition_point(|actor| actor.y < background::NEAR_KERB));
        behind.iter().for_each(|actor| actor.draw(&mut canvas));
        background::street_lamps(&mut canvas);
        before.iter().for_each(|actor| actor.draw(&mut canvas));
        caption::clock(&mut canvas, t_ms);
        marker::paint(marker::encode(t_ms, counter), out);
    }

    /// What can be seen at `t_ms`, the farthest first. Things that are outside the frame or hidden are left out.
    pub(crate) fn objects(&self, t_ms: i64) -> Vec<Labelled> {
        let actors = traffic::at(self.seed, t_ms);
        let extents: Vec<Extent> = actors.iter().map(|actor| actor.extent(self.scale())).collect();
        let frame = Extent {
            left: 0.0,
            top: caption::HEIGHT * self.scale(),
            right: self.width as f32,
            bottom: self.height as f32,
        };
        actors
            .iter()
            .enumerate()
            .filter_map(|(i, actor)| label(actor.class, extents[i], &extents[i + 1..], frame))
            .collect()
    }

    fn scale(&self) -> f32 {
        self.width as f32 / WIDTH
    }
}

/// The visible part of `thing`: the cells of a grid over its part inside the frame that are behind none of `nearer`.
fn label(class: Class, thing: Extent, nearer: &[Extent], frame: Extent) -> Option<Labelled> {
    const CELLS: usize = 24;
    let part = Extent {
        left: thing.left.max(frame.left),
        top: thing.top.max(frame.top),
        right: thing.right.min(frame.right),
        bottom: thing.bottom.min(frame.bottom),
    };
    if part.right <= part.left || part.bottom <= part.top {
        return None;
    }
    let (cell_x, cell_y) = ((part.right - part.left) / CELLS as f32, (part.bottom - part.top) / CELLS as f32);
    // First and last row and column with a cell in view.
    let (mut rows, mut columns) = ((CELLS, 0), (CELLS, 0));
    let mut count = 0;
    for (row, column) in (0..CELLS * CELLS).map(|cell| (cell / CELLS, cell % CELLS)) {
        let (x, y) = (part.left + (column as f32 + 0.5) * cell_x, part.top + (row as f32 + 0.5) * cell_y);
        if !nearer.iter().any(|other| covers(other, x, y)) {
            count += 1;
            rows = (rows.0.min(row), rows.1.max(row + 1));
            columns = (columns.0.min(column), columns.1.max(column + 1));
        }
    }
    let cells_of_all = (thing.right - thing.left) * (thing.bottom - thing.top) / (cell_x * cell_y);
    let share = count as f32 / cells_of_all;
    if share < LEAST_SHARE {
        return None;
    }
    let bounds = Bounds {
        left: part.left + columns.0 as f32 * cell_x,
        top: part.top + rows.0 as f32 * cell_y,
        right: (part.left + columns.1 as f32 * cell_x).min(part.right),
        bottom: (part.top + rows.1 as f32 * cell_y).min(part.bottom),
    };
    Some(Labelled { class, bounds, share, whole: part == thing && count >= CELLS * CELLS * 9 / 10 })
}

/// Things do not fill the corners of their boxes: an oval a little smaller than the box does the hiding.
fn covers(other: &Extent, x: f32, y: f32) -> bool {
    let (half_x, half_y) = ((other.right - other.left) / 2.0, (other.bottom - other.top) / 2.0);
    let (dx, dy) = ((x - other.left - half_x) / half_x, (y - other.top - half_y) / half_y);
    dx.powi(4) + dy.powi(4) < 0.75
}

#[cfg(test)]
mod tests;
