//! Queues and topics as they are read once they are in effect, and as they are refused before that.

use std::path::PathBuf;
use std::time::Duration;

use seaworthy_policy::admission::Priority;
use seaworthy_policy::delivery::Guarantee;
use seaworthy_policy::{DeliveryConfig, Ratio};

use crate::keys::{SPEC_ACCEPTING_QUEUES, SPEC_REFUSING_QUEUES};
use crate::load::{LoadOutcome, parse_as};
use crate::plan::{
    DedupePlan, Origin, Plan, PushPlan, QueuePlan, SecretSource, Setting, SubscriberPlan, TopicPlan,
};
use crate::schema::schema_of;
use crate::{Code, render};

const GOOD: &str = include_str!("../../../tests/queues/good.yaml");

fn read(text: &str) -> LoadOutcome {
    parse_as(&SPEC_ACCEPTING_QUEUES, "seaworthy.yaml", text.as_bytes())
}

fn shown(outcome: &LoadOutcome) -> String {
    render::human(outcome.source.as_ref(), &outcome.diagnostics, render::Style::Plain)
}

fn good() -> Plan {
    let outcome = read(GOOD);
    let problems = shown(&outcome);
    outcome.plan.unwrap_or_else(|| panic!("{problems}"))
}

fn queue<'a>(plan: &'a Plan, name: &str) -> &'a QueuePlan {
    plan.queues.iter().find(|queue| queue.name == name).unwrap_or_else(|| panic!("no queue {name}"))
}

fn seconds(list: &[u64]) -> Vec<Duration> {
    list.iter().map(|seconds| Duration::from_secs(*seconds)).collect()
}

#[test]
fn before_they_are_in_effect_they_are_refused_and_nothing_else_is() {
    let outcome = parse_as(&SPEC_REFUSING_QUEUES, "seaworthy.yaml", GOOD.as_bytes());
    let refused: Vec<(Code, &str)> =
        outcome.diagnostics.iter().map(|found| (found.code, found.message.as_str())).collect();
    let expected =
        [(Code::NotYet, "`queues` is not supported yet"), (Code::NotYet, "`topics` is not supported yet")];
    assert_eq!(refused, expected);
    assert!(outcome.plan.is_none());
    let schema = schema_of(&SPEC_REFUSING_QUEUES);
    assert!(schema["properties"].get("queues").is_none() && schema["properties"].get("topics").is_none());
}

#[test]
fn what_people_read_is_one_of_the_two() {
    let refused = parse_as(&SPEC_REFUSING_QUEUES, "seaworthy.yaml", GOOD.as_bytes());
    let accepted = read(GOOD);
    let found = crate::parse("seaworthy.yaml", GOOD);
    let expected = if crate::keys::queues::IN_EFFECT { accepted } else { refused };
    assert_eq!(shown(&found), shown(&expected));
}

#[test]
fn a_line_is_enough() {
    let plan = good();
    let plain = queue(&plan, "plain");
    let push = PushPlan { service: 0, method: "POST".into(), path: "/tickets".into() };
    assert_eq!(plain.lane.push, Some(push));
    let mut default = DeliveryConfig::default();
    // The breaker of a spec is the default one of the policy, to the last value.
    default.breaker.clone_from(&plain.lane.delivery.breaker);
    assert_eq!(*plain.lane.delivery, default);
    let breaker = plain.lane.delivery.breaker.as_ref().unwrap();
    assert_eq!(**breaker, **DeliveryConfig::default().breaker.as_ref().unwrap());
    let dedupe = DedupePlan { window: Duration::from_hours(24), header: "idempotency-key".into() };
    assert_eq!(plain.dedupe, Some(dedupe));
    assert_eq!((plain.deadline, plain.delay, plain.priority), (None, Duration::ZERO, Priority::Critical));
    assert_eq!((plain.max_body, plain.capacity), (256 << 10, 1_000_000));
    assert_eq!((plain.lane.order_by.as_deref(), plain.lane.signing.as_slice()), (None, [].as_slice()));
    assert_eq!(plain.lane.dead_letter_age, Duration::from_hours(30 * 24));
    assert_eq!(plain.lane.dead_letters_max, 100_000);
}

