//! Good specs mean what their authors expect.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use seaworthy_policy::backoff::Jitter;
use seaworthy_policy::breaker::{Mode as BreakerMode, WindowType};
use seaworthy_policy::idempotency::{Backend, Dialect};
use seaworthy_policy::pool::{Guard, Strategy, Tier};
use seaworthy_policy::restart::Mode;
use seaworthy_spec::plan::{
    AffinitySource, DegradeStep, FaultKind, IdStep, InFlight, KeysPlan, Limit, Mechanism, MemberPlan, Origin,
    Plan, ProbeAction, ProcessPlan, Response, ServiceKind, Target, Word,
};
use seaworthy_spec::{parse, plan_json, plan_text, render, template};

fn tickets() -> Plan {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good/tickets.yaml");
    let outcome = parse(&file.display().to_string(), std::fs::read(&file).unwrap());
    let text = render::human(outcome.source.as_ref(), &outcome.diagnostics, render::Style::Plain);
    outcome.plan.unwrap_or_else(|| panic!("{text}"))
}

fn plan_of(text: &str) -> Plan {
    let outcome = parse("folder/test.yaml", text);
    let problems = render::human(outcome.source.as_ref(), &outcome.diagnostics, render::Style::Plain);
    outcome.plan.unwrap_or_else(|| panic!("{problems}"))
}

fn process(plan: &Plan, service: &str) -> ProcessPlan {
    match &plan.service(service).unwrap().1.kind {
        ServiceKind::Supervised(process) => process.clone(),
        ServiceKind::External { .. } => panic!("{service} runs elsewhere"),
    }
}

