//! One rule per file.

mod attempt_outlasts_promise;
mod cannot_be_judged;
mod egress_outlasts_route;
mod latency_above_timeout;
mod load_without_route;
mod needs_circle;
mod no_promise;
mod relies_on_nothing;
mod retries_never_run;
mod single_copy;
mod single_replica;
mod stack;
#[cfg(test)]
mod testing;
mod timeout_order;
mod unreachable;

use seaworthy_spec::{Diagnostic, Plan};

/// A rule looks at a whole plan.
pub(crate) type Rule = fn(&Plan) -> Vec<Diagnostic>;

/// All rules.
pub(crate) const ALL: [Rule; 14] = [
    single_copy::rule,
    single_replica::rule,
    timeout_order::rule,
    egress_outlasts_route::rule,
    retries_never_run::rule,
    relies_on_nothing::rule,
    no_promise::rule,
    load_without_route::rule,
    latency_above_timeout::rule,
    cannot_be_judged::rule,
    needs_circle::rule,
    unreachable::rule,
    attempt_outlasts_promise::rule,
    stack::rule,
];
