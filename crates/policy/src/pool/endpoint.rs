//! One endpoint as its pool sees it.

use std::time::Duration;

use crate::breaker::{self, Breaker};
use crate::call::Class;
use crate::ejection::{EjectReason, Ejection, EjectionConfig, EjectionState, Verdict};
use crate::latency::Ewma;
use crate::pool::abandoned::Abandoned;
use crate::pool::balance::{Candidate, Member, WEIGHT_MAX, WEIGHT_UNIT, slow_start};
use crate::pool::evidence::{Evidence, Moment};
use crate::pool::pace::{Ended, Pace};
use crate::pool::probation::Probation;
use crate::pool::score::FailureShare;
use crate::pool::silence::{Silence, StallRule};
use crate::pool::view::{BreakerChange, EndpointView, Entry, breaker_reason, breaker_state, entry_words};
use crate::pool::{Guard, PoolConfig};
use crate::rng::Rng;
use crate::time::Time;

/// For this long an endpoint on its way back is left to requests that can be hedged; then any request may try it, because
/// where nothing can be hedged it would otherwise never come back.
const READMISSION_PATIENCE: Duration = Duration::from_secs(5);
/// Traffic that keeps seeing the same trouble says so this often.
const SUSPICION_PAUSE: Duration = Duration::from_millis(250);

/// Names an endpoint within its pool; never reused, so a restarted process is a new identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey(pub u32);

/// The right to make one attempt at one endpoint, and what its outcome will be counted under.
#[derive(Debug)]
pub struct Permit {
    pub(crate) endpoint: EndpointKey,
    pub(crate) lane: usize,
    pub(crate) started: Time,
    pub(crate) readmission: bool,
    /// Charged to the retry budget, which wants to know when it ends.
    pub(crate) budgeted: bool,
    generation: u32,
    breaker: Option<breaker::Permit>,
    /// What its lane usually took when it was sent.
    pub(super) usual: Option<Duration>,
    /// No byte of the response so far.
    waiting: bool,
    pub(super) weight: Weight,
    /// What peers had done when it was sent.
    pub(super) moment: Moment,
}

/// An answer that took this many times the usual time does not show that its endpoint does better than others.
const LATE_FACTOR: u32 = 8;
/// What is quicker than this is never late.
const LATE_MIN: Duration = Duration::from_millis(200);

impl Permit {
    /// An answer at `now` would be late.
    pub(super) fn is_late(&self, now: Time) -> bool {
        let elapsed = now.saturating_since(self.started);
        self.usual.is_some_and(|usual| elapsed > usual.saturating_mul(LATE_FACTOR).max(LATE_MIN))
    }
}

/// What the end of an attempt still weighs against its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// All of it.
    Full,
    /// Nothing more: it was counted as unanswered.
    Counted,
    /// Nothing: it timed out where hardly any takes much less.
    Excused,
}

#[derive(Debug)]
enum State {
    Ejection(Ejection),
    Breaker(Box<Breaker>),
    Off,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) key: EndpointKey,
    pub(super) member: Member,
    pub(super) ready: bool,
    pub(super) in_flight: u32,
    /// Attempts in flight without a byte of response, less those that were passed over.
    pub(super) waiting: u32,
    silence: Silence,
    /// Places of those who gave up, where places are counted.
    pub(super) abandoned: Abandoned,
    pub(super) refused_until: Option<Time>,
    ready_since: Time,
    /// Probes took it out and let it in again since it was ejected: its process does not hang any more.
    recovered: bool,
    quiet_until: Time,
    unready_reason: &'static str,
    ejected_reason: &'static str,
    latency: Vec<Ewma>,
    failure_share: FailureShare,
    pub(super) pace: Pace,
    pub(super) evidence: Evidence,
    pub(super) probation: Probation,
    /// The turns that round robin owes it.
    pub(super) credit: i64,
    /// Since when it has been in the traffic, for the slow start.
    serving_since: Time,
    state: State,
}

