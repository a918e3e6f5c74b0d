//! The sweep: every `sweep_interval` of traffic, endpoints are compared with their peers.
//!
//! It needs no timer. Evidence comes from requests, so the first request after the interval sweeps; a pool without requests has
//! nothing to compare.
//!
//! A slow look that passes is a queue that has emptied. Where such looks are frequent, at anybody, a row of them must be longer than `persistence`: as long as chance
//! does not make it at their rate ([`super::proof`]). Rows that have not ended yet do not count, or several slow endpoints would excuse each other.

use std::time::Duration;

use crate::ejection::{EjectReason, EjectionConfig, Verdict};
use crate::pool::endpoint::Endpoint;
use crate::pool::evidence::Tally;
use crate::pool::peers::{is_failing, is_slow};
use crate::pool::proof;
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
}

impl Rule {
    fn of(config: &EjectionConfig) -> Self {
        Self {
            persistence: config.persistence,
            slow_factor: config.slow_factor,
            failure_excess: config.failure_excess,
            failure_calls_min: u64::from(config.failure_calls_min),
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
        for index in 0..self.endpoints.len() {
            let endpoint = &mut self.endpoints[index];
            let (key, was_on) = (endpoint.key, endpoint.probation.is_on());
            endpoint.probation.on_sweep(now);
            endpoint.pace.close(now);
            self.tell_probation_ended(key, was_on);
        }
        for (lane, state) in self.lanes.iter_mut().enumerate() {
            let usual = state.p50(now);
            self.endpoints.iter_mut().for_each(|endpoint| endpoint.pace.set_usual(now, lane, usual));
        }
        for index in 0..self.endpoints.len() {
            if self.endpoints[index].is_compared() {
                let (key, was_on) = (self.endpoints[index].key, self.endpoints[index].probation.is_on());
                let slow = self.looks_slow_for_long(now, index, rule);
                self.tell_probation_ended(key, was_on);
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
                self.put_on_probation(now, key, reason);
            }
        }
    }

    fn tell_probation_ended(&mut self, key: EndpointKey, was_on: bool) {
        let is_on = self.endpoint_mut(key).is_some_and(|endpoint| endpoint.probation.is_on());
        if was_on && !is_on {
            self.push(PoolEvent::ProbationEnded(key));
        }
    }

    fn looks_slow_for_long(&mut self, now: Time, index: usize, rule: Rule) -> bool {
        let Some(own) = self.endpoints[index].pace.reading().filter(|reading| reading.until == now) else {
            return false;
        };
        let compared = self.endpoints.iter().filter(|endpoint| endpoint.is_compared());
        let slow = is_slow(own, compared.filter_map(|endpoint| endpoint.pace.reading()), rule.slow_factor)
            && own.missing.is_none_or(|missing| self.missing_is_its_own(now, index, missing));
        let probation = &mut self.endpoints[index].probation;
        let before = probation.slow_row();
        let persisted = probation.on_speed(slow, rule.persistence);
        let row = probation.slow_row();
        if !slow {
            self.looks.add(now, Tally { good: 1, bad: before.into(), ..Tally::default() });
        }
        persisted && proof::row(row, self.looks.counts(now), || self.looks.counts(now))
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

    pub(super) fn put_on_probation(&mut self, now: Time, key: EndpointKey, reason: EjectReason) {
        let Guard::Ejection(config) = &self.config.guard else { return };
        let lasts = config.base_ejection_time;
        let Some(endpoint) = self.endpoint_mut(key) else { return };
        if endpoint.probation.begin(now, lasts) {
            self.push(PoolEvent::Probation(key, reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::PoolConfig;

    #[test]
    fn the_end_of_a_probation_is_told_once() {
        let config = EjectionConfig::default();
        let (lasts, interval) = (config.base_ejection_time, config.sweep_interval);
        let mut pool = Pool::new(PoolConfig { guard: Guard::Ejection(config), ..PoolConfig::default() });
        let mut now = Time::from_millis(1_000);
        let keys = [pool.on_added(now, 0), pool.on_added(now, 0)];
        pool.put_on_probation(now, keys[1], EjectReason::Slow);
        assert_eq!(pool.take_events(), [PoolEvent::Probation(keys[1], EjectReason::Slow)]);
        let end = now.after(lasts);
        let mut told = Vec::new();
        while now < end.after(lasts) {
            now = now.after(interval);
            pool.sweep_if_due(now);
            told.extend(pool.take_events().into_iter().map(|event| (now >= end, event)));
        }
        assert_eq!(told, [(true, PoolEvent::ProbationEnded(keys[1]))]);
    }
}
