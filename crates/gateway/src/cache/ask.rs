//! Asks the store before a service is asked, and waits where somebody else is fetching already.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use seaworthy_policy::Time;
use seaworthy_policy::ladder::Rung;

use super::{Asked, Found, Outcome, Reason, Ticket, Way, give, refresh, unconditional};
use crate::affinity;
use crate::body::ResponseBody;
use crate::driver::Template;
use crate::shared::Target;
use crate::worker::Worker;

/// What the store says in the end.
pub(crate) enum Asking {
    /// This.
    Answered(Box<Response<ResponseBody>>),
    /// Fetch it; with a ticket, for others too.
    Fetch(Option<Box<Ticket>>),
    /// The deadline passed while somebody else was fetching it.
    Late,
    /// Too many wait.
    Busy(Duration),
}

/// Asks for this request; `asked` is what the store knows it by.
pub(crate) async fn ask(
    worker: &Rc<Worker>,
    target: &Target,
    template: &mut Template<'_>,
    asked: &Asked,
) -> (Asking, Option<Outcome>) {
    let Some(cache) = &target.cache else { return (Asking::Fetch(None), None) };
    let store = &worker.shared.store;
    let mut waited = false;
    loop {
        let head = &template.head;
        match store.find(worker.now(), cache, asked, head.headers()) {
            Found::Hit(hit, ticket) => {
                let response = give(&hit, head, Reason::Found);
                target.degrade.on_answer(worker.now(), hit.degraded.then_some(Rung::Stale));
                if let Some(ticket) = ticket {
                    refresh(worker, target.way(template), head, ticket);
                }
                let fresh = if waited { Outcome::Coalesced } else { Outcome::Hit };
                let outcome = if hit.is_stale() { Outcome::Stale } else { fresh };
                return (Asking::Answered(Box::new(response)), Some(outcome));
            }
            Found::Fetch(ticket) => {
                unconditional(template.head.headers_mut());
                return (Asking::Fetch(Some(Box::new(ticket))), Some(Outcome::Miss));
            }
            Found::Pass => return (Asking::Fetch(None), Some(Outcome::Pass)),
            Found::Busy(retry_after) => return (Asking::Busy(retry_after), None),
            Found::Wait(mut waiting) => {
                waited = true;
                let until: Time = waiting.until().min(template.deadline);
                waiting.ended(worker.instant(until)).await;
                if worker.tick() >= template.deadline {
                    return (Asking::Late, None);
                }
            }
        }
    }
}

impl Target {
    /// How its service is asked for nobody in particular.
    fn way(&self, template: &Template<'_>) -> Way {
        let affinity = self.affinity.as_ref();
        Way {
            edge: Arc::clone(&self.edge),
            lane: self.lane,
            call: Arc::clone(&self.call),
            deadline: self.deadline.clone(),
            telling: template.told.1.clone(),
            affinity: affinity.and_then(|source| affinity::key(source, template.head.headers())),
        }
    }
}
