//! Bodies on their way through: never more of them in memory than a few reads, unless they are small and may have to
//! be sent again.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::delivery::Delivery;
use crate::upstream::Meter;

/// A request's body up to this length is read before the first attempt, so that it can be sent again.
pub(crate) const REPLAY_LENGTH_MAX: u64 = 64 * 1024;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The client's connection failed, or broke the rules.
    #[error("the request body broke off")]
    Client(#[source] hyper::Error),
    /// The client sent nothing for too long.
    #[error("the request body did not go on in time")]
    ClientIdle,
    /// The client ended its trailer section in disorder.
    #[error("the request has trailers that were collected and cannot be passed on")]
    Trailers,
    /// The endpoint's connection failed, or broke the rules.
    #[error("the response body broke off")]
    Upstream(#[source] hyper::Error),
    /// The endpoint sent nothing for too long.
    #[error("the response body did not go on in time")]
    UpstreamIdle,
}

/// The body of a client's request, with a limit on how long it may pause.
#[derive(Debug)]
pub(crate) struct ClientBody {
    incoming: Incoming,
    /// A client that sends nothing for this long is given up.
    idle_limit: Duration,
    idle: Option<Pin<Box<Sleep>>>,
}

impl ClientBody {
    /// A body that was not touched yet.
    pub(crate) fn new(incoming: Incoming, idle_limit: Duration) -> Self {
        Self { incoming, idle_limit, idle: None }
    }

    /// The whole body, which its head announced with at most [`REPLAY_LENGTH_MAX`] bytes.
    pub(crate) async fn collect(mut self) -> Result<Bytes, BodyError> {
        let mut first = Bytes::new();
        let mut more = BytesMut::new();
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut self).poll_frame(context)).await
        {
            let data = frame?.into_data().map_err(|_| BodyError::Trailers)?;
            if first.is_empty() && more.is_empty() {
                first = data;
            } else {
                if more.is_empty() {
                    more.extend_from_slice(&first);
                }
                more.extend_from_slice(&data);
            }
        }
        Ok(if more.is_empty() { first } else { more.freeze() })
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(context) {
            this.idle = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Client)));
        }
        let idle = this.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.idle_limit)));
        idle.as_mut().poll(context).map(|()| Some(Err(BodyError::ClientIdle)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// What a request sends as its body, as often as it is sent.
#[derive(Debug, Clone)]
pub(crate) enum Outgoing {
    /// Nothing.
    Empty,
    /// Known bytes.
    Whole(Bytes),
    /// What the client sends meanwhile; gone once it was taken.
    Stream(Rc<RefCell<Option<ClientBody>>>),
}

impl Outgoing {
    /// The body of the next attempt; `None` when it was sent already and cannot be sent again.
    pub(crate) fn take(&self, meter: &Rc<Meter>) -> Option<RequestBody> {
        meter.begin();
        let source = match self {
            Self::Empty => {
                meter.body_ended();
                Source::Whole(None)
            }
            Self::Whole(bytes) => Source::Whole(Some(bytes.clone())),
            Self::Stream(body) => Source::Stream(body.borrow_mut().take()?),
        };
        Some(RequestBody { source, meter: Rc::clone(meter) })
    }

    /// Returns a body that was taken and not sent.
    pub(crate) fn put_back(&self, body: RequestBody) {
        if let (Self::Stream(place), Source::Stream(body)) = (self, body.source) {
            place.replace(Some(body));
        }
    }

    /// It can be sent any number of times.
    pub(crate) fn is_replayable(&self) -> bool {
        !matches!(self, Self::Stream(_))
    }
}

/// The body of one attempt.
#[derive(Debug)]
pub(crate) struct RequestBody {
    source: Source,
    meter: Rc<Meter>,
}

#[derive(Debug)]
enum Source {
    Whole(Option<Bytes>),
    Stream(ClientBody),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Whole(bytes) => {
                this.meter.body_ended();
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            Source::Stream(body) => std::task::ready!(Pin::new(body).poll_frame(context)),
        };
        match &frame {
            Some(Err(_)) => this.meter.body_failed(),
            None => this.meter.body_ended(),
            Some(Ok(_)) if this.is_end_stream() => this.meter.body_ended(),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Stream(body) => body.size_hint(),
        }
    }
}

/// The body of an answer.
pub(crate) enum ResponseBody {
    /// Ours, or one that has none.
    Whole(Option<Bytes>),
    /// An endpoint's, while it arrives.
    Delivery(Box<Delivery>),
    /// An endpoint's, which somebody else reads to its end.
    Relay(mpsc::Receiver<Result<Frame<Bytes>, BodyError>>),
}

impl ResponseBody {
    /// These bytes.
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Delivery(delivery) => delivery.poll_frame(context),
            Self::Relay(frames) => frames.poll_recv(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Delivery(delivery) => delivery.is_ended(),
            Self::Relay(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Delivery(delivery) => delivery.size_hint(),
            Self::Relay(_) => SizeHint::default(),
        }
    }
}

/// True for a response that may stay silent for long.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}
