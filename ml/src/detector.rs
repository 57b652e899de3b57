//! A model with its session: a picture in, objects out.

use crate::{
    image::Image,
    layout::{Element, Layout, Output, Tensor},
    postprocess::{self, Candidate},
    preprocess::{Input, Letterbox},
    runtime::{Runtime, one_line},
};
use ort::{
    logging::LogLevel,
    session::{Session, builder::GraphOptimizationLevel},
    value::{Outlet, TensorElementType, TensorRef, ValueType},
};
use std::{path::Path, sync::Arc};
use store::records::Box01;

/// Why a model cannot be used, or did not run. One line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn of(what: &str, error: impl std::fmt::Display) -> Error {
        Error(format!("{what}: {}", one_line(&error.to_string())))
    }
}

/// One object in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The class's number in the model.
    pub class: usize,
    /// The class's name.
    pub name: Arc<str>,
    /// Score, 0–1.
    pub score: f32,
    /// Where in the picture.
    pub bounds: Box01,
}

/// A loaded model. One thread at a time runs it; its buffers are reused.
pub struct Detector {
    session: Session,
    layout: Layout,
    names: Vec<Arc<str>>,
    letterbox: Letterbox,
    candidates: Vec<Candidate>,
}

impl Detector {
    /// Loads a model file; `threads` is how many one inference uses.
    pub fn from_file(runtime: &Runtime, path: &Path, threads: usize) -> Result<Detector, Error> {
        let bytes =
            std::fs::read(path).map_err(|e| Error(format!("the model {} cannot be read: {e}", path.display())))?;
        Detector::from_bytes(runtime, &bytes, threads).map_err(|e| Error(format!("the model {}: {e}", path.display())))
    }

    /// Loads a model from its ONNX bytes.
    pub fn from_bytes(runtime: &Runtime, onnx: &[u8], threads: usize) -> Result<Detector, Error> {
        let session =
            open(runtime, onnx, threads).map_err(|e| Error::of("is not a model that ONNX Runtime takes", e))?;
        let (names, input) = match session.metadata() {
            Ok(metadata) => (metadata.custom("names"), metadata.custom("input")),
            Err(_) => (None, None),
        };
        let tensors = |outlets: &[Outlet]| outlets.iter().map(tensor).collect::<Vec<_>>();
        let layout = Layout::recognise(
            &tensors(session.inputs()),
            &tensors(session.outputs()),
            names.as_deref(),
            input.as_deref(),
        )
        .map_err(|why| Error(format!("cannot be used: {why}")))?;
        let letterbox = layout.letterbox();
        let names = layout.names.iter().map(|n| Arc::from(n.as_str())).collect();
        Ok(Detector { session, layout, names, letterbox, candidates: Vec::new() })
    }

    /// What the model takes and gives.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Finds objects with at least this score, strongest first.
    pub fn detect(&mut self, image: &Image<'_>, min_score: f32) -> Result<Vec<Found>, Error> {
        let input = self.letterbox.fill(image);
        self.detect_in(&input, min_score)
    }

    /// Finds objects in a picture that a [`Letterbox`] of this model's layout made ready.
    pub fn detect_in(&mut self, input: &Input, min_score: f32) -> Result<Vec<Found>, Error> {
        self.infer(input, min_score)?;
        let (width, height) = input.picture;
        let found = self.candidates.iter().filter_map(|c| {
            let bounds = postprocess::to_picture(&c.corners, input.scale, width, height)?;
            Some(Found { class: c.class, name: self.names.get(c.class)?.clone(), score: c.score, bounds })
        });
        Ok(found.collect())
    }

    /// Runs the model; leaves candidates.
    fn infer(&mut self, input: &Input, min_score: f32) -> Result<(), Error> {
        let Layout { width, height, output, .. } = self.layout;
        let failed = |e: ort::Error| Error::of("the model did not run", e);
        let input = TensorRef::from_array_view(([1, 3, height, width], input.tensor())).map_err(failed)?;
        let outputs = self.session.run(ort::inputs![input]).map_err(failed)?;
        let floats = |name: &str| match outputs.get(name).map(|t| t.try_extract_tensor::<f32>()) {
            Some(Ok((_, numbers))) => Ok(numbers),
            _ => Err(Error(format!("the model gave no floats as {name}"))),
        };
        match output {
            Output::YoloxGrid { classes } => {
                let (_, numbers) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
                postprocess::yolox_grid(numbers, width, height, classes, min_score, &mut self.candidates);
                postprocess::suppress(&mut self.candidates, postprocess::NMS_IOU);
            }
            Output::EndToEnd => {
                let labels = outputs.get("labels").and_then(|t| t.try_extract_tensor::<i64>().ok());
                let (_, labels) = labels.ok_or_else(|| Error("the model gave no integers as labels".into()))?;
                let classes = self.names.len();
                postprocess::end_to_end(
                    floats("boxes")?,
                    floats("scores")?,
                    labels,
                    classes,
                    min_score,
                    &mut self.candidates,
                );
            }
        }
        Ok(())
    }

    /// One bare inference, for measuring what the rest costs beside it.
    #[doc(hidden)]
    pub fn bare_run(&mut self, input: &Input) -> Result<(), Error> {
        let Layout { width, height, .. } = self.layout;
        let failed = |e: ort::Error| Error::of("the model did not run", e);
        let input = TensorRef::from_array_view(([1, 3, height, width], input.tensor())).map_err(failed)?;
        self.session.run(ort::inputs![input]).map_err(failed).map(drop)
    }
}

fn open(runtime: &Runtime, onnx: &[u8], threads: usize) -> ort::Result<Session> {
    Session::builder(runtime.environment())?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_threads(threads.max(1))?
        .with_inter_threads(1)?
        // Cameras leave pauses; threads that spin through them take the cores from everything else.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_log_level(LogLevel::Warning)?
        .commit_from_memory(onnx)
}

fn tensor(outlet: &Outlet) -> Tensor {
    let (element, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            let element = match ty {
                TensorElementType::Float32 => Element::F32,
                TensorElementType::Int64 => Element::I64,
                _ => Element::Other,
            };
            (element, shape.iter().copied().collect())
        }
        _ => (Element::Other, Vec::new()),
    };
    Tensor { name: outlet.name().to_owned(), element, shape }
}