#[test]
fn everything_can_be_said() {
    let plan = good();
    let full = queue(&plan, "full");
    let push = PushPlan { service: 1, method: "PUT".into(), path: "/hook?source=shop".into() };
    assert_eq!(full.lane.push, Some(push));
    let delivery = &full.lane.delivery;
    assert_eq!(delivery.schedule.waits.to_vec(), seconds(&[0, 1, 10, 60]));
    assert_eq!(Ratio::clamped(delivery.schedule.jitter), Ratio::clamped(0.1));
    assert_eq!(delivery.max_retry_after, Duration::from_hours(1));
    assert_eq!((delivery.timeout, delivery.lease), (Duration::from_secs(5), Duration::from_secs(10)));
    assert_eq!((delivery.concurrency, delivery.prefetch), (3, 3));
    let rate = delivery.rate.unwrap();
    assert_eq!((rate.limit_for_period, rate.limit_refresh_period), (5_400, Duration::from_hours(1)));
    assert_eq!(rate.burst, Some(2));
    let breaker = delivery.breaker.as_ref().unwrap();
    assert_eq!((breaker.consecutive_failures, breaker.probe_timeout), (3, Duration::from_secs(10)));
    assert_eq!(*delivery.final_statuses, [404, 422]);
    assert_eq!(delivery.guarantee, Guarantee::AtMostOnce);
    assert_eq!(full.lane.order_by.as_deref(), Some("x-customer"));
    let secrets =
        [SecretSource::Environment("NEW_SECRET".into()), SecretSource::File(PathBuf::from("secrets/old"))];
    assert_eq!(full.lane.signing, secrets);
    assert_eq!(full.lane.dead_letter_age, Duration::from_hours(14 * 24));
    assert_eq!(full.lane.dead_letters_max, 1_000);
    let dedupe = DedupePlan { window: Duration::from_hours(7 * 24), header: "x-request".into() };
    assert_eq!(full.dedupe, Some(dedupe));
    assert_eq!((full.deadline, full.delay), (Some(Duration::from_hours(48)), Duration::from_secs(30)));
    assert_eq!((full.priority, full.max_body, full.capacity), (Priority::Sheddable, 1 << 20, 5_000));

    let few = queue(&plan, "few");
    assert_eq!(few.lane.delivery.schedule.waits.to_vec(), seconds(&[0, 5, 300]));
    assert_eq!((few.lane.delivery.breaker.is_none(), &few.dedupe), (true, &None));
    let many = queue(&plan, "many");
    assert_eq!(many.lane.delivery.schedule.attempts(), 12);
    assert_eq!(many.lane.signing, [SecretSource::Environment("SECRET".into())]);
    let work = queue(&plan, "work");
    assert_eq!((&work.lane.push, work.lane.delivery.lease), (&None, Duration::from_mins(5)));
    assert_eq!(work.lane.delivery.schedule.waits.to_vec(), seconds(&[0]));
}

#[test]
fn topics_have_subscribers() {
    let plan = good();
    let [TopicPlan { name, age, size, max_body, subscribers, .. }, quiet] = plan.topics.as_slice() else {
        panic!("two topics")
    };
    assert_eq!((name.as_str(), *age), ("orders", Duration::from_hours(30 * 24)));
    assert_eq!((*size, *max_body), (10 << 30, 64 << 10));
    let [billing, archive] = subscribers.as_slice() else { panic!("two subscribers") };
    let SubscriberPlan { name, from_oldest, lane, .. } = billing;
    assert_eq!((name.as_str(), *from_oldest, lane.order_by.as_deref()), ("billing", true, Some("x-order")));
    assert_eq!((archive.from_oldest, &archive.lane.push), (false, &None));
    assert_eq!((quiet.age, quiet.size), (Duration::from_hours(7 * 24), 1 << 30));
}

