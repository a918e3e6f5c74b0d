//! The degradation ladder of a route, in effect: policy says which rung may be tried, here it is tried.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use seaworthy_observe::{EventBus, EventKind};
use seaworthy_policy::Time;
use seaworthy_policy::call::{Call, CallConfig, Event, Failure, Safety};
use seaworthy_policy::fallback::{FailureClass, Fallback, FallbackConfig, Permit};
use seaworthy_policy::ladder::{Change, Fall, Ladder, Rung, Watch};
use seaworthy_spec::plan::AffinitySource;

use crate::affinity;
use crate::body::ResponseBody;
use crate::cache::{Asked, Reason, give};
use crate::deadline::DeadlineHeaders;
use crate::driver::{Driver, Outcome, Template};
use crate::edge::Edge;
use crate::headers::{DEGRADED, PROXY_STATUS};
use crate::shared::Target;
use crate::upstream::Answer;
use crate::worker::Worker;

/// A rung, ready to be tried.
pub(crate) enum Step {
    /// A stored answer.
    Stale,
    /// Another service.
    Service(Other),
    /// A fixed answer.
    Fixed(FixedAnswer),
}

/// A fixed answer, ready to be sent.
pub(crate) struct FixedAnswer {
    pub(crate) status: StatusCode,
    pub(crate) json: Bytes,
}

/// The service that stands in for another one.
pub(crate) struct Other {
    pub(crate) edge: Arc<Edge>,
    pub(crate) lane: usize,
    pub(crate) call: Arc<CallConfig>,
    pub(crate) deadline: DeadlineHeaders,
    pub(crate) affinity: Option<AffinitySource>,
    /// It honours idempotency keys.
    pub(crate) keyed: bool,
    pub(crate) places: Arc<Mutex<Fallback>>,
}

impl Other {
    pub(crate) fn places(max_concurrent_calls: u32) -> Arc<Mutex<Fallback>> {
        let config = FallbackConfig { max_concurrent_calls, ..FallbackConfig::default() };
        Arc::new(Mutex::new(Fallback::new(config)))
    }
}

/// A place among the calls to the other service, until it is dropped.
pub(crate) struct PlaceTaken {
    places: Arc<Mutex<Fallback>>,
    permit: Option<Permit>,
}

impl PlaceTaken {
    fn take(places: &Arc<Mutex<Fallback>>, class: FailureClass) -> Option<Self> {
        let permit = places.lock().unwrap_or_else(PoisonError::into_inner).on_failure(class).ok()?;
        Some(Self { places: Arc::clone(places), permit: Some(permit) })
    }
}

impl Drop for PlaceTaken {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.places.lock().unwrap_or_else(PoisonError::into_inner).on_end(permit);
        }
    }
}

/// The rungs of one route, and whether it stands on one of them.
pub(crate) struct Steps {
    steps: Vec<Step>,
    watch: Mutex<Watch>,
    /// Read without the lock by every ordinary answer.
    degrading: AtomicBool,
    route: String,
    service: Arc<str>,
    bus: EventBus,
}

impl Steps {
    pub(crate) fn new(steps: Vec<Step>, route: String, service: Arc<str>, bus: EventBus) -> Self {
        Self { steps, watch: Mutex::default(), degrading: AtomicBool::new(false), route, service, bus }
    }

    /// For policy, which decides among them.
    pub(crate) fn ladder(&self) -> Ladder {
        let rung = |step: &Step| match step {
            Step::Stale => Rung::Stale,
            Step::Service(_) => Rung::Service,
            Step::Fixed(_) => Rung::Fixed,
        };
        Ladder::of(&self.steps.iter().map(rung).collect::<Vec<_>>())
    }

    /// An answer goes out, from this rung or as it should be.
    pub(crate) fn on_answer(&self, now: Time, rung: Option<Rung>) {
        if self.steps.is_empty() || (rung.is_none() && !self.degrading.load(Ordering::Relaxed)) {
            return;
        }
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let change = watch.on_answer(now, rung);
        self.degrading.store(watch.is_degrading(), Ordering::Relaxed);
        drop(watch);
        let (route, service) = (self.route.clone(), self.service.to_string());
        match change {
            Some(Change::Began(rung)) => {
                let step = rung.as_str().to_owned();
                self.bus.emit(EventKind::DegradationBegan { service, route, step });
            }
            Some(Change::Ended) => {
                self.bus.emit(EventKind::DegradationEnded { service, route });
            }
            None => {}
        }
    }
}