impl Endpoint {
    pub(super) fn new(now: Time, key: EndpointKey, member: Member, config: &PoolConfig) -> Self {
        let state = match &config.guard {
            Guard::Ejection(_) => State::Ejection(Ejection::new(now)),
            Guard::Breaker(config) => State::Breaker(Box::new(Breaker::new(*config, now))),
            Guard::Off => State::Off,
        };
        Self {
            key,
            member: Member { weight: member.weight.clamp(1, WEIGHT_MAX), ..member },
            ready: false,
            in_flight: 0,
            waiting: 0,
            silence: Silence::since(now),
            abandoned: Abandoned::default(),
            refused_until: None,
            ready_since: now,
            recovered: false,
            quiet_until: now,
            unready_reason: "no probe has passed yet",
            ejected_reason: "",
            latency: vec![Ewma::default(); config.lanes.max(1)],
            failure_share: FailureShare::none(now),
            pace: Pace::new(now, config.lanes),
            evidence: Evidence::none(now),
            probation: Probation::default(),
            credit: 0,
            serving_since: now,
            state,
        }
    }

    pub(super) fn set_ready(&mut self, now: Time, ready: bool, reason: &'static str) {
        if ready && !self.ready {
            self.ready_since = now;
            self.serving_since = now;
            self.recovered = self.is_out();
            self.forget_evidence(now);
        }
        self.ready = ready;
        self.unready_reason = reason;
        self.refused_until = None;
    }