#[test]
fn the_plan_says_where_each_value_comes_from() {
    let plan = good();
    for (path, value, is_written) in [
        ("queues.plain.deliver", "POST api/tickets", true),
        ("queues.plain.schedule", "[0s, 5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 1d]", false),
        ("queues.plain.jitter", "20%", false),
        ("queues.plain.timeout", "30s", false),
        ("queues.plain.rate", "none", false),
        ("queues.plain.final", "[400, 413, 414, 415, 422, 431]", false),
        ("queues.plain.circuit_breaker.consecutive_failures", "5", false),
        ("queues.plain.dedupe.window", "1d", false),
        ("queues.plain.max_body", "256KiB", false),
        ("queues.plain.signing", "none", false),
        ("queues.plain.order_by", "none", false),
        ("queues.full.rate", "90/m", true),
        ("queues.full.signing.secret", "[env:NEW_SECRET, file:secrets/old]", true),
        ("queues.full.order_by.header", "x-customer", true),
        ("queues.few.circuit_breaker", "off", true),
        ("queues.work.pull", "true", true),
        ("topics.orders.retention.size", "10GiB", true),
        ("topics.orders.subscribers.billing.start", "oldest", true),
        ("topics.orders.subscribers.archive.start", "now", false),
    ] {
        let Setting { value: found, origin, .. } =
            plan.setting(path).unwrap_or_else(|| panic!("no setting {path}"));
        assert_eq!((found.as_str(), matches!(origin, Origin::Spec(_))), (value, is_written), "{path}");
    }
    let attempts = plan.setting("queues.plain.attempts").unwrap();
    assert_eq!((attempts.value.as_str(), &attempts.origin), ("10", &Origin::Derived("schedule".into())));
}

#[test]
fn defaults_are_what_the_table_says() {
    let plan = good();
    let Some(crate::keys::Shape::Map(crate::keys::Shape::Object(table), _)) =
        SPEC_ACCEPTING_QUEUES.find("queues").map(|key| key.shape)
    else {
        panic!("queues have a table")
    };
    let mut compared = 0;
    for key in table.all() {
        let Some(setting) = plan.setting(&format!("queues.plain.{}", key.name)) else { continue };
        if let (Some(default), Origin::Default) = (key.default, &setting.origin) {
            assert_eq!(setting.value, default, "{}", key.name);
            compared += 1;
        }
    }
    assert!(compared >= 13, "only {compared}");
}

/// Bad specs by name.
macro_rules! bad {
    ($($name:literal),+) => {
        [$(($name, include_str!(concat!("../../../tests/queues/bad/", $name, ".yaml")))),+]
    };
}

#[test]
fn mistakes_are_explained() {
    for (name, text) in bad!("names", "foreign-words", "values", "contradictions", "secrets") {
        let outcome = read(text);
        assert!(outcome.has_errors(), "{name} is a bad spec");
        for found in &outcome.diagnostics {
            assert!(found.help.is_some() || !found.label.is_empty(), "{found:?}");
            assert_ne!(found.code, Code::NotYet, "{found:?}");
        }
        insta::with_settings!({
            omit_expression => true,
            prepend_module_to_snapshot => false,
            snapshot_path => "../../../tests/queues/snapshots",
        }, {
            insta::assert_snapshot!(name, shown(&outcome));
        });
    }
}

#[test]
fn a_secret_is_never_shown() {
    let text = include_str!("../../../tests/queues/bad/secrets.yaml");
    let outcome = read(text);
    for shown in [
        shown(&outcome),
        render::json("seaworthy.yaml", outcome.source.as_ref(), &outcome.diagnostics).to_string(),
        render::sarif("seaworthy.yaml", outcome.source.as_ref(), &outcome.diagnostics).to_string(),
    ] {
        assert!(shown.contains("a secret does not stand in the spec"), "{shown}");
        assert!(!shown.contains("whsec_M") && !shown.contains("NOT-A-NAME"), "{shown}");
    }
}

#[test]
fn the_schema_knows_them() {
    let schema = schema_of(&SPEC_ACCEPTING_QUEUES);
    let queue = &schema["properties"]["queues"]["additionalProperties"];
    for key in ["deliver", "pull", "schedule", "signing", "dedupe", "capacity", "circuit_breaker"] {
        let text = queue["properties"][key]["description"].as_str();
        assert!(text.is_some_and(|text| text.len() > 4), "{key}: {text:?}");
    }
    let subscriber = &schema["properties"]["topics"]["additionalProperties"]["properties"]["subscribers"];
    let known = &subscriber["additionalProperties"]["properties"];
    assert!(known.get("start").is_some() && known.get("capacity").is_none());
}