const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn services_are_resolved() {
    let plan = tickets();
    assert_eq!(plan.name, "tickets");
    assert_eq!(plan.listen, Some(SocketAddr::from(([127, 0, 0, 1], 8080))));
    assert_eq!(plan.admin, SocketAddr::from(([127, 0, 0, 1], 9180)));
    assert_eq!(plan.zones, ["a", "b"]);
    assert_eq!(plan.sha256.len(), 64);

    let api = process(&plan, "api");
    assert_eq!(api.run, ["../../target/release/tickets", "api"]);
    assert_eq!(api.build.unwrap(), ["cargo", "build", "--release", "-p", "tickets"]);
    let expected = [("WORKERS", "4"), ("MODE", "on"), ("GREETING", "grüß \"dich\"")];
    assert_eq!(api.environment, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let replicas: Vec<(&str, u16)> =
        api.replicas.iter().map(|replica| (replica.id.as_str(), replica.zone)).collect();
    assert_eq!(replicas, [("a-1", 0), ("a-2", 0), ("b-1", 1)]);
    assert_eq!(api.readiness.action, ProbeAction::HttpGet("/readyz".into()));
    assert_eq!(process(&plan, "cache").run, ["../../target/release/tickets", "cache"]);

    let (_, service) = plan.service("api").unwrap();
    let needs: Vec<(&str, bool)> =
        service.needs.iter().map(|need| (plan.services[need.service].name.as_str(), need.required)).collect();
    assert_eq!(needs, [("ledger", true), ("payments", false), ("cache", false)]);
    assert!(matches!(service.pool.guard, Guard::Ejection(_)), "three endpoints are guarded by ejection");

    let (_, payments) = plan.service("payments").unwrap();
    assert_eq!((payments.call.total_timeout, payments.call.attempt_timeout), (millis(2_000), millis(600)));
    assert_eq!(payments.call.connect_timeout, millis(600), "no longer than an attempt");
    assert!(payments.keyed && !payments.call.park);
    let Guard::Breaker(breaker) = &payments.pool.guard else {
        panic!("one endpoint is guarded by a breaker")
    };
    assert_eq!((breaker.max_wait, breaker.recovery_ramp), (millis(4_000), millis(2_000)));
    assert_eq!(breaker.probe_timeout, millis(1_200));
}

#[test]
fn routes_are_sorted_the_most_specific_first() {
    let plan = tickets();
    let names: Vec<&str> = plan.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["buy-ticket", "list-events", "show-event", "rest"]);
    for (method, path, expected) in [
        ("GET", "/events", "list-events"),
        ("GET", "/events?page=2", "list-events"),
        ("GET", "/events/", "show-event"),
        ("GET", "/events/1", "show-event"),
        ("POST", "/events/1", "rest"),
        ("GET", "/eventsx", "rest"),
        ("POST", "/tickets", "buy-ticket"),
        ("GET", "/tickets", "rest"),
        ("GET", "/", "rest"),
    ] {
        assert_eq!(plan.route(method, path).unwrap().name, expected, "{method} {path}");
    }
    let route = |name: &str| plan.routes.iter().find(|route| route.name == name).unwrap();
    assert!(route("buy-ticket").keyed && !route("rest").keyed);
    assert!(route("rest").call.park && !route("show-event").call.park, "a degrade step answers at once");
    let answer = DegradeStep::Static { status: 503, json: r#"{"error":"later"}"#.into() };
    assert_eq!(route("show-event").degrade, [answer]);
    let listed = &route("list-events").call;
    assert_eq!((listed.total_timeout, listed.attempt_timeout), (millis(3_000), millis(1_500)));
    assert_eq!((listed.max_attempts, listed.hedge_percentile), (2, None));
}

#[test]
fn stored_answers_are_resolved() {
    let text = "seaworthy: v1\nname: x\ngateway: { listen: 127.0.0.1:0, cache: { max_bytes: 8MiB } }\n\
        services:\n  api: { run: ./api }\n  spare: { run: ./spare }\n\
        routes:\n  list: { match: GET /a, to: api, cache: { ttl: 2s, stale_while_revalidate: 1s },\n    \
        degrade: [ { stale: 10m }, { service: spare, max_concurrent_calls: 7 }, { static: { status: 503 } } ] }\n  \
        plain: { match: /b, to: api }\n";
    let plan = seaworthy_spec::parse("x.yaml", text).plan.expect("the spec is sound");
    assert_eq!(
        (plan.cache.max_bytes, plan.cache.max_entries, plan.cache.max_answer_bytes),
        (8 << 20, 10_000, 1 << 20)
    );
    let list = plan.routes.iter().find(|route| route.name == "list").unwrap();
    let cache = list.cache.unwrap();
    assert_eq!((cache.ttl, cache.stale_while_revalidate), (millis(2_000), millis(1_000)));
    let [DegradeStep::Stale { max_age }, DegradeStep::Service { to, max_concurrent_calls, time_kept }, last] =
        list.degrade.as_slice()
    else {
        panic!("three steps: {:?}", list.degrade)
    };
    assert_eq!((*max_age, *to, *max_concurrent_calls, *time_kept), (millis(600_000), 1, 7, millis(5_000)));
    assert!(matches!(last, DegradeStep::Static { status: 503, .. }));
    assert!(plan.routes.iter().find(|route| route.name == "plain").unwrap().cache.is_none());
    let shown = |path: &str| plan.setting(path).map(|setting| setting.value.as_str());
    assert_eq!(shown("gateway.cache.max_bytes"), Some("8MiB"));
    assert_eq!(shown("routes.list.cache.ttl"), Some("2s"));
    assert_eq!(shown("routes.list.degrade.0.stale"), Some("10m"));
    assert_eq!(shown("routes.list.degrade.1.service"), Some("spare"));
    assert_eq!(shown("routes.plain.cache"), Some("off"));
}

#[test]
fn slow_clients_are_waited_for_as_long_as_the_spec_says() {
    let spec = |key: &str| {
        format!(
            "seaworthy: v1\nname: s\ngateway: {{ listen: 127.0.0.1:0{key} }}\nservices: {{ api: {{ run: ./api }} }}\n"
        )
    };
    assert_eq!(plan_of(&spec("")).client_body_timeout, Duration::from_secs(30));
    assert_eq!(plan_of(&spec(", client_body_timeout: 250ms")).client_body_timeout, millis(250));
}

#[test]
fn loads_are_resolved() {
    let plan = tickets();
    let [buyers, readers] = plan.loads.as_slice() else { panic!("two loads") };
    assert_eq!((buyers.rate, buyers.method.as_str(), buyers.path.as_str()), (200.0, "POST", "/tickets"));
    let json = r#"{"event":1,"buyer":"$id","tags":["x",2.5,null,true]}"#;
    assert_eq!(buyers.json.as_deref(), Some(json), "keys keep their order");
    assert_eq!((buyers.expect.as_slice(), buyers.degraded.as_slice()), ([201].as_slice(), [503].as_slice()));
    assert_eq!(buyers.timeout, millis(16_000), "the route's deadline + 1 s");
    assert_eq!(buyers.read_back[0].ids.0, [IdStep::Each, IdStep::Member("buyer".into())]);
    assert_eq!(plan.services[buyers.read_back[1].from].name, "payments");
    assert_eq!(readers.headers, [("X-Reader".to_owned(), "$id".to_owned())]);
    assert!(readers.expect.is_empty() && readers.read_back.is_empty());
}

#[test]
fn failures_are_resolved() {
    let plan = tickets();
    let [crash, payments, zone] = plan.failures.as_slice() else { panic!("three failures") };
    let api = plan.service("api").unwrap().0;
    assert_eq!(crash.faults[0].kind, FaultKind::Kill);
    assert_eq!(crash.faults[0].target, Target::Replica { service: api, replica: None });
    assert_eq!(crash.every, Some(Duration::from_hours(14 * 24)));
    let mechanisms: Vec<Mechanism> = crash.relies_on.iter().map(|(mechanism, _)| *mechanism).collect();
    assert_eq!(mechanisms, [Mechanism::Replicas, Mechanism::Retry, Mechanism::Restart]);
    let promises: Vec<(&str, Limit, u32)> = crash
        .promises
        .iter()
        .map(|promise| (promise.name.as_str(), promise.limit, promise.place.line))
        .collect();
    assert_eq!(
        promises,
        [
            ("buyers.success", Limit::AtLeastShare(1.0), 47),
            ("buyers.p99", Limit::AtMost(millis(250)), 47),
            ("buyers.max", Limit::AtMost(millis(1_000)), 47),
            ("readers.success", Limit::AtLeastShare(1.0), 48),
            ("restarted_within", Limit::AtMost(millis(5_000)), 49),
            ("rpo", Limit::AtMost(Duration::ZERO), 50),
            ("duplicates", Limit::AtMostCount(0), 51),
        ]
    );
    assert_eq!(crash.hold, millis(10_000));

    assert_eq!(payments.response, Response::Runbook("docs/runbooks/payments.md".into()));
    assert_eq!(payments.hold, millis(25_000), "for_at_most + 5 s");
    let during = payments.promises.iter().find(|promise| promise.during).unwrap();
    assert_eq!((during.name.as_str(), during.word, during.load), ("buyers.during.p99", Word::P99, Some(0)));

    assert_eq!(zone.response, Response::Accept);
    assert_eq!((zone.faults[0].kind, &zone.faults[0].target), (FaultKind::Kill, &Target::Zone(0)));
    assert_eq!(zone.faults[1].kind, FaultKind::Latency { add: millis(200), share: 0.5 });
}

const SMALL: &str =
    "seaworthy: v1\nname: s\ngateway: { listen: 127.0.0.1:0 }\nservices:\n  api: { run: ./api";

#[test]
fn replicas_are_named_and_spread() {
    for (zones, replicas, expected) in [
        ("", "", "1@0"),
        ("", ", replicas: 2", "1@0 2@0"),
        ("zones: [x, y]\n", ", replicas: 3", "x-1@0 x-2@0 y-1@1"),
        ("zones: [x, y]\n", ", replicas: { y: 2 }", "y-1@1 y-2@1"),
        ("zones: [x, y]\n", ", replicas: 1", "x-1@0"),
    ] {
        let plan = plan_of(&format!("{zones}{SMALL}{replicas} }}"));
        let ids: Vec<String> = process(&plan, "api")
            .replicas
            .iter()
            .map(|replica| format!("{}@{}", replica.id, replica.zone))
            .collect();
        assert_eq!(ids.join(" "), expected, "{zones}{replicas}");
    }
}

#[test]
fn timeouts_follow_from_each_other() {
    for (service, route, expected) in [
        ("{}", "{}", (15_000, 5_000, 1_000)),
        ("{ total_timeout: 3s }", "{}", (3_000, 1_000, 1_000)),
        ("{ total_timeout: 2s, retry: { max_attempts: 5 } }", "{}", (2_000, 400, 400)),
        ("{ total_timeout: 60s }", "{}", (60_000, 5_000, 1_000)),
        ("{ attempt_timeout: 300ms }", "{}", (15_000, 300, 300)),
        ("{}", "{ total_timeout: 600ms }", (600, 200, 200)),
        ("{ attempt_timeout: 2s }", "{ total_timeout: 3s }", (3_000, 2_000, 1_000)),
        ("{ attempt_timeout: 2s }", "{ total_timeout: 1500ms }", (1_500, 500, 500)),
        ("{ attempt_timeout: 2s, connect_timeout: 2s }", "{ attempt_timeout: 1s }", (15_000, 1_000, 1_000)),
    ] {
        let text = format!(
            "{SMALL}, policy: {service} }}\nroutes:\n  all: {{ match: /**, to: api, policy: {route} }}"
        );
        let call = &plan_of(&text).routes[0].call;
        let found =
            [call.total_timeout, call.attempt_timeout, call.connect_timeout].map(|time| time.as_millis());
        assert_eq!(found, [expected.0, expected.1, expected.2], "{service} {route}");
    }
}

#[test]
fn parking_is_for_clients_unless_asked_for() {
    let external = "seaworthy: v1\nname: s\ngateway: { listen: 127.0.0.1:0 }\nservices:\n  api: { endpoints: \"http://127.0.0.1:1\"";
    for (spec, service_parks, route_parks, max, within) in [
        (format!("{SMALL} }}"), false, true, 10_000, None),
        (format!("{SMALL}, policy: {{ parking: off }} }}"), false, false, 0, None),
        (format!("{SMALL}, policy: {{ parking: {{ max_requests: 7 }} }} }}"), true, true, 7, None),
        (format!("{external} }}"), false, true, 10_000, Some(millis(10_000))),
    ] {
        let plan = plan_of(&format!("{spec}\nroutes:\n  all: {{ match: /**, to: api }}"));
        let (service, route) = (&plan.services[0], &plan.routes[0]);
        assert_eq!((service.call.park, route.call.park), (service_parks, route_parks), "{spec}");
        assert_eq!(
            (service.pool.parking.max_requests, service.pool.parking.only_within),
            (max, within),
            "{spec}"
        );
    }
}

#[test]
fn policies_can_be_switched_off() {
    let plan = plan_of(&format!(
        "{SMALL}, policy: {{ retry: off, hedge: off }} }}\nroutes:\n  a: {{ match: /**, to: api }}"
    ));
    for call in [&plan.services[0].call, &plan.routes[0].call] {
        assert!(!call.retry && call.hedge_percentile.is_none());
    }
    let again = "routes:\n  a: { match: /**, to: api, policy: { retry: { max_attempts: 2 }, hedge: { percentile: 90% } } }";
    let plan = plan_of(&format!("{SMALL}, policy: {{ retry: off, hedge: off }} }}\n{again}"));
    let call = &plan.routes[0].call;
    assert_eq!((call.retry, call.max_attempts, call.hedge_percentile), (true, 2, Some(0.9)));
}

#[test]
fn every_value_knows_who_set_it() {
    let plan = tickets();
    let origin = |path: &str| match &plan.setting(path).unwrap_or_else(|| panic!("no setting {path}")).origin
    {
        Origin::Spec(place) => format!("line {}", place.line),
        Origin::Default => "default".to_owned(),
        Origin::Derived(from) => from.clone(),
    };
    for (path, expected) in [
        ("name", "line 2"),
        ("admin.listen", "default"),
        ("services.payments.policy.attempt_timeout", "line 20"),
        ("services.payments.policy.connect_timeout", "attempt_timeout"),
        ("services.ledger.policy.attempt_timeout", "default"),
        ("routes.list-events.policy.attempt_timeout", "3s / 2 attempts"),
        ("load.buyers.timeout", "routes.buy-ticket.policy.total_timeout + 1s"),
        ("failures.payments-down.hold", "for_at_most + 5s"),
        ("failures.replica-crash.promise.buyers.p99", "line 47"),
    ] {
        assert_eq!(origin(path), expected, "{path}");
    }
    let mut paths: Vec<&str> = plan.settings.iter().map(|setting| setting.path.as_str()).collect();
    paths.sort_unstable();
    let count = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), count, "no path is told twice");

    let text = plan_text(&plan);
    assert!(text.lines().any(|line| line.ends_with("tickets.yaml:20") && line.contains("600ms")), "{text}");
    let json = plan_json(&plan);
    assert_eq!(json["schema"], "seaworthy.plan/1");
    assert_eq!(json["settings"].as_array().unwrap().len(), plan.settings.len());
}

