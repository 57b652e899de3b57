//! What a model takes and gives: recognised by the names and shapes of its tensors when it is loaded, pure.
//!
//! A model that is none of these is refused with all of its tensors named, never guessed at.

use crate::preprocess::Letterbox;
use std::fmt;

/// The element type of a tensor, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floats.
    F32,
    /// 64-bit integers.
    I64,
    /// Anything else.
    Other,
}

/// One input or output of a model. A dimension that the model leaves open is −1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub element: Element,
    /// Its shape.
    pub shape: Vec<i64>,
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} [", self.name, self.element)?;
        for (at, dimension) in self.shape.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            if *dimension < 0 { write!(f, "{comma}?")? } else { write!(f, "{comma}{dimension}")? }
        }
        f.write_str("]")
    }
}

/// How a model wants its pixels: the metadata key `input`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixels {
    /// Blue, green, red in 0–255 (`bgr255`, what YOLOX exports take; the default).
    Bgr255,
    /// Red, green, blue in 0–1 (`rgb01`).
    Rgb01,
}

/// What the outputs mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// `[1, N, 5 + classes]` with N the cells of strides 8, 16 and 32 in this order: a YOLOX export without decoding inside.
    YoloxGrid {
        /// Number of classes.
        classes: usize,
    },
    /// `boxes [N, 4]` as left, top, right, bottom in input pixels, `scores [N]`, `labels [N]`: suppression is inside the model.
    EndToEnd,
}

/// All that is needed to run a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Width of the input in pixels.
    pub width: usize,
    /// Height of the input in pixels.
    pub height: usize,
    /// How it wants its pixels.
    pub pixels: Pixels,
    /// What the outputs mean.
    pub output: Output,
    /// Class names by class number.
    pub names: Vec<String>,
}

/// The grids of YOLOX, in the order of its rows.
pub const STRIDES: [usize; 3] = [8, 16, 32];

/// No camera picture needs a larger input; keeps one foreign model file from asking for gigabytes.
const LARGEST_SIDE: i64 = 4096;

/// Rows of a YOLOX output for an input of this size.
pub fn cells(width: usize, height: usize) -> usize {
    STRIDES.iter().map(|s| (width / s) * (height / s)).sum()
}

impl Layout {
    /// What makes pictures ready for this model.
    pub fn letterbox(&self) -> Letterbox {
        Letterbox::new(self.width, self.height, self.pixels)
    }

    /// Recognises a model by its tensors and its metadata (`names`: a JSON list of class names; `input`: see [`Pixels`]).
    /// The error says what the model has.
    pub fn recognise(
        inputs: &[Tensor],
        outputs: &[Tensor],
        names: Option<&str>,
        input: Option<&str>,
    ) -> Result<Layout, String> {
        let refuse = |why: &str| format!("{why}; it has inputs {} and outputs {}", list(inputs), list(outputs));
        let (width, height) = match inputs {
            [Tensor { element: Element::F32, shape, .. }] => match shape[..] {
                [1 | -1, 3, h @ 32..=LARGEST_SIDE, w @ 32..=LARGEST_SIDE] => (w as usize, h as usize),
                _ => return Err(refuse("its input is not [1, 3, height, width]")),
            },
            _ => return Err(refuse("it does not take exactly one tensor of floats")),
        };
        let output = output(outputs, width, height).ok_or_else(|| refuse("its outputs are of no known layout"))?;
        let pixels = match input.map(str::trim) {
            None | Some("bgr255") => Pixels::Bgr255,
            Some("rgb01") => Pixels::Rgb01,
            Some(other) => return Err(format!("its metadata key `input` says {other:?}, known are bgr255 and rgb01")),
        };
        let names = match (names, output) {
            (Some(json), _) => parse_names(json)?,
            (None, Output::YoloxGrid { classes }) if classes != COCO.len() => {
                (0..classes).map(|n| format!("class{n}")).collect()
            }
            (None, _) => COCO.iter().map(|n| (*n).to_owned()).collect(),
        };
        match output {
            Output::YoloxGrid { classes } if classes != names.len() => {
                Err(format!("its metadata key `names` has {} names for {classes} classes", names.len()))
            }
            _ => Ok(Layout { width, height, pixels, output, names }),
        }
    }
}

