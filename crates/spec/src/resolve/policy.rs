//! How calls are protected: the policies of services, and what routes change about them.

use std::time::Duration;

use seaworthy_policy::backoff::{BackoffConfig, Jitter};
use seaworthy_policy::breaker::BreakerConfig;
use seaworthy_policy::budget::BudgetConfig;
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::ejection::EjectionConfig;
use seaworthy_policy::pool::{Guard, ParkingConfig, PoolConfig};

use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Value, show_duration};
use crate::diagnostic::Diagnostic;
use crate::plan::{KeysPlan, Origin, TrafficPlan};

/// For services that somebody else runs, calls wait only this long after the last endpoint went: nobody here
/// can bring it back.
const PARKING_EXTERNAL: Duration = Duration::from_secs(10);

/// The policy of a service.
pub(super) struct Policy {
    pub(super) call: CallConfig,
    pub(super) pool: PoolConfig,
    pub(super) keys: Option<KeysPlan>,
    pub(super) traffic: TrafficPlan,
}

/// The policy of a service while it is a base for those of its routes.
struct Base<'a> {
    call: &'a CallConfig,
    path: String,
    /// The service's spec names its attempt timeout, so a route does not quietly choose another one.
    is_attempt_given: bool,
}

/// When requests are hedged.
struct Hedge {
    percentile: Option<f64>,
    min_delay: Duration,
    delay: Option<Duration>,
    max_hedged_attempts: u8,
}