#[test]
fn the_template_is_sound() {
    let plan = plan_of(template());
    assert_eq!((plan.services.len(), plan.routes.len(), plan.loads.len()), (1, 1, 1));
    assert!(template().starts_with("# yaml-language-server: $schema="));
}

#[test]
fn the_template_is_sound_when_all_of_it_is_used() {
    // Comments that are keys or items; what explains stays a comment.
    let is_key = |text: &str| {
        let word = text.trim_start().split([':', ' ']).next().unwrap_or_default();
        let is_word = !word.is_empty()
            && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
        is_word && text.trim_start()[word.len()..].starts_with(':') && !text.trim_start().starts_with("yaml-")
    };
    let lines = template().lines().map(|line| match line.find("# ") {
        Some(at) if line[..at].trim().is_empty() && is_key(&line[at + 2..]) => {
            format!("{}{}", &line[..at], &line[at + 2..])
        }
        _ => line.to_owned(),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let plan = plan_of(&text);
    assert_eq!((plan.services.len(), plan.loads.len(), plan.failures.len()), (3, 2, 4), "{text}");
}

#[test]
fn relative_paths_start_from_the_folder_of_the_spec() {
    let plan = plan_of(&format!("{SMALL} }}"));
    assert_eq!(plan.folder, Path::new("folder"));
    assert_eq!(parse("x.yaml", format!("{SMALL} }}")).plan.unwrap().folder, Path::new("."));
}

#[test]
fn a_byte_order_mark_and_windows_lines_are_fine() {
    let text = format!("\u{feff}{SMALL} }}\n").replace('\n', "\r\n");
    assert_eq!(plan_of(&text).name, "s");
    let json = r#"{"seaworthy": "v1", "name": "s", "services": {"api": {"run": ["./api"], "restart": {"mode": "never"}}}}"#;
    assert_eq!(process(&plan_of(json), "api").restart.mode, Mode::Never, "JSON is YAML");
}

#[test]
fn traffic_is_spread_as_asked() {
    let plan = plan_of(
        r#"
seaworthy: v1
name: shop
zones: [a, b]
gateway: { listen: 127.0.0.1:0 }
routes: { all: { match: /**, to: api } }
services:
  api:
    run: ./api
    replicas: { a: 2, b: { active: 1, standby: 1, weight: 3 } }
    readiness: { tcp: true, flap: { changes: 4, window: 30s, max_success_threshold: 8 } }
    liveness: { tcp: true, flap: off }
    policy:
      load_balancing: { strategy: affinity, affinity: { cookie: session }, load_factor: 1.5, own_zone: ignore,
                        healthy_share: 80%, slow_start: 0, standby_below: 0%, failback_delay: 5s }
      max_in_flight: 20
      ejection: { peer_latency: off, peer_failures: { excess: 20%, minimum_number_of_calls: 50 },
                  sweep_interval: 1s, persistence: 2, readmission_successes: 5 }
      retry: { jitter: decorrelated, max_retry_after: 3s }
      hedge: { delay: 50ms, max_hedged_attempts: 2 }
      deadline_header: X-Deadline
      deadline_margin: 20ms
      min_remaining: 30ms
  pay:
    endpoints: [ { url: "http://127.0.0.1:9001", zone: b, tier: standby }, { url: "http://127.0.0.1:9002", zone: a } ]
    policy: { load_balancing: { affinity: { header: X-User }, strategy: round_robin } }
  mail:
    endpoints: { url: "http://127.0.0.1:9003" }
    policy:
      circuit_breaker: { sliding_window_type: count_based, sliding_window_size: 40, mode: metrics_only }
"#,
    );
    let api = &plan.services[0];
    let ids: Vec<String> = process(&plan, "api").replicas.into_iter().map(|replica| replica.id).collect();
    assert_eq!(ids, ["a-1", "a-2", "b-1", "b-2"]);
    let member = |service: usize, id: &str| plan.services[service].traffic.members.get(id).copied();
    assert_eq!(member(0, "a-1"), None);
    assert_eq!(member(0, "b-1"), Some(MemberPlan { tier: Tier::Active, weight: 3 }));
    assert_eq!(member(0, "b-2"), Some(MemberPlan { tier: Tier::Standby, weight: 3 }));
    assert_eq!(member(1, "1"), Some(MemberPlan { tier: Tier::Standby, weight: 1 }));

    let traffic = &api.traffic;
    assert_eq!(traffic.affinity, Some(AffinitySource::Cookie("session".into())));
    assert_eq!((traffic.deadline_header.as_str(), traffic.deadline_margin), ("x-deadline", millis(20)));
    // What is told takes the margin off, so both must be left.
    assert_eq!(api.call.min_remaining, millis(50));
    assert_eq!(plan.routes[0].call.min_remaining, millis(50));
    let balance = &api.pool.balance;
    assert_eq!((balance.affinity_load_factor, balance.zone_healthy_share), (1.5, 0.8));
    assert_eq!((balance.slow_start, balance.standby_below), (Duration::ZERO, 0.0));
    assert_eq!((balance.failback_delay, balance.failure_cost), (millis(5_000), api.call.attempt_timeout));
    assert_eq!((api.pool.max_in_flight, api.call.in_flight_cap), (Some(20), Some(80)));
    let Guard::Ejection(ejection) = &api.pool.guard else { panic!("several endpoints") };
    assert!(ejection.slow_factor.is_infinite());
    assert_eq!((ejection.failure_excess, ejection.failure_calls_min), (0.2, 50));
    assert_eq!((ejection.sweep_interval, ejection.persistence), (millis(1_000), 2));
    assert_eq!(ejection.readmission_successes, 5);
    let call = &plan.routes[0].call;
    assert_eq!((call.hedge_delay, call.hedge_percentile), (Some(millis(50)), None));
    assert_eq!((call.max_hedged_attempts, call.max_retry_after), (2, millis(3_000)));
    assert_eq!(call.backoff.jitter, Jitter::Decorrelated);
    let process = process(&plan, "api");
    let flap = &process.readiness.health;
    assert_eq!((flap.flap_changes, flap.flap_window, flap.rise_max), (4, millis(30_000), 8));
    assert_eq!(process.liveness.unwrap().health.flap_changes, 0);

    let pay = &plan.services[1];
    assert_eq!(pay.traffic.affinity, Some(AffinitySource::Header("x-user".into())));
    assert_eq!(pay.pool.balance.strategy, Strategy::RoundRobin);
    let ServiceKind::External { endpoints, .. } = &pay.kind else { panic!("runs elsewhere") };
    assert_eq!(endpoints.iter().map(|(_, zone)| *zone).collect::<Vec<_>>(), [1, 0]);
    let Guard::Breaker(breaker) = &plan.services[2].pool.guard else { panic!("one endpoint") };
    assert_eq!((breaker.sliding_window_type, breaker.sliding_window_size), (WindowType::CountBased, 40));
    assert_eq!(breaker.mode, BreakerMode::MetricsOnly);
}

#[test]
fn a_gateway_prefers_its_zone_where_the_spec_lets_it() {
    let spec = "seaworthy: v1\nname: s\nzones: [a, b]\nservices:\n  api: { run: ./x }\n  web: { run: ./x, policy: { load_balancing: { own_zone: ignore } } }";
    let plan = plan_of(spec);
    assert!(plan.services.iter().all(|service| service.pool.balance.own_zone.is_none()));
    let zoned = plan.in_zone("b").unwrap();
    assert_eq!(zoned.services[0].pool.balance.own_zone, Some(1));
    assert_eq!(zoned.services[1].pool.balance.own_zone, None);
    assert_eq!(plan.in_zone("c").unwrap_err(), "there is no zone `c`: the spec has a, b");
    assert!(plan.in_zone("").is_err());
}

#[test]
fn what_becomes_of_keys_is_resolved_with_its_origin() {
    let text = "seaworthy: v1\nname: x\ngateway: { listen: 127.0.0.1:0 }\nservices:\n  api: { run: ./api }\n  \
        pay: { run: ./pay, egress: 127.0.0.1:0, policy: { idempotency: { key: optional, backend: honours } } }\n\
        routes:\n  a: { match: POST /a, to: api, idempotency: { key: required, backend: unaware } }\n  \
        b: { match: POST /b, to: api, idempotency: { key: required, backend: honours } }\n  \
        c: { match: POST /c, to: api, idempotency: { key: required, backend: honours, keep: 7d, in_flight: wait,\n    \
        max_answer: 64KiB, dialect: stripe } }\n  d: { match: POST /d, to: pay }\n  e: { match: POST /e, to: api }\n";
    let plan = seaworthy_spec::parse("x.yaml", text).plan.expect("the spec is sound");
    let day = Duration::from_hours(24);
    let keys = |name: &str| plan.routes.iter().find(|route| route.name == name).unwrap().keys;
    let default = KeysPlan {
        required: true,
        backend: Backend::Unaware,
        keep: Some(day),
        in_flight: InFlight::Refuse,
        max_answer: 1 << 20,
        dialect: Dialect::Draft,
    };
    assert_eq!(keys("a"), Some(default));
    assert_eq!(keys("b"), Some(KeysPlan { backend: Backend::Honours, keep: None, ..default }));
    let all = KeysPlan {
        required: true,
        backend: Backend::Honours,
        keep: Some(day * 7),
        in_flight: InFlight::Wait,
        max_answer: 64 << 10,
        dialect: Dialect::Stripe,
    };
    assert_eq!(keys("c"), Some(all));
    assert_eq!(
        keys("d"),
        Some(KeysPlan { required: false, backend: Backend::Honours, ..default }),
        "as its service"
    );
    assert_eq!(keys("e"), None);
    let keyed: Vec<bool> = plan.routes.iter().map(|route| route.keyed).collect();
    assert_eq!(keyed, [false, true, true, false, false]);
    let shown = |path: &str| {
        let setting = plan.settings.iter().find(|setting| setting.path == path).unwrap();
        (setting.value.as_str(), setting.origin.clone())
    };
    assert_eq!(shown("routes.a.idempotency.keep"), ("1d", Origin::Default));
    assert!(matches!(shown("routes.b.idempotency.keep"), ("off", Origin::Derived(_))));
    assert!(matches!(shown("routes.c.idempotency.keep"), ("7d", Origin::Spec(_))));
}