/// A request on its way, as the rungs need it.
pub(crate) struct Trip<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) target: &'a Target,
    pub(crate) template: &'a Template<'a>,
    pub(crate) asked: Option<&'a Asked>,
    pub(crate) safety: Safety,
    /// When the client must have an answer.
    pub(crate) until: Time,
}

/// Where a request landed.
pub(crate) enum Caught {
    /// This is answered.
    Ready(Response<ResponseBody>),
    /// The other service answers.
    Committed(Answer, Box<Driver>, PlaceTaken),
    /// The other service may have executed it, and its failure stands.
    Stands(Failure, Box<Driver>),
    /// Nothing caught it.
    Nothing,
}

/// Walks the ladder down; `told` is what we would say at its bottom.
pub(crate) async fn walk(trip: &Trip<'_>, fall: Fall, told: Option<&HeaderMap>) -> Caught {
    let Trip { worker, target, .. } = trip;
    let mut from = 0;
    while let Some((place, rung)) = target.exchange.descend(from, &fall) {
        from = place + 1;
        let caught = match target.degrade.steps.get(place) {
            Some(Step::Stale) => stale(trip, fall.class, told),
            Some(Step::Service(other)) => Box::pin(ask_other(trip, other, &fall)).await,
            Some(Step::Fixed(fixed)) => Caught::Ready(fixed_answer(fixed, told)),
            None => Caught::Nothing,
        };
        if !matches!(caught, Caught::Nothing) {
            if !matches!(caught, Caught::Stands(..)) {
                target.degrade.on_answer(worker.now(), Some(rung));
            }
            return caught;
        }
    }
    Caught::Nothing
}

fn stale(trip: &Trip<'_>, class: FailureClass, told: Option<&HeaderMap>) -> Caught {
    let (Some(cache), Some(asked)) = (&trip.target.cache, trip.asked) else { return Caught::Nothing };
    let head = &trip.template.head;
    let store = &trip.worker.shared.store;
    let Some(hit) = store.on_error(trip.worker.now(), cache, asked, head.headers(), class) else {
        return Caught::Nothing;
    };
    let mut response = give(&hit, head, Reason::Failed);
    if let Some(status) = told.and_then(|told| told.get(PROXY_STATUS)) {
        response.headers_mut().append(PROXY_STATUS, status.clone());
    }
    Caught::Ready(response)
}

/// Keeps the fields that speak of the failure it stands for.
fn fixed_answer(fixed: &FixedAnswer, told: Option<&HeaderMap>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(Bytes::clone(&fixed.json)));
    *response.status_mut() = fixed.status;
    let headers = response.headers_mut();
    if let Some(told) = told {
        headers.clone_from(told);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(DEGRADED, HeaderValue::from_static(Rung::Fixed.as_str()));
    response
}

async fn ask_other(trip: &Trip<'_>, other: &Other, fall: &Fall) -> Caught {
    let Some(place) = PlaceTaken::take(&other.places, fall.class) else { return Caught::Nothing };
    let safety = trip.target.exchange.fallback_safety(trip.safety, other.keyed);
    let config = Arc::clone(&other.call);
    let mut head = Request::new(());
    *head.method_mut() = trip.template.head.method().clone();
    *head.uri_mut() = trip.template.head.uri().clone();
    *head.headers_mut() = trip.template.head.headers().clone();
    let affinity = other.affinity.as_ref().and_then(|source| affinity::key(source, head.headers()));
    let telling = other.deadline.take_again(head.headers_mut(), &trip.template.told.1);
    let template = Template {
        head,
        body: trip.template.body.clone(),
        config: Arc::clone(&config),
        deadline: trip.until,
        told: (&other.deadline, telling),
    };
    let call = Call::new(config, other.lane, safety, true, trip.until);
    let call = if let Some(key) = affinity { call.with_affinity(key) } else { call };
    let mut driver = Box::new(Driver::new(Rc::clone(trip.worker), Arc::clone(&other.edge), call));
    match driver.run(&template).await {
        Outcome::Committed(answer) => {
            let status = answer.response.status().as_u16();
            if trip.target.exchange.on_other_answer(status, fall).is_some() {
                driver.finish(Event::BodyEnded);
                return Caught::Nothing;
            }
            Caught::Committed(answer, driver, place)
        }
        Outcome::Failed(failure) => {
            let maybe_executed = driver.call().maybe_executed();
            if trip.target.exchange.on_other_failure(maybe_executed, fall) {
                Caught::Stands(failure, driver)
            } else {
                Caught::Nothing
            }
        }
    }
}
