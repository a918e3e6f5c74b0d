//! The sweep: every `sweep_interval` of traffic, endpoints are compared with their peers.
//!
//! It needs no timer. Evidence comes from requests, so the first request after the interval sweeps; a pool without requests has
//! nothing to compare.

use std::time::Duration;

use crate::ejection::{EjectReason, EjectionConfig, Verdict};
use crate::pool::endpoint::Endpoint;
use crate::pool::peers::{is_failing, is_slow};
use crate::pool::{EndpointKey, Guard, Pool, PoolEvent};
use crate::time::Time;

/// Readings that are older say nothing about how many look slow now.
const READING_LASTS: Duration = Duration::from_secs(10);

/// What a sweep needs of the configuration.
#[derive(Debug, Clone, Copy)]
struct Rule {
    persistence: u32,
    slow_factor: f64,
    failure_excess: f64,
    failure_calls_min: u64,
    probation: Duration,
}

impl Rule {
    fn of(config: &EjectionConfig) -> Self {
        Self {
            persistence: config.persistence,
            slow_factor: config.slow_factor,
            failure_excess: config.failure_excess,
            failure_calls_min: u64::from(config.failure_calls_min),
            probation: config.base_ejection_time,
        }
    }
}

impl Pool {
    /// Compares endpoints if it is time to.
    pub(super) fn sweep_if_due(&mut self, now: Time) {
        if now < self.sweep_at {
            return;
        }
        let Guard::Ejection(config) = &self.config.guard else { return };
        self.sweep_at = now.after(config.sweep_interval);
        let rule = Rule::of(config);
        let mut worse: Vec<(EndpointKey, EjectReason)> = Vec::new();
        for endpoint in &mut self.endpoints {
            endpoint.probation.on_sweep(now);
            endpoint.pace.close(now);
        }
        for index in 0..self.endpoints.len() {
            if self.endpoints[index].is_compared() {
                let slow = self.looks_slow_for_long(now, index, rule);
                let failing = self.looks_failing_for_long(now, index, rule);
                let reason =
                    if failing { Some(EjectReason::Failing) } else { slow.then_some(EjectReason::Slow) };
                worse.extend(reason.map(|reason| (self.endpoints[index].key, reason)));
            }
        }
        // Most sweeps end here.
        let most_are_well = worse.is_empty() || self.most_are_fast(now);
        for (key, reason) in worse {
            let affordable = self.may_eject(now, key, reason);
            if affordable && (reason == EjectReason::Failing || most_are_well) {
                self.act(now, key, Verdict::Eject(reason));
            } else {
                self.put_on_probation(now, key, reason, rule);
            }
        }
    }

    fn looks_slow_for_long(&mut self, now: Time, index: usize, rule: Rule) -> bool {
        let Some(own) = self.endpoints[index].pace.reading().filter(|reading| reading.until == now) else {
            return false;
        };
        let compared = self.endpoints.iter().filter(|endpoint| endpoint.is_compared());
        let slow = is_slow(own, compared.filter_map(|endpoint| endpoint.pace.reading()), rule.slow_factor);
        self.endpoints[index].probation.on_speed(slow, rule.persistence)
    }

    fn looks_failing_for_long(&mut self, now: Time, index: usize, rule: Rule) -> bool {
        let enough = |failures: &(u64, u64)| failures.1 >= rule.failure_calls_min;
        let own = self.endpoints[index].pace.failures(now);
        let is_new = self.endpoints[index].pace.take_failed();
        if !enough(&own) {
            return false;
        }
        // Whoever never fails is not failing; nothing needs to be compared.
        let failing = own.0 > 0 && {
            let compared = self.endpoints.iter().filter(|endpoint| endpoint.is_compared());
            is_failing(
                own,
                compared.map(|endpoint| endpoint.pace.failures_or_late(now)).filter(enough),
                rule.failure_excess,
            )
        };
        self.endpoints[index].probation.on_failures(failing, is_new, rule.persistence)
    }

    /// At most a third of those that can be compared look slow.
    fn most_are_fast(&self, now: Time) -> bool {
        let recent = |endpoint: &&Endpoint| {
            let reading = endpoint.pace.reading().filter(|_| endpoint.is_compared());
            reading.is_some_and(|reading| now.saturating_since(reading.until) < READING_LASTS)
        };
        let compared = self.endpoints.iter().filter(recent).count();
        let slow =
            self.endpoints.iter().filter(recent).filter(|endpoint| endpoint.probation.looks_slow()).count();
        slow * 3 <= compared
    }

    fn put_on_probation(&mut self, now: Time, key: EndpointKey, reason: EjectReason, rule: Rule) {
        let Some(endpoint) = self.endpoint_mut(key) else { return };
        if endpoint.probation.begin(now, rule.probation) {
            self.push(PoolEvent::Probation(key, reason));
        }
    }
}