impl Resolver<'_> {
    pub(super) fn service_policy(
        &mut self,
        service: &Section<'_>,
        endpoint_count: usize,
        is_external: bool,
    ) -> Policy {
        let section = service.under("policy");
        let before = self.problems.len();
        let mut call = self.call(&section, None);
        // Calls through an egress are not parked unless the spec asks for it: their caller has a deadline of its
        // own and can degrade.
        call.park = section.get("parking").is_some_and(|value| value.as_object().is_some());
        let budget = self.budget(&section);
        let guard = self.guard(&section, endpoint_count, call.attempt_timeout);
        let parking = self.parking(&section, is_external);
        let keys = self.keys(&section);
        let max_in_flight = self.max_in_flight(&section, &mut call, endpoint_count);
        let balance = self.balance(&section, call.attempt_timeout);
        let traffic = self.traffic(&section, &mut call, !is_external);
        let pool = PoolConfig { guard, budget, parking, balance, max_in_flight, ..PoolConfig::default() };
        self.require_sound(&section, before, call.validate());
        self.require_sound(&section, before, pool.validate());
        Policy { call, pool, keys, traffic }
    }

    /// The policy of a route: that of its service, with what the route says itself.
    pub(super) fn route_call(
        &mut self,
        section: &Section<'_>,
        service: &str,
        base: &CallConfig,
    ) -> CallConfig {
        let path = format!("services.{service}.policy");
        if section.object.is_none() {
            self.setting(section.path.clone(), "as the service", Origin::Derived(path));
            return base.clone();
        }
        let services = self.root.map("services");
        let own =
            services.iter().find(|(name, _)| name.text == service).and_then(|(_, value)| value.as_object());
        let policy = own.and_then(|object| object.object("policy"));
        let is_attempt_given = policy.is_some_and(|policy| policy.given("attempt_timeout").is_some());
        let before = self.problems.len();
        let call = self.call(section, Some(&Base { call: base, path, is_attempt_given }));
        self.require_sound(section, before, call.validate());
        call
    }

    fn call(&mut self, section: &Section<'_>, base: Option<&Base<'_>>) -> CallConfig {
        let default = base.map_or_else(CallConfig::default, |base| base.call.clone());
        let inherited =
            |key: &str| base.map_or(Origin::Default, |base| Origin::Derived(format!("{}.{key}", base.path)));
        let retry = section.under("retry");
        let attempts = u32::from(default.max_attempts);
        let is_off = section.is_word("retry", "off");
        let retries = if section.is_given("retry") { !is_off } else { default.retry };
        let total_timeout =
            self.duration_or(section, "total_timeout", (default.total_timeout, inherited("total_timeout")));
        let max_attempts = if is_off {
            self.off(section, "retry");
            attempts
        } else {
            self.count_or(&retry, "max_attempts", (attempts, inherited("retry.max_attempts")))
        };
        let fallback = attempt_fallback(total_timeout, max_attempts, &default, base);
        let attempt_timeout = self.duration_or(section, "attempt_timeout", fallback);
        let connect = default.connect_timeout.min(attempt_timeout);
        let origin = if connect < default.connect_timeout {
            Origin::Derived("attempt_timeout".to_owned())
        } else {
            inherited("connect_timeout")
        };
        let connect_timeout = self.duration_or(section, "connect_timeout", (connect, origin));
        self.require_ascending(
            section,
            ("connect_timeout", connect_timeout),
            ("attempt_timeout", attempt_timeout),
        );
        let backoff = if is_off { default.backoff } else { self.backoff(&retry, default.backoff, base) };
        let hedge = self.hedge(section, &default, base);
        let max_retry_after = if is_off {
            default.max_retry_after
        } else {
            let otherwise = (default.max_retry_after, inherited("retry.max_retry_after"));
            self.duration_or(&retry, "max_retry_after", otherwise)
        };
        CallConfig {
            total_timeout,
            attempt_timeout,
            connect_timeout,
            max_attempts: u8::try_from(max_attempts).unwrap_or(u8::MAX),
            backoff,
            retry: retries,
            max_retry_after,
            hedge_percentile: hedge.percentile,
            min_hedge_delay: hedge.min_delay,
            hedge_delay: hedge.delay,
            max_hedged_attempts: hedge.max_hedged_attempts,
            ..default
        }
    }

    pub(super) fn off(&mut self, section: &Section<'_>, key: &str) {
        if let Some(value) = section.get(key) {
            let origin = self.origin(value.span);
            self.setting(section.path_of(key), "off", origin);
        }
    }

    fn backoff(
        &mut self,
        section: &Section<'_>,
        default: BackoffConfig,
        base: Option<&Base<'_>>,
    ) -> BackoffConfig {
        let from = |key: &str| {
            base.map_or(Origin::Default, |base| Origin::Derived(format!("{}.retry.{key}", base.path)))
        };
        let initial =
            self.duration_or(section, "initial_backoff", (default.initial, from("initial_backoff")));
        let longest = if section.is_given("max_backoff") { default.max } else { default.max.max(initial) };
        let max = self.duration_or(section, "max_backoff", (longest, from("max_backoff")));
        self.require_ascending(section, ("initial_backoff", initial), ("max_backoff", max));
        let jitter = section.get("jitter").and_then(Value::as_text).map(|word| match word {
            "none" => Jitter::None,
            "equal" => Jitter::Equal,
            "additive" => Jitter::Additive,
            "decorrelated" => Jitter::Decorrelated,
            _ => Jitter::Full,
        });
        let show = |jitter: &Jitter| match jitter {
            Jitter::None => "none".to_owned(),
            Jitter::Full => "full".to_owned(),
            Jitter::Equal => "equal".to_owned(),
            Jitter::Additive => "additive".to_owned(),
            Jitter::Decorrelated => "decorrelated".to_owned(),
        };
        let jitter = self.effective(section, "jitter", jitter, (default.jitter, from("jitter")), show);
        BackoffConfig { initial, max, jitter, ..default }
    }

    fn hedge(&mut self, section: &Section<'_>, default: &CallConfig, base: Option<&Base<'_>>) -> Hedge {
        let hedge = section.under("hedge");
        let off = Hedge {
            percentile: None,
            min_delay: default.min_hedge_delay,
            delay: None,
            max_hedged_attempts: default.max_hedged_attempts,
        };
        if section.is_word("hedge", "off") {
            self.off(section, "hedge");
            return off;
        }
        let is_off = default.hedge_percentile.is_none() && default.hedge_delay.is_none();
        let from =
            |key: &str| base.map_or(Origin::Default, |base| Origin::Derived(format!("{}.{key}", base.path)));
        if is_off && !section.is_given("hedge") {
            self.setting(section.path_of("hedge"), "off", from("hedge"));
            return off;
        }
        let attempts = (u32::from(default.max_hedged_attempts), from("hedge.max_hedged_attempts"));
        let attempts = self.count_or(&hedge, "max_hedged_attempts", attempts);
        let max_hedged_attempts = u8::try_from(attempts).unwrap_or(u8::MAX);
        self.refuse_two_moments(&hedge);
        let by_percentile = hedge.is_given("percentile") || hedge.is_given("min_delay");
        let inherited = default.hedge_delay.filter(|_| !by_percentile);
        if hedge.is_given("delay") || inherited.is_some() {
            let delay = inherited.unwrap_or(default.min_hedge_delay);
            let delay = self.duration_or(&hedge, "delay", (delay, from("hedge.delay")));
            return Hedge { delay: Some(delay), max_hedged_attempts, ..off };
        }
        let usual = default.hedge_percentile.or(CallConfig::default().hedge_percentile).unwrap_or(0.95);
        let percentile = Some(self.ratio(&hedge, "percentile", usual));
        let min_delay = self.duration(&hedge, "min_delay", default.min_hedge_delay);
        Hedge { percentile, min_delay, max_hedged_attempts, ..off }
    }

    /// A fixed moment and an observed one exclude each other.
    fn refuse_two_moments(&mut self, hedge: &Section<'_>) {
        let others = ["percentile", "min_delay"];
        let other = others.into_iter().find_map(|key| Some((key, hedge.key_span(key)?)));
        if let (Some(delay), Some((key, span))) = (hedge.key_span("delay"), other) {
            let message = format!("`{key}` has no effect with a fixed `delay`");
            self.report(
                Diagnostic::new(Code::Contradiction, span, message)
                    .label("hedges begin after `delay`, whatever was observed")
                    .also(delay, "the fixed delay")
                    .help("keep `delay`, or `percentile` and `min_delay`")
                    .path(hedge.path_of(key)),
            );
        }
    }

    fn budget(&mut self, section: &Section<'_>) -> BudgetConfig {
        let default = BudgetConfig::default();
        let (retry, hedge) = (section.under("retry"), section.under("hedge"));
        let retry_ratio = self.ratio(&retry, "retry_ratio", default.retry_ratio);
        let floor = self.count(&retry, "min_retries_per_second", default.floor_per_second as u32);
        let hedge_ratio = if section.is_word("hedge", "off") {
            default.hedge_ratio
        } else {
            self.ratio(&hedge, "max_share", default.hedge_ratio)
        };
        BudgetConfig { retry_ratio, floor_per_second: f64::from(floor), hedge_ratio, ..default }
    }

    fn guard(&mut self, section: &Section<'_>, endpoint_count: usize, attempt_timeout: Duration) -> Guard {
        let several = endpoint_count > 1;
        let (right, wrong) =
            if several { ("ejection", "circuit_breaker") } else { ("circuit_breaker", "ejection") };
        if let Some(span) = section.key_span(wrong) {
            let count =
                if several { format!("{endpoint_count} endpoints") } else { "one endpoint".to_owned() };
            let message = format!("`{wrong}` does not apply to a service with {count}");
            self.report(
                Diagnostic::new(Code::WrongGuard, span, message)
                    .label(format!("guarded by `{right}`"))
                    .help(format!("use `{right}`, or change the number of replicas"))
                    .path(section.path_of(wrong)),
            );
        }
        if several {
            Guard::Ejection(self.ejection(&section.under("ejection")))
        } else {
            Guard::Breaker(self.breaker(&section.under("circuit_breaker"), attempt_timeout))
        }
    }

    fn ejection(&mut self, section: &Section<'_>) -> EjectionConfig {
        let default = EjectionConfig::default();
        let consecutive_failures = self.count(section, "consecutive_failures", default.consecutive_failures);
        let base = self.duration(section, "base_ejection_time", default.base_ejection_time);
        let longest = default.max_ejection_time.max(base);
        let max = self.duration_or(section, "max_ejection_time", (longest, Origin::Default));
        self.require_ascending(section, ("base_ejection_time", base), ("max_ejection_time", max));
        let own = EjectionConfig {
            consecutive_failures,
            base_ejection_time: base,
            max_ejection_time: max,
            sweep_interval: self.duration(section, "sweep_interval", default.sweep_interval),
            persistence: self.count(section, "persistence", default.persistence),
            readmission_successes: self.count(
                section,
                "readmission_successes",
                default.readmission_successes,
            ),
            ..default
        };
        self.peers(section, &own)
    }

    pub(super) fn breaker(&mut self, section: &Section<'_>, attempt_timeout: Duration) -> BreakerConfig {
        let default = BreakerConfig::default();
        let slow = section.get("slow_call_duration_threshold").and_then(Value::as_duration);
        let show = |slow: &Option<Duration>| slow.map_or_else(|| "none".to_owned(), show_duration);
        let consecutive_failures = self.count(section, "consecutive_failures", default.consecutive_failures);
        let failure_rate_threshold =
            self.ratio(section, "failure_rate_threshold", default.failure_rate_threshold);
        let minimum_number_of_calls =
            self.count(section, "minimum_number_of_calls", default.minimum_number_of_calls);
        let sliding_window = self.duration(section, "sliding_window_duration", default.sliding_window);
        let (sliding_window_type, sliding_window_size) = self.window_by_count(section, &default);
        let slow_call_duration = self.effective(
            section,
            "slow_call_duration_threshold",
            slow.map(Some),
            (None, Origin::Default),
            show,
        );
        let slow_call_rate_threshold =
            self.ratio(section, "slow_call_rate_threshold", default.slow_call_rate_threshold);
        let wait_key = "wait_duration_in_open_state";
        let wait = self.duration(section, wait_key, default.wait_duration_in_open_state);
        let max_key = "max_wait_duration_in_open_state";
        let max_wait = self.duration_or(section, max_key, (default.max_wait.max(wait), Origin::Default));
        self.require_ascending(section, (wait_key, wait), (max_key, max_wait));
        let probes_key = "permitted_number_of_calls_in_half_open_state";
        let probes = self.count(section, probes_key, default.permitted_number_of_calls_in_half_open_state);
        BreakerConfig {
            consecutive_failures,
            failure_rate_threshold,
            minimum_number_of_calls,
            sliding_window_type,
            sliding_window,
            sliding_window_size,
            slow_call_duration,
            slow_call_rate_threshold,
            wait_duration_in_open_state: wait,
            max_wait,
            permitted_number_of_calls_in_half_open_state: probes,
            // A probe that hangs is given up after twice what an attempt may take.
            probe_timeout: attempt_timeout.saturating_mul(2),
            recovery_ramp: self.duration(section, "recovery_ramp", default.recovery_ramp),
            mode: self.mode(section, default.mode),
            ..default
        }
    }

    fn parking(&mut self, section: &Section<'_>, is_external: bool) -> ParkingConfig {
        let default = ParkingConfig::default();
        let only_within = is_external.then_some(PARKING_EXTERNAL);
        if section.is_word("parking", "off") {
            self.off(section, "parking");
            return ParkingConfig { max_requests: 0, only_within, ..default };
        }
        let parking = section.under("parking");
        if parking.object.is_none() {
            let shown = format!("{} from clients, 0 through the egress", default.max_requests);
            self.setting(parking.path_of("max_requests"), shown, Origin::Default);
            return ParkingConfig { only_within, ..default };
        }
        let max_requests = self.count(&parking, "max_requests", default.max_requests);
        ParkingConfig { max_requests, only_within, ..default }
    }
}

/// The limit of an attempt when it is not given: short enough for all attempts to fit into the deadline.
fn attempt_fallback(
    total: Duration,
    max_attempts: u32,
    default: &CallConfig,
    base: Option<&Base<'_>>,
) -> (Duration, Origin) {
    let fitting = Duration::from_millis((total.as_millis() / u128::from(max_attempts.max(1))) as u64);
    let is_kept = base.is_some_and(|base| base.is_attempt_given) && default.attempt_timeout <= total;
    if fitting < default.attempt_timeout && !fitting.is_zero() && !is_kept {
        return (fitting, Origin::Derived(format!("{} / {max_attempts} attempts", show_duration(total))));
    }
    let origin =
        base.map_or(Origin::Default, |base| Origin::Derived(format!("{}.attempt_timeout", base.path)));
    (default.attempt_timeout, origin)
}
