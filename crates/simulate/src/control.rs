//! The control: retries of the usual kind, to see what they do.

use std::time::Duration;

use seaworthy_policy::call::{AttemptKind, Class};
use seaworthy_policy::{Rng, Time};

use crate::client::{Cap, CapCounts, ControlConfig, Refill};
use crate::engine::Payload;
use crate::report::Ending;
use crate::world::{World, kind};

/// What the control knows beside its requests: tokens for retries.
#[derive(Debug)]
pub(crate) struct Control {
    config: ControlConfig,
    rng: Rng,
    tokens: f64,
}

impl Control {
    pub(crate) fn new(config: &ControlConfig, rng: Rng) -> Self {
        Self { tokens: config.tokens_max, config: config.clone(), rng }
    }

    fn refill(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(self.config.tokens_max);
    }

    fn try_retry(&mut self) -> bool {
        if self.config.refill == Refill::Unlimited {
            return true;
        }
        let paid = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(paid));
        paid
    }
}

impl World {
    pub(crate) fn control_start(&mut self, slot: u32) {
        let control = &mut self.controls[self.requests[slot as usize].gateway];
        if let Refill::PerRequest(tokens) = control.config.refill {
            control.refill(tokens);
        }
        self.control_send(slot, AttemptKind::First);
    }

    fn control_send(&mut self, slot: u32, kind: AttemptKind) {
        let gateway = self.requests[slot as usize].gateway;
        let backends = self.backends.len() as u64;
        let outstanding = &self.outstanding[gateway * self.backends.len()..][..self.backends.len()];
        let control = &mut self.controls[gateway];
        let first = control.rng.below(backends) as usize;
        let second = if backends < 2 {
            first
        } else {
            (first + 1 + control.rng.below(backends - 1) as usize) % backends as usize
        };
        let backend = if outstanding[second] < outstanding[first] { second } else { first };
        let (cap, timeout) = (control.config.cap, control.config.timeout);
        if !self.has_room(cap, gateway, backend) {
            return self.end_request(slot, Ending::Rejected);
        }
        let attempt = self.requests[slot as usize].count;
        let timer = self.payload(kind::TIMEOUT, slot, attempt);
        self.engine.schedule_after(self.timeout, timer);
        let deadline = self.engine.now().after(timeout);
        self.send(slot, backend as u32, kind, deadline);
    }

    /// Whether `backend` may get another attempt of `gateway`.
    fn has_room(&self, cap: Option<Cap>, gateway: usize, backend: usize) -> bool {
        let Some(cap) = cap else { return true };
        let count = match cap.counts {
            CapCounts::Waiting => self.outstanding[gateway * self.backends.len() + backend] as usize,
            CapCounts::Work => self.backends[backend].load(),
        };
        count < cap.per_backend as usize
    }

    pub(crate) fn control_answered(&mut self, slot: u32, attempt: u8, class: Class) {
        if class.is_failure() {
            self.close_try(slot, attempt);
            return self.control_failed(slot);
        }
        let control = &mut self.controls[self.requests[slot as usize].gateway];
        if let Refill::PerSuccess(tokens) = control.config.refill {
            control.refill(tokens);
        }
        self.end_request(slot, Ending::Good);
    }

    pub(crate) fn control_timeout(&mut self, event: Payload) {
        let Some(slot) = self.awaited(event) else { return };
        self.close_try(slot, event.small);
        self.control_failed(slot);
    }

    fn control_failed(&mut self, slot: u32) {
        let request = &self.requests[slot as usize];
        let count = request.count;
        let control = &mut self.controls[request.gateway];
        if count >= control.config.attempts || !control.try_retry() {
            return self.end_request(slot, Ending::Failed);
        }
        let Control { config, rng, .. } = control;
        // Controls wait by jitters that do not look at the wait before.
        let wait = config.backoff.map(|backoff| backoff.delay(rng, u32::from(count) - 1, Duration::ZERO));
        let at = wait.map_or(Time::ZERO, |wait| self.engine.now().after(wait));
        let event = self.payload(kind::RETRY, slot, count);
        self.engine.schedule(at, event);
    }

    pub(crate) fn control_retry(&mut self, event: Payload) {
        let request = &self.requests[event.id as usize];
        debug_assert!(request.live && request.generation == event.generation, "it waits for its retry");
        self.control_send(event.id, AttemptKind::Retry);
    }
}