    /// True when re-admission begins.
    pub(super) fn on_timer(&mut self, now: Time) -> bool {
        if self.refused_until.is_some_and(|until| now >= until) {
            self.refused_until = None;
        }
        match &mut self.state {
            State::Ejection(ejection) => ejection.on_timer(now),
            State::Breaker(_) | State::Off => false,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let ejection = match &self.state {
            State::Ejection(ejection) => ejection.next_deadline(),
            State::Breaker(_) | State::Off => None,
        };
        [ejection, self.refused_until].into_iter().flatten().min()
    }

    pub(super) fn reset(&mut self, now: Time) {
        self.refused_until = None;
        self.forget_evidence(now);
        match &mut self.state {
            State::Ejection(ejection) => ejection.reset(now),
            State::Breaker(breaker) => breaker.reset(now),
            State::Off => {}
        }
    }

    /// What was seen of it before says nothing any more: a slow past would keep traffic away for a minute, and an old
    /// silence would eject it at once.
    fn forget_evidence(&mut self, now: Time) {
        self.silence = Silence::since(now);
        self.abandoned.clear();
        self.latency.fill(Ewma::default());
        self.failure_share = FailureShare::none(now);
        self.forget_comparison(now);
    }

    fn forget_comparison(&mut self, now: Time) {
        self.pace.forget(now);
        self.probation = Probation::default();
    }

    /// Whether ordinary attempts are let in. An open breaker counts as open: it answers for itself in `admit`.
    pub(super) fn is_open(&self, now: Time, panic: bool) -> bool {
        match self.entry(now) {
            Entry::Open | Entry::Probation | Entry::Breaker(..) => true,
            Entry::Ejected(_) => panic && !self.is_stalled_out(),
            Entry::Readmitting => panic,
            Entry::Unready(_) | Entry::Refused => false,
        }
    }

    /// True while it has not failed lately.
    pub(super) fn is_well(&self) -> bool {
        match &self.state {
            State::Ejection(ejection) => ejection.failures_in_row() == 0,
            State::Breaker(_) | State::Off => true,
        }
    }

    pub(super) fn is_out(&self) -> bool {
        matches!(&self.state, State::Ejection(ejection) if ejection.state() != EjectionState::In)
    }

    /// Whether an attempt that still waits could be counted as unanswered.
    pub(super) fn may_count_unanswered(&self, permit: &Permit) -> bool {
        permit.waiting && permit.weight != Weight::Counted && self.is_current(permit) && !self.is_out()
    }

    /// Counts an attempt as unanswered. What is lost must not look like many that wait, neither slow ones nor a stall.
    pub(super) fn count_unanswered(&mut self, now: Time, permit: &mut Permit) {
        permit.weight = Weight::Counted;
        self.failure_share.record(now, true);
        self.pace.on_outcome(now, true);
        self.waiting = self.waiting.saturating_sub(1);
        self.pace.on_ended(now, permit.lane, Duration::ZERO, Ended::Untold);
    }

    /// Counts one that was left behind, and that nobody waits for any more.
    pub(super) fn count_left(&mut self, now: Time) {
        self.pace.on_outcome(now, true);
    }

    /// Attempts of this silence that are not answered after at least so long.
    pub(super) fn unanswered_for(&self, now: Time, least: Duration) -> u32 {
        self.silence.unanswered_for(now, least)
    }

    /// Whether it takes part in comparisons with its peers.
    pub(super) fn is_compared(&self) -> bool {
        self.ready && !self.is_out()
    }

    pub(super) fn is_stalled_out(&self) -> bool {
        let State::Ejection(ejection) = &self.state else { return false };
        matches!(ejection.state(), EjectionState::Out { stalled: true, .. })
    }

    pub(super) fn latency(&self, lane: usize, now: Time) -> Option<f64> {
        self.latency.get(lane)?.value(now).map(|value| value.as_secs_f64())
    }

    /// What an attempt is expected to take, in seconds, a failed one counted as `failure_cost`. `unknown`: a newcomer's latency.
    pub(super) fn expected(
        &self,
        lane: usize,
        now: Time,
        failure_cost: Duration,
        unknown: impl FnOnce() -> f64,
    ) -> f64 {
        let latency = self.latency(lane, now).unwrap_or_else(unknown);
        self.failure_share.expected(now, latency, failure_cost)
    }

    /// As the strategies see it, at this place in the pool.
    pub(super) fn candidate(&self, index: usize, now: Time, slow_start: Duration) -> Candidate {
        let full_weight = u64::from(self.member.weight) * WEIGHT_UNIT;
        let warm = slow_start::share(now.saturating_since(self.serving_since), slow_start);
        let trusted = self.probation.share();
        Candidate {
            index,
            zone: self.member.zone,
            identity: self.member.identity.unwrap_or(u64::from(self.key.0)),
            full_weight,
            weight: (full_weight * warm / slow_start::WHOLE * trusted / slow_start::WHOLE).max(1),
            in_flight: self.in_flight,
            credit: self.credit,
        }
    }

    /// Whether one more attempt may be in flight.
    pub(super) fn has_room(&self, max_in_flight: Option<u32>) -> bool {
        max_in_flight.is_none_or(|most| self.in_flight.saturating_add(self.abandoned.places()) < most)
    }

    /// An attempt is given up now, and keeps its place if it has waited in vain.
    pub(super) fn keep_place(&mut self, now: Time, permit: &Permit, max_in_flight: Option<u32>) {
        if let Some(most) = max_in_flight.filter(|_| permit.waiting) {
            self.abandoned.on_given_up(now, permit.started, most);
        }
    }

    /// It was last ejected because it was slow.
    pub(super) fn was_slow(&self) -> bool {
        matches!(&self.state, State::Ejection(ejection) if ejection.cause() == Some(EjectReason::Slow))
    }

    /// Takes the re-admission place, if there is one and probes agree. `hedgeable`: the request can be hedged.
    pub(super) fn try_readmission(&mut self, now: Time, hedgeable: bool) -> bool {
        let reachable = self.ready && self.refused_until.is_none_or(|until| now >= until);
        match &mut self.state {
            State::Ejection(ejection) if reachable => {
                let since = ejection.readmitting_since().max(self.ready_since);
                let patient = now.saturating_since(since) < READMISSION_PATIENCE;
                (hedgeable || !patient) && ejection.try_readmission()
            }
            _ => false,
        }
    }

    /// The last resort: ends a stall's ejection before its time if probes say that the process no longer hangs.
    pub(super) fn begin_readmission_early(&mut self, now: Time) -> bool {
        let recovered = self.ready && self.recovered && self.is_stalled_out();
        match &mut self.state {
            State::Ejection(ejection) if recovered => ejection.begin_readmission(now),
            _ => false,
        }
    }

    /// A sign of life.
    pub(super) fn on_byte(&mut self, now: Time) {
        self.silence.end(now);
    }

    /// Its host said that this attempt failed: that was no silence.
    pub(super) fn on_told(&mut self, permit: &Permit) {
        self.silence.on_ended(permit.started);
    }

    /// How long it has shown no sign of life.
    pub(super) fn quiet_for(&self, now: Time) -> Duration {
        self.silence.lasts(now)
    }

    /// The stall rule for an attempt that waits since `started`: enough of them wait, and no byte came in `limit`.
    pub(super) fn find_stalled(&mut self, now: Time, started: Time, rule: StallRule) -> bool {
        self.silence.is_stall(now, started, self.waiting, rule)
    }

    /// Silent for long enough that an attempt which waits since `started` had better move.
    pub(super) fn is_suspicious(&self, now: Time, started: Time, rule: StallRule) -> bool {
        self.silence.is_suspicious(now, started, self.waiting, rule)
    }

    /// The stall rule for the endpoint as such, where nobody may be left to look because all were overtaken. What waits
    /// does not count here: it may have been sent a moment ago.
    pub(super) fn has_stalled(&mut self, now: Time, rule: StallRule) -> bool {
        self.silence.is_stall_by_overtaken(now, rule)
    }

    /// Whether a suspicion is worth telling: not when the last one was told a moment ago.
    pub(super) fn may_suspect(&mut self, now: Time) -> bool {
        let told_long_ago = now >= self.quiet_until;
        if told_long_ago {
            self.quiet_until = now.after(SUSPICION_PAUSE);
        }
        told_long_ago
    }

    /// A relapse that the pool could not afford to obey.
    pub(super) fn spare(&mut self) {
        if let State::Ejection(ejection) = &mut self.state {
            ejection.spare();
        }
    }

    /// A permit, or when to try again (breaker).
    pub(super) fn admit(&mut self, now: Time, rng: &mut Rng, sending: Sending) -> Result<Permit, Duration> {
        let (generation, breaker) = match &mut self.state {
            State::Ejection(ejection) => (ejection.generation(), None),
            State::Breaker(breaker) => {
                let permit = breaker.admit(now, rng).map_err(|rejected| rejected.retry_after())?;
                (permit.generation(), Some(permit))
            }
            State::Off => (0, None),
        };
        self.in_flight += 1;
        self.waiting += 1;
        self.pace.on_sent(now, sending.lane);
        self.silence.on_sent(now);
        Ok(Permit {
            endpoint: self.key,
            lane: sending.lane,
            started: now,
            usual: sending.usual,
            readmission: sending.readmission,
            budgeted: false,
            generation,
            breaker,
            waiting: true,
            weight: Weight::Full,
            moment: Moment::default(),
        })
    }

    pub(super) fn on_head(
        &mut self,
        now: Time,
        rng: &mut Rng,
        permit: &mut Permit,
        answer: Answer,
        config: &PoolConfig,
    ) -> Verdict {
        let elapsed = now.saturating_since(permit.started);
        self.on_byte(now);
        let is_good = !answer.class.is_failure() && answer.class != Class::Throttled;
        self.no_longer_waiting(now, permit, is_good);
        let failed = answer.class.is_failure() || answer.too_slow;
        if answer.class != Class::Throttled {
            self.count(now, permit, answer.class.is_failure());
            if permit.is_late(now) && is_good {
                self.pace.on_late(now);
            }
        }
        if is_good {
            self.abandoned.on_answer(permit.started);
            self.sample(permit.lane, now, elapsed);
        }
        let outcome = match answer.class {
            Class::Throttled => breaker::Outcome::Throttled { elapsed },
            class if class.is_failure() => breaker::Outcome::Failure { elapsed },
            _ => breaker::Outcome::Success { elapsed },
        };
        self.complete_breaker(now, rng, permit, outcome);
        let Some((ejection, config)) = self.judge(permit, config) else { return Verdict::Keep };
        match answer.class {
            _ if failed => ejection.on_failure(permit.generation, config),
            // 429 is neither good nor bad; but a trial has to end somehow.
            Class::Throttled => ejection.on_inconclusive(permit.generation),
            _ => {
                let verdict = ejection.on_success(now, permit.generation, config);
                if verdict == Verdict::Readmitted {
                    self.serving_since = now;
                    self.forget_comparison(now);
                }
                verdict
            }
        }
    }

    pub(super) fn on_failed(
        &mut self,
        now: Time,
        rng: &mut Rng,
        permit: &mut Permit,
        config: &PoolConfig,
    ) -> Verdict {
        let elapsed = now.saturating_since(permit.started);
        self.no_longer_waiting(now, permit, false);
        if permit.weight != Weight::Excused {
            self.count(now, permit, true);
        }
        self.censored_sample(now, permit, elapsed);
        self.complete_breaker(now, rng, permit, breaker::Outcome::Failure { elapsed });
        match self.judge(permit, config) {
            Some((ejection, config)) => ejection.on_failure(permit.generation, config),
            None => Verdict::Keep,
        }
    }

    /// Dropped before its head; `overtaken` when another attempt of the same call was faster.
    pub(super) fn on_cancelled(
        &mut self,
        now: Time,
        rng: &mut Rng,
        permit: &mut Permit,
        overtaken: bool,
    ) -> Verdict {
        if !permit.waiting {
            return Verdict::Keep;
        }
        let elapsed = now.saturating_since(permit.started);
        self.no_longer_waiting(now, permit, false);
        if overtaken {
            self.silence.on_overtaken(permit.started);
        } else {
            self.silence.on_ended(permit.started);
        }
        self.censored_sample(now, permit, elapsed);
        self.complete_breaker(now, rng, permit, breaker::Outcome::Cancelled { elapsed });
        match &mut self.state {
            State::Ejection(ejection) if permit.readmission && overtaken => {
                ejection.on_inconclusive(permit.generation)
            }
            State::Ejection(ejection) if permit.readmission => {
                ejection.on_cancelled(permit.generation);
                Verdict::Keep
            }
            _ => Verdict::Keep,
        }
    }

    /// The attempt is over.
    pub(super) fn release(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The committed body of the attempt ended, well or broken.
    pub(super) fn on_body_end(&mut self, permit: &Permit, broken: bool, config: &PoolConfig) -> Verdict {
        match self.judge(permit, config) {
            Some((ejection, config)) => ejection.on_body_end(permit.generation, broken, config),
            None => Verdict::Keep,
        }
    }

    pub(super) fn eject(
        &mut self,
        now: Time,
        reason: EjectReason,
        config: &EjectionConfig,
    ) -> Option<Duration> {
        let State::Ejection(ejection) = &mut self.state else { return None };
        self.ejected_reason = reason.as_str();
        self.recovered = false;
        let duration = ejection.eject(now, reason, config);
        self.forget_comparison(now);
        Some(duration)
    }

    pub(super) fn set_breaker_mode(&mut self, now: Time, mode: breaker::Mode) {
        if let State::Breaker(breaker) = &mut self.state {
            breaker.set_mode(now, mode);
        }
    }

    pub(super) fn take_breaker_change(&mut self) -> Option<BreakerChange> {
        let State::Breaker(breaker) = &mut self.state else { return None };
        let transition = breaker.take_transition()?;
        let words = breaker_reason(transition.reason);
        Some(BreakerChange {
            from: breaker_state(transition.from),
            to: breaker_state(transition.to),
            reason: words,
        })
    }

    pub(super) fn view(&self, now: Time) -> EndpointView {
        let (state, reason) = match self.entry(now) {
            Entry::Open if self.probation.is_on() => entry_words(Entry::Probation),
            entry => entry_words(entry),
        };
        let Member { zone, tier, weight, .. } = self.member;
        EndpointView {
            endpoint: self.key,
            ready: self.ready,
            state,
            reason,
            in_flight: self.in_flight,
            zone,
            tier,
            weight,
        }
    }

    fn entry(&self, now: Time) -> Entry {
        if !self.ready {
            return Entry::Unready(self.unready_reason);
        }
        if self.refused_until.is_some_and(|until| now < until) {
            return Entry::Refused;
        }
        match &self.state {
            State::Off => Entry::Open,
            State::Ejection(ejection) => match ejection.state() {
                EjectionState::In => Entry::Open,
                EjectionState::Out { .. } => Entry::Ejected(self.ejected_reason),
                EjectionState::Readmitting { .. } => Entry::Readmitting,
            },
            State::Breaker(breaker) => match breaker.state(now) {
                breaker::State::Closed => Entry::Open,
                state => Entry::Breaker(breaker_state(state), "the circuit breaker opened"),
            },
        }
    }

    /// Who judges the outcome of this attempt. What panic lets through to an endpoint on trial is no trial.
    fn judge<'a>(
        &'a mut self,
        permit: &Permit,
        config: &'a PoolConfig,
    ) -> Option<(&'a mut Ejection, &'a EjectionConfig)> {
        let (State::Ejection(ejection), Guard::Ejection(config)) = (&mut self.state, &config.guard) else {
            return None;
        };
        let on_trial = matches!(ejection.state(), EjectionState::Readmitting { .. });
        (permit.readmission || !on_trial).then_some((ejection, config))
    }

    /// `answered` well; otherwise its wait proves something only where it was longer than usual.
    fn no_longer_waiting(&mut self, now: Time, permit: &mut Permit, answered: bool) {
        if std::mem::take(&mut permit.waiting) {
            if permit.weight == Weight::Counted {
                return;
            }
            self.waiting = self.waiting.saturating_sub(1);
            let elapsed = now.saturating_since(permit.started);
            let ended = match answered {
                _ if !self.is_current(permit) => Ended::Untold,
                true => Ended::Answered,
                false => Ended::Unanswered,
            };
            self.pace.on_ended(now, permit.lane, elapsed, ended);
        }
    }

    /// An outcome for the score and for the comparison with peers.
    fn count(&mut self, now: Time, permit: &Permit, failed: bool) {
        if self.is_current(permit) {
            self.failure_share.record(now, failed);
            if permit.weight != Weight::Counted {
                self.pace.on_outcome(now, failed);
            }
        }
    }

    /// The attempt was sent in the present generation.
    pub(super) fn is_current(&self, permit: &Permit) -> bool {
        match &self.state {
            State::Ejection(ejection) => ejection.generation() == permit.generation,
            State::Breaker(_) | State::Off => true,
        }
    }

    fn complete_breaker(&mut self, now: Time, rng: &mut Rng, permit: &mut Permit, outcome: breaker::Outcome) {
        if let State::Breaker(breaker) = &mut self.state
            && let Some(permit) = permit.breaker.take()
        {
            breaker.complete(now, rng, permit, outcome);
        }
    }

    fn sample(&mut self, lane: usize, now: Time, elapsed: Duration) {
        if let Some(average) = self.latency.get_mut(lane) {
            average.record(now, elapsed);
        }
    }

    /// Who waited this long without an answer proves that answers take at least this long, never that they are fast.
    /// Of an endpoint that never answered they say no less than what is usual: who was overtaken soon is not known to be fast.
    fn censored_sample(&mut self, now: Time, permit: &Permit, elapsed: Duration) {
        let Some(average) = self.latency.get_mut(permit.lane) else { return };
        let known = average.value(now).is_some();
        match permit.usual {
            _ if known => average.record_at_least(now, elapsed),
            Some(usual) => average.record_at_least(now, elapsed.max(usual)),
            None => {}
        }
    }
}

/// A response head, as far as the endpoint is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) class: Class,
    /// Too slow for a request that was to prove the endpoint well again.
    pub(super) too_slow: bool,
}

/// What an attempt is sent as.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    pub(super) lane: usize,
    /// What its lane usually takes.
    pub(super) usual: Option<Duration>,
    /// For the re-admission place that was just taken.
    pub(super) readmission: bool,
}
