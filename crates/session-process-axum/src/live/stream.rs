//! [`Stream`]: a page's frames as the body of a response.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame as Chunk};

use super::page::Page;

pub(super) struct Stream(Box<Page>);

impl Stream {
    pub(super) fn new(page: Page) -> Self {
        Self(Box::new(page))
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk<Bytes>, Infallible>>> {
        let frame = self.get_mut().0.poll(cx);
        frame.map(|frame| frame.map(|frame| Ok(Chunk::data(frame.into_event()))))
    }
}
