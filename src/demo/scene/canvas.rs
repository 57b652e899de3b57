//! A brush over a pixmap: shapes in the scene's own units, lit by the hour, and the box round what was drawn.

use super::light::Light;
use tiny_skia::{
    Color, FillRule, GradientStop, LineCap, LineJoin, LinearGradient, Paint, Path, PathBuilder, Pixmap, Point, Rect,
    Shader, SpreadMode, Stroke, Transform,
};

/// Red, green, blue and opacity. A colour above 255 is one that shines: brighter than white paper at noon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink(pub(super) u16, pub(super) u16, pub(super) u16, pub(super) u8);

/// An opaque colour from `0xRRGGBB`.
pub(super) const fn ink(rgb: u32) -> Ink {
    Ink((rgb >> 16 & 255) as u16, (rgb >> 8 & 255) as u16, (rgb & 255) as u16, 255)
}

impl Ink {
    /// The same colour, less opaque (0 to 255).
    pub(super) const fn veil(self, alpha: u8) -> Ink {
        Ink(self.0, self.1, self.2, alpha)
    }

    /// Darker (below 1) or lighter (above 1).
    pub(super) fn shade(self, by: f32) -> Ink {
        let channel = |c: u16| (f32::from(c) * by).clamp(0.0, 1024.0) as u16;
        Ink(channel(self.0), channel(self.1), channel(self.2), self.3)
    }
}

/// Left, top, right and bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
}

impl Extent {
    const NOTHING: Extent = Extent { left: f32::MAX, top: f32::MAX, right: f32::MIN, bottom: f32::MIN };

    fn include(&mut self, x: f32, y: f32) {
        self.left = self.left.min(x);
        self.top = self.top.min(y);
        self.right = self.right.max(x);
        self.bottom = self.bottom.max(y);
    }
}

/// The brush. Without a pixmap it only measures.
pub(super) struct Canvas<'a> {
    out: Option<&'a mut Pixmap>,
    to_pixels: Transform,
    light: Light,
    extent: Extent,
    /// Shadows and beams of light are no part of the thing that casts them.
    measuring: bool,
}

impl<'a> Canvas<'a> {
    /// Draws on `out`, `scale` pixels to a unit.
    pub(super) fn new(out: &'a mut Pixmap, scale: f32, light: Light) -> Canvas<'a> {
        Canvas {
            out: Some(out),
            to_pixels: Transform::from_scale(scale, scale),
            light,
            extent: Extent::NOTHING,
            measuring: true,
        }
    }

    /// Draws nowhere; for [`Canvas::extent`] alone.
    pub(super) fn ruler(scale: f32) -> Canvas<'static> {
        let to_pixels = Transform::from_scale(scale, scale);
        Canvas { out: None, to_pixels, light: Light::noon(), extent: Extent::NOTHING, measuring: true }
    }

    /// The box in pixels round what was drawn so far, effects not counted.
    pub(super) fn extent(&self) -> Extent {
        self.extent
    }

    /// The light that this canvas paints in.
    pub(super) fn light(&self) -> Light {
        self.light
    }

    /// Draws with the origin moved to `x`, `y` and units of another size; a negative `scale_x` mirrors.
    pub(super) fn place(&mut self, x: f32, y: f32, scale_x: f32, scale_y: f32, draw: impl FnOnce(&mut Self)) {
        let outer = self.to_pixels;
        self.to_pixels = outer.pre_translate(x, y).pre_scale(scale_x, scale_y);
        draw(self);
        self.to_pixels = outer;
    }

