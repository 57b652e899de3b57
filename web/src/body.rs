//! Media as a response body: the slices of [`Chunks`] are written as they lie, under an exact `Content-Length`.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use media::Chunks;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

struct ChunksBody {
    chunks: Chunks,
    next: usize,
    left: u64,
}

impl hyper::body::Body for ChunksBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while let Some(part) = self.chunks.parts().get(self.next).cloned() {
            self.next += 1;
            if !part.is_empty() {
                self.left -= part.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
        }
        Poll::Ready(None)
    }
    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// An answer whose body is these chunks, no byte copied.
pub(crate) fn media_body(content_type: &'static str, chunks: Chunks) -> Response {
    let left = chunks.len() as u64;
    let mut response = Body::new(ChunksBody { chunks, next: 0, left }).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(left));
    response
}

/// Marks an answer as never changing: a private cache may keep it for as long as its reader's credentials are the same.
pub(crate) fn immutable(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    headers.insert(header::VARY, HeaderValue::from_static("authorization, cookie"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn slices_go_out_as_they_are_and_the_length_is_told() {
        let (one, two) = (Bytes::from_static(b"one"), Bytes::from(vec![7; 100_000]));
        let chunks: Chunks = [one.clone(), Bytes::new(), two.clone()].into_iter().collect();
        let response = media_body("video/mp4", chunks);
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "100003");
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.as_ptr(), second.as_ptr()), (one.as_ptr(), two.as_ptr()), "not copied");
        assert!(body.frame().await.is_none());
    }
}
