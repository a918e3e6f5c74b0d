//! A committed response on its way to the client, and everything that has to happen when it ends: policy hears how,
//! the connection goes back to its stack, the access log gets its line.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use seaworthy_policy::Time;
use seaworthy_policy::call::Event;

use crate::access::Record;
use crate::body::BodyError;
use crate::cache::Capture;
use crate::connection::Client;
use crate::degrade::PlaceTaken;
use crate::driver::Driver;
use crate::upstream::Connection;

/// Limit of a pause in a response body.
pub(crate) const BODY_IDLE_LIMIT: Duration = Duration::from_secs(30);
/// The same for event streams, which are silent as long as nothing happens.
pub(crate) const EVENT_STREAM_IDLE_LIMIT: Duration = Duration::from_mins(5);
/// How often bytes of a body are reported to policy.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// A response body that arrives.
pub(crate) struct Delivery {
    incoming: Incoming,
    /// Dropping it before the end tells policy that the client went away.
    driver: Driver,
    connection: Option<Connection>,
    record: Box<Record>,
    client: Rc<Client>,
    idle_limit: Duration,
    last_byte: Time,
    reported: Time,
    ended: bool,
    /// The client learns of the end only by the connection's end.
    close_delimited: bool,
    capture: Option<Box<Capture>>,
    _place: Option<PlaceTaken>,
}

/// How a response body is to be treated.
pub(crate) struct Terms {
    pub(crate) idle_limit: Duration,
    pub(crate) close_delimited: bool,
    /// Keeps the answer while it passes.
    pub(crate) capture: Option<Box<Capture>>,
    /// The place among the calls to a fallback service.
    pub(crate) place: Option<PlaceTaken>,
}

impl Delivery {
    /// Begins to deliver what the driver committed.
    pub(crate) fn new(
        incoming: Incoming,
        driver: Driver,
        connection: Connection,
        record: Box<Record>,
        client: Rc<Client>,
        terms: Terms,
    ) -> Self {
        let now = driver.now();
        let mut delivery = Self {
            incoming,
            driver,
            connection: Some(connection),
            record,
            client,
            idle_limit: terms.idle_limit,
            last_byte: now,
            reported: now,
            ended: false,
            close_delimited: terms.close_delimited,
            capture: terms.capture,
            _place: terms.place,
        };
        if delivery.incoming.is_end_stream() {
            delivery.end();
        }
        delivery
    }

    /// The next frame, or the end.
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.count(&frame);
                if self.incoming.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.fail("http_response_incomplete");
                Poll::Ready(Some(Err(BodyError::Upstream(error))))
            }
            Poll::Pending => self.poll_idle(context),
        }
    }

    /// True when nothing more comes.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// How much is still to come, where it is known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // The timer goes off now and then, and is set again if the body went on meanwhile: cheaper than setting it per read.
        let limit = self.last_byte.after(self.idle_limit);
        while self.driver.timer_by(limit).poll(context).is_ready() {
            if self.driver.tick() >= limit {
                self.fail("http_response_timeout");
                return Poll::Ready(Some(Err(BodyError::UpstreamIdle)));
            }
            self.driver.set_timer(limit);
        }
        Poll::Pending
    }

    fn count(&mut self, frame: &Frame<Bytes>) {
        let now = self.driver.now();
        self.record.add_bytes(frame.data_ref().map_or(0, Bytes::len));
        self.last_byte = now;
        if let Some(capture) = self.capture.take() {
            self.capture = capture.frame(now, frame);
        }
        if now.saturating_since(self.reported) >= PROGRESS_INTERVAL {
            self.reported = now;
            self.driver.progress(now);
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if let Some(capture) = self.capture.take() {
            capture.whole(self.driver.now());
        }
        self.driver.finish(Event::BodyEnded);
        if let Some(connection) = self.connection.take() {
            self.driver.give_back(connection);
        }
        self.record.finish(&self.driver);
    }

    fn fail(&mut self, error: &'static str) {
        self.ended = true;
        if let Some(capture) = self.capture.take() {
            capture.broken(self.driver.now());
        }
        self.connection = None;
        self.driver.finish(Event::BodyFailed);
        self.record.broke_off(error);
        self.record.finish(&self.driver);
        if self.close_delimited {
            self.client.reset_at_end();
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.ended {
            self.connection = None;
            self.driver.finish(Event::Dropped);
            self.record.client_left();
            self.record.finish(&self.driver);
        }
    }
}