    /// Draws what does not count as part of the thing: its shadow, its lights' beams.
    pub(super) fn effect(&mut self, draw: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.measuring, false);
        draw(self);
        self.measuring = outer;
    }

    /// An axis-aligned rectangle.
    pub(super) fn rect(&mut self, x: f32, y: f32, width: f32, height: f32, ink: Ink) {
        if let Some(rect) = Rect::from_xywh(x, y, width, height) {
            self.fill(&PathBuilder::from_rect(rect), ink);
        }
    }

    /// A rectangle whose colour runs from `top` down to `bottom`.
    pub(super) fn wash(&mut self, x: f32, y: f32, width: f32, height: f32, top: Ink, bottom: Ink) {
        let Some(rect) = Rect::from_xywh(x, y, width, height) else { return };
        let stops = vec![GradientStop::new(0.0, self.lit(top)), GradientStop::new(1.0, self.lit(bottom))];
        let (from, to) = (Point::from_xy(x, y), Point::from_xy(x, y + height));
        let Some(shader) = LinearGradient::new(from, to, stops, SpreadMode::Pad, Transform::identity()) else { return };
        self.paint(&PathBuilder::from_rect(rect), shader);
    }

    /// A rectangle with rounded corners.
    pub(super) fn round_rect(&mut self, x: f32, y: f32, width: f32, height: f32, radius: f32, ink: Ink) {
        let r = radius.min(width / 2.0).min(height / 2.0);
        let (right, bottom) = (x + width, y + height);
        let mut path = PathBuilder::new();
        path.move_to(x + r, y);
        path.line_to(right - r, y);
        path.quad_to(right, y, right, y + r);
        path.line_to(right, bottom - r);
        path.quad_to(right, bottom, right - r, bottom);
        path.line_to(x + r, bottom);
        path.quad_to(x, bottom, x, bottom - r);
        path.line_to(x, y + r);
        path.quad_to(x, y, x + r, y);
        path.close();
        self.shape(path, ink);
    }

    /// An ellipse by centre and radii.
    pub(super) fn oval(&mut self, x: f32, y: f32, radius_x: f32, radius_y: f32, ink: Ink) {
        if let Some(path) =
            Rect::from_xywh(x - radius_x, y - radius_y, 2.0 * radius_x, 2.0 * radius_y).and_then(PathBuilder::from_oval)
        {
            self.fill(&path, ink);
        }
    }

    /// A ring: the outline of a circle.
    pub(super) fn ring(&mut self, x: f32, y: f32, radius: f32, width: f32, ink: Ink) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            self.stroke(&path, width, ink);
        }
    }

    /// A closed polygon.
    pub(super) fn polygon(&mut self, points: &[(f32, f32)], ink: Ink) {
        if let Some(mut path) = trace(points) {
            path.close();
            self.shape(path, ink);
        }
    }

    /// Straight lines through `points`, with round ends and corners.
    pub(super) fn line(&mut self, points: &[(f32, f32)], width: f32, ink: Ink) {
        if let Some(path) = trace(points).and_then(PathBuilder::finish) {
            self.stroke(&path, width, ink);
        }
    }

    /// A closed polygon whose corners, given as x, y and radius, are rounded.
    pub(super) fn pebble(&mut self, corners: &[(f32, f32, f32)], ink: Ink) {
        let toward = |from: (f32, f32, f32), to: (f32, f32, f32)| {
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let share = (from.2 / dx.hypot(dy).max(0.001)).min(0.5);
            (from.0 + dx * share, from.1 + dy * share)
        };
        let mut path = PathBuilder::new();
        for (i, &corner) in corners.iter().enumerate() {
            let enter = toward(corner, corners[(i + corners.len() - 1) % corners.len()]);
            let leave = toward(corner, corners[(i + 1) % corners.len()]);
            if i == 0 {
                path.move_to(enter.0, enter.1);
            } else {
                path.line_to(enter.0, enter.1);
            }
            path.quad_to(corner.0, corner.1, leave.0, leave.1);
        }
        path.close();
        self.shape(path, ink);
    }

    /// Whatever was built, filled.
    pub(super) fn shape(&mut self, path: PathBuilder, ink: Ink) {
        if let Some(path) = path.finish() {
            self.fill(&path, ink);
        }
    }

    fn fill(&mut self, path: &Path, ink: Ink) {
        let shader = Shader::SolidColor(self.lit(ink));
        self.paint(path, shader);
    }

    fn paint(&mut self, path: &Path, shader: Shader<'_>) {
        self.measure(path, 0.0);
        if let Some(out) = &mut self.out {
            out.fill_path(
                path,
                &Paint { shader, anti_alias: true, ..Paint::default() },
                FillRule::Winding,
                self.to_pixels,
                None,
            );
        }
    }

    fn stroke(&mut self, path: &Path, width: f32, ink: Ink) {
        self.measure(path, width / 2.0);
        let shader = Shader::SolidColor(self.lit(ink));
        if let Some(out) = &mut self.out {
            let stroke = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
            out.stroke_path(
                path,
                &Paint { shader, anti_alias: true, ..Paint::default() },
                &stroke,
                self.to_pixels,
                None,
            );
        }
    }

    fn lit(&self, ink: Ink) -> Color {
        let [r, g, b] = self.light.on(ink);
        Color::from_rgba8(r, g, b, ink.3)
    }

    fn measure(&mut self, path: &Path, margin: f32) {
        if !self.measuring {
            return;
        }
        let bounds = path.bounds();
        let (left, right) = (bounds.left() - margin, bounds.right() + margin);
        let (top, bottom) = (bounds.top() - margin, bounds.bottom() + margin);
        for (x, y) in [(left, top), (right, top), (left, bottom), (right, bottom)] {
            let mut point = Point::from_xy(x, y);
            self.to_pixels.map_point(&mut point);
            self.extent.include(point.x, point.y);
        }
    }
}

fn trace(points: &[(f32, f32)]) -> Option<PathBuilder> {
    let (first, rest) = points.split_first()?;
    let mut path = PathBuilder::new();
    path.move_to(first.0, first.1);
    for point in rest {
        path.line_to(point.0, point.1);
    }
    Some(path)
}