fn output(outputs: &[Tensor], width: usize, height: usize) -> Option<Output> {
    let whole_cells = width.is_multiple_of(32) && height.is_multiple_of(32);
    if let [Tensor { element: Element::F32, shape, .. }] = outputs
        && let [1 | -1, rows, columns] = shape[..]
        && whole_cells
        && rows == cells(width, height) as i64
        && (6..=5 + 10_000).contains(&columns)
    {
        return Some(Output::YoloxGrid { classes: (columns - 5) as usize });
    }
    let named = |name: &str| outputs.iter().find(|t| t.name == name);
    let boxes = named("boxes").filter(|t| t.element == Element::F32 && matches!(t.shape[..], [_, 4]));
    let scores = named("scores").filter(|t| t.element == Element::F32 && t.shape.len() == 1);
    let labels = named("labels").filter(|t| t.element == Element::I64 && t.shape.len() == 1);
    (boxes.is_some() && scores.is_some() && labels.is_some()).then_some(Output::EndToEnd)
}

fn parse_names(json: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> =
        serde_json::from_str(json).map_err(|e| format!("its metadata key `names` is not a JSON list of names: {e}"))?;
    match names.iter().all(|n| !n.is_empty() && n.len() <= 64) && !names.is_empty() {
        true => Ok(names),
        false => Err("its metadata key `names` is empty or holds an empty or overlong name".into()),
    }
}

fn list(tensors: &[Tensor]) -> String {
    if tensors.is_empty() {
        return "none".into();
    }
    tensors.iter().map(Tensor::to_string).collect::<Vec<_>>().join(", ")
}

/// The classes of COCO, in the order that detectors trained on it use.
#[rustfmt::skip]
pub const COCO: [&str; 80] = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, element: Element, shape: &[i64]) -> Tensor {
        Tensor { name: name.into(), element, shape: shape.to_vec() }
    }

    #[test]
    fn recognises_yolox_of_any_size_and_end_to_end() {
        let input = [tensor("images", Element::F32, &[1, 3, 416, 416])];
        let nano = [tensor("output", Element::F32, &[1, 3549, 85])];
        let layout = Layout::recognise(&input, &nano, None, None).expect("YOLOX");
        assert_eq!((layout.width, layout.height, layout.pixels), (416, 416, Pixels::Bgr255));
        assert_eq!((layout.output, layout.names[2].as_str()), (Output::YoloxGrid { classes: 80 }, "car"));

        let small = [tensor("images", Element::F32, &[-1, 3, 192, 320])];
        let rows = [tensor("out", Element::F32, &[1, (40 * 24 + 20 * 12 + 10 * 6) as i64, 8])];
        let layout =
            Layout::recognise(&small, &rows, Some(r#"["person","bicycle","car"]"#), Some("rgb01")).expect("small");
        assert_eq!((layout.width, layout.height, layout.pixels), (320, 192, Pixels::Rgb01));
        assert_eq!(layout.names, ["person", "bicycle", "car"]);
        let unnamed = Layout::recognise(&small, &rows, None, None).expect("small without names");
        assert_eq!(unnamed.names, ["class0", "class1", "class2"]);

        let e2e = [
            tensor("boxes", Element::F32, &[-1, 4]),
            tensor("scores", Element::F32, &[-1]),
            tensor("labels", Element::I64, &[-1]),
        ];
        assert_eq!(Layout::recognise(&input, &e2e, None, None).expect("end to end").output, Output::EndToEnd);
    }

    #[test]
    fn refuses_the_rest_and_names_what_the_model_has() {
        let input = [tensor("images", Element::F32, &[1, 3, 640, 640])];
        let yolov8 = [tensor("output0", Element::F32, &[1, 84, 8400])];
        let why = Layout::recognise(&input, &yolov8, None, None).expect_err("another layout");
        assert!(why.contains("output0 F32 [1, 84, 8400]") && why.contains("images F32 [1, 3, 640, 640]"), "{why}");
        let open = [tensor("x", Element::F32, &[1, 3, -1, -1])];
        assert!(Layout::recognise(&open, &yolov8, None, None).expect_err("open size").contains("x F32 [1, 3, ?, ?]"));
        assert!(Layout::recognise(&[], &[], None, None).expect_err("nothing").contains("inputs none"));
        let grid = [tensor("o", Element::F32, &[1, 8400, 6])];
        assert!(
            Layout::recognise(&input, &grid, Some("[\"a\",\"b\"]"), None)
                .expect_err("two names")
                .contains("2 names for 1")
        );
        assert!(Layout::recognise(&input, &grid, Some("a,b"), None).is_err());
        assert!(Layout::recognise(&input, &grid, None, Some("hsv")).expect_err("pixels").contains("hsv"));
    }
}
