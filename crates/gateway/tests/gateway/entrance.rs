//! What requests must pass: rate limits, limits of concurrency with their queues, the throttle. Real sockets; what is
//! under way is what the upstream holds until the test lets it go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use seaworthy_observe::{Destination, EventKind, LogSink, Rendering};
use seaworthy_policy::admission::{Discipline, Priority, RejectorKind};
use seaworthy_policy::{AdmissionConfig, KeyedConfig, LimitConfig, RateLimitConfig, ThrottleConfig};
use seaworthy_spec::plan::{DegradeStep, EntrancePlan, Gated, KeySource, Plan};

use crate::drain::Shared as Written;
use crate::stub::{PATIENCE, Stub, ok, status};
use crate::support::{Rig, Wire, eventually, plan, route, service};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// An upstream that answers a request only when the test says so; its path says which.
pub(crate) struct Held {
    pub(crate) stub: Stub,
    go: Sender<()>,
}

impl Held {
    pub(crate) fn new() -> Self {
        let (go, wait): (Sender<()>, Receiver<()>) = channel();
        let wait = Mutex::new(wait);
        let stub = Stub::answering(move |_| {
            wait.lock().unwrap().recv_timeout(PATIENCE).ok()?;
            Some(ok("done"))
        });
        Self { stub, go }
    }

    /// The path of each request so far, in the order of arrival.
    pub(crate) fn order(&self) -> Vec<String> {
        let path = |line: &str| line.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
        self.stub.seen().iter().map(|seen| path(seen.line())).collect()
    }

    pub(crate) fn let_go(&self) {
        self.go.send(()).unwrap();
    }
}

pub(crate) fn bulkhead(limit: u32, queue: u32, key: KeySource) -> EntrancePlan {
    let config = AdmissionConfig {
        limit: LimitConfig::fixed(limit),
        max_queue: queue,
        max_wait_duration: Duration::from_secs(8),
        queue_discipline: Discipline::Fifo,
        // What CoDel does is tested where time can be turned by hand.
        rejector: RejectorKind::None,
        ..AdmissionConfig::default()
    };
    EntrancePlan { concurrency: Some(Gated { config, key }), ..EntrancePlan::default() }
}

fn quota(limit: u32, period: Duration, key: KeySource) -> EntrancePlan {
    let config = RateLimitConfig {
        limit_for_period: limit,
        limit_refresh_period: period,
        ..RateLimitConfig::default()
    };
    EntrancePlan { rate_limit: Some(Gated { config, key }), ..EntrancePlan::default() }
}

fn with_service(entrance: EntrancePlan) -> Plan {
    let mut api = service("api");
    api.entrance = entrance;
    plan(vec![api], vec![route("all", "/**")])
}

fn with_route(entrance: EntrancePlan) -> Plan {
    let mut all = route("all", "/**");
    all.entrance = entrance;
    plan(vec![service("api")], vec![all])
}

fn header(name: &str) -> KeySource {
    KeySource::Header(name.to_owned())
}

/// Sends a request and leaves its answer for later.
fn begin(rig: &Rig, path: &str, fields: &str) -> Wire {
    let mut wire = rig.connect();
    wire.send(format!("GET /{path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    wire
}

fn all_served(wires: &mut [Wire]) {
    for wire in wires {
        assert_eq!(wire.reply(false).status, 200);
    }
}

fn labels(gate: &str) -> String {
    // Services have a gate for each of their edges.
    let service = gate.strip_prefix("services.").and_then(|rest| rest.split('.').next());
    let edge = service.map_or_else(String::new, |service| format!("ingress:{service}"));
    format!("gate=\"{gate}\",edge=\"{edge}\"")
}

fn queued(rig: &Rig, gate: &str) -> u64 {
    rig.metric(&format!("seaworthy_queued_requests{{{}}}", labels(gate)))
}

fn under_way(rig: &Rig, gate: &str) -> u64 {
    rig.metric(&format!("seaworthy_concurrency{{{}}}", labels(gate)))
}

const SERVICE_GATE: &str = "services.api.policy.concurrency";

#[test]
fn a_burst_over_the_rate_limit_is_told_when_to_come_back() {
    let stub = Stub::saying("fine");
    let plan = with_route(quota(3, Duration::from_hours(1), KeySource::Client));
    let rig = Rig::of(&plan, &[&stub]);
    let mut wire = rig.connect();
    let replies: Vec<_> = (0..5).map(|_| wire.ask(GET)).collect();
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(stub.seen().len(), 3);
    for (reply, left) in replies.iter().zip([2, 1, 0]) {
        assert_eq!(reply.field("ratelimit-policy"), Some("\"all\";q=3;w=3600"));
        let state = reply.field("ratelimit").unwrap();
        assert!(state.starts_with(&format!("\"all\";r={left};t=")), "{state}");
    }
    let refused = &replies[3];
    assert_eq!(refused.problem(), "rate-limited");
    let document: serde_json::Value = serde_json::from_str(refused.text()).unwrap();
    assert_eq!(document["policy"], "routes.all.rate_limit");
    let after: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1190..=1200).contains(&after), "a third of an hour: {after}");
    assert!(refused.field("ratelimit").unwrap().starts_with("\"all\";r=0;t=1"));
    let status = refused.proxy_status();
    assert!(status.contains("error=http_request_denied") && status.contains("sent=?0"), "{status}");
    let series =
        "seaworthy_denied_requests_total{edge=\"ingress:api\",route=\"all\",reason=\"rate_limited\"}";
    assert_eq!(rig.metric(series), 2);
}

#[test]
fn each_value_of_a_header_has_a_quota_of_its_own_and_keys_are_bounded() {
    let stub = Stub::saying("fine");
    let mut entrance = quota(1, Duration::from_hours(1), header("x-tenant"));
    entrance.rate_limit.as_mut().unwrap().config.keys = KeyedConfig { max_keys: 3, ..KeyedConfig::default() };
    let rig = Rig::of(&with_route(entrance), &[&stub]);
    let ask = |tenant: &str| rig.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{tenant}\r\n")).status;
    let tenants = ["X-Tenant: a\r\n", "X-Tenant: b\r\n", ""];
    assert_eq!(tenants.map(ask), [200, 200, 200], "without the header, the client is the key");
    assert_eq!(tenants.map(ask), [429, 429, 429]);
    // Three quotas are in use; all strangers together have one more.
    let strangers: Vec<u16> = (0..20).map(|id| ask(&format!("X-Tenant: s{id}\r\n"))).collect();
    assert_eq!(strangers.iter().filter(|status| **status == 200).count(), 1, "{strangers:?}");
}

#[test]
fn a_request_may_wait_for_its_turn_within_its_deadline() {
    let stub = Stub::saying("fine");
    let mut entrance = quota(1, Duration::from_millis(300), KeySource::All);
    entrance.rate_limit.as_mut().unwrap().config.timeout_duration = Duration::from_secs(5);
    let mut plan = with_route(entrance);
    let rig = Rig::of(&plan, &[&stub]);
    let begun = Instant::now();
    assert_eq!((rig.ask(GET).status, rig.ask(GET).status), (200, 200));
    assert!(begun.elapsed() >= Duration::from_millis(290), "{:?}", begun.elapsed());
    // Who has less time than that is refused at once.
    let mut config = crate::support::call();
    config.total_timeout = Duration::from_millis(100);
    plan.routes[0].call = Arc::new(config);
    let rig = Rig::of(&plan, &[&stub]);
    assert_eq!(rig.ask(GET).status, 200);
    let begun = Instant::now();
    assert_eq!(rig.ask(GET).status, 429);
    assert!(begun.elapsed() < Duration::from_millis(250), "{:?}", begun.elapsed());
}

#[test]
fn two_threads_share_one_limit() {
    let held = Held::new();
    let plan = with_service(bulkhead(2, 1, KeySource::All));
    let rig = Rig::logging(&plan, LogSink::discard(), 2);
    rig.up("api", "1", held.stub.address);
    // Connections are spread over the threads by the kernel; ten of them reach both.
    let wires: Vec<Wire> = (0..10).map(|id| begin(&rig, &id.to_string(), "")).collect();
    let denied = "seaworthy_denied_requests_total{edge=\"ingress:api\",route=\"all\",reason=\"queue_full\"}";
    eventually("two under way, one waiting, seven refused", || {
        (held.order().len(), queued(&rig, SERVICE_GATE), rig.metric(denied)) == (2, 1, 7)
    });
    (0..3).for_each(|_| held.let_go());
    let mut statuses: Vec<u16> = Vec::new();
    for mut wire in wires {
        let reply = wire.reply(false);
        if reply.status == 503 {
            assert_eq!(reply.problem(), "overloaded");
            assert!(reply.field("retry-after").is_some());
            assert!(reply.proxy_status().contains("error=connection_limit_reached"), "{reply:?}");
        }
        statuses.push(reply.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 503, 503, 503, 503, 503, 503, 503]);
    eventually("empty places", || under_way(&rig, SERVICE_GATE) == 0);
}

#[test]
fn two_clients_take_turns() {
    let held = Held::new();
    let rig = Rig::of(&with_service(bulkhead(1, 10, header("x-user"))), &[&held.stub]);
    let mut wires = vec![begin(&rig, "first", "X-User: greedy\r\n")];
    eventually("the first", || held.order().len() == 1);
    for (id, user) in
        [("g1", "greedy"), ("g2", "greedy"), ("g3", "greedy"), ("m1", "modest"), ("m2", "modest")]
    {
        let before = queued(&rig, SERVICE_GATE);
        wires.push(begin(&rig, id, &format!("X-User: {user}\r\n")));
        eventually("its place", || queued(&rig, SERVICE_GATE) == before + 1);
    }
    (0..6).for_each(|_| held.let_go());
    all_served(&mut wires);
    assert_eq!(held.order(), ["first", "g1", "m1", "g2", "m2", "g3"]);
}

#[test]
fn critical_requests_are_served_while_sheddable_ones_are_shed() {
    let held = Held::new();
    let mut api = service("api");
    api.entrance = bulkhead(1, 2, KeySource::All);
    let of = |name: &str, path: &str, priority| {
        let mut route = route(name, path);
        route.entrance.priority = priority;
        route
    };
    let routes = vec![of("buy", "/buy/**", Priority::Critical), of("chat", "/chat/**", Priority::Sheddable)];
    let rig = Rig::of(&plan(vec![api], routes), &[&held.stub]);
    let mut first = begin(&rig, "chat/first", "");
    eventually("the first", || held.order().len() == 1);
    let mut chats = [begin(&rig, "chat/1", ""), begin(&rig, "chat/2", "")];
    eventually("a full queue", || queued(&rig, SERVICE_GATE) == 2);
    let mut buys = [begin(&rig, "buy/1", ""), begin(&rig, "buy/2", "")];
    // Those that waited go, and are told at once.
    for chat in &mut chats {
        let reply = chat.reply(false);
        assert_eq!((reply.status, reply.problem().as_str()), (503, "overloaded"));
        assert!(reply.proxy_status().contains("evicted"), "{reply:?}");
    }
    (0..3).for_each(|_| held.let_go());
    assert_eq!(first.reply(false).status, 200);
    all_served(&mut buys);
    assert!(held.order()[1..].iter().all(|path| path.starts_with("buy/")), "{:?}", held.order());
    let denied = |route: &str| {
        rig.metric(&format!(
            "seaworthy_denied_requests_total{{edge=\"ingress:api\",route=\"{route}\",reason=\"evicted\"}}"
        ))
    };
    assert_eq!((denied("chat"), denied("buy")), (2, 0));
}

#[test]
fn a_waiting_client_that_leaves_takes_nobodys_place() {
    let held = Held::new();
    let rig = Rig::of(&with_service(bulkhead(1, 5, KeySource::All)), &[&held.stub]);
    let mut first = begin(&rig, "first", "");
    eventually("the first", || held.order().len() == 1);
    let leaver = begin(&rig, "leaver", "");
    eventually("a queue", || queued(&rig, SERVICE_GATE) == 1);
    let mut second = begin(&rig, "second", "");
    eventually("a longer queue", || queued(&rig, SERVICE_GATE) == 2);
    drop(leaver);
    eventually("a shorter queue", || queued(&rig, SERVICE_GATE) == 1);
    (0..2).for_each(|_| held.let_go());
    assert_eq!((first.reply(false).status, second.reply(false).status), (200, 200));
    assert_eq!(held.order(), ["first", "second"]);
    // And one that leaves while its call is under way.
    let leaver = begin(&rig, "third", "");
    eventually("the third", || held.order().len() == 3);
    assert_eq!(under_way(&rig, SERVICE_GATE), 1);
    drop(leaver);
    eventually("an empty place", || under_way(&rig, SERVICE_GATE) == 0);
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let stub = Stub::answering(|_| {
        std::thread::sleep(Duration::from_millis(2));
        Some(ok("fine"))
    });
    let plan = with_service(bulkhead(3, 20, KeySource::All));
    let rig = Rig::logging(&plan, LogSink::discard(), 2);
    rig.up("api", "1", stub.address);
    let answered = AtomicUsize::new(0);
    // Every third client is gone before, while, or after it is its turn.
    let one = |number: u64| {
        let mut wire = begin(&rig, "x", "");
        if number.is_multiple_of(3) {
            return std::thread::sleep(Duration::from_micros(700 * (number / 3 % 8)));
        }
        assert_eq!(wire.reply(false).status, 200);
        answered.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for client in 0..8 {
            let one = &one;
            scope.spawn(move || (0..40).for_each(|round| one(client + round)));
        }
    });
    assert!(answered.load(Ordering::Relaxed) > 150);
    eventually("empty places", || (under_way(&rig, SERVICE_GATE), queued(&rig, SERVICE_GATE)) == (0, 0));
    for _ in 0..5 {
        assert_eq!(rig.ask(GET).status, 200, "all places can be taken again");
    }
}

#[test]
fn the_wait_counts_in_the_deadline() {
    let held = Held::new();
    let mut plan = with_service(bulkhead(1, 5, KeySource::All));
    let mut config = crate::support::call();
    config.total_timeout = Duration::from_millis(400);
    plan.routes.push(route("slow", "/slow/**"));
    plan.routes[0].call = Arc::new(config);
    plan.routes.reverse();
    let rig = Rig::of(&plan, &[&held.stub]);
    let mut first = begin(&rig, "slow/first", "");
    eventually("the first", || held.order().len() == 1);
    let begun = Instant::now();
    let reply = rig.ask(GET);
    let took = begun.elapsed();
    assert_eq!((reply.status, reply.problem().as_str()), (503, "overloaded"), "{reply:?}");
    assert!(reply.proxy_status().contains("deadline_expired"), "{reply:?}");
    assert!((Duration::from_millis(380)..Duration::from_secs(3)).contains(&took), "{took:?}");
    held.let_go();
    assert_eq!(first.reply(false).status, 200);
}

#[test]
fn a_drain_serves_those_who_wait() {
    let held = Held::new();
    let rig = Rig::of(&with_service(bulkhead(1, 5, KeySource::All)), &[&held.stub]);
    let mut wires = vec![begin(&rig, "first", "")];
    eventually("the first", || held.order().len() == 1);
    wires.extend([begin(&rig, "second", ""), begin(&rig, "third", "")]);
    eventually("a queue", || queued(&rig, SERVICE_GATE) == 2);
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| rig.drain(Duration::from_secs(8)));
        eventually("refusal", || std::net::TcpStream::connect(rig.ingress()).is_err());
        (0..3).for_each(|_| held.let_go());
        for wire in &mut wires {
            let reply = wire.reply(false);
            assert_eq!((reply.status, reply.field("connection")), (200, Some("close")));
        }
        assert_eq!(draining.join().unwrap().cut, 0);
    });
}

#[test]
fn the_narrowest_limit_comes_first_and_the_gateways_is_shared() {
    let held = Held::new();
    let (api, mut slow) = (service("api"), service("slow"));
    slow.entrance = bulkhead(1, 5, KeySource::All);
    let mut to_slow = route("slow", "/slow/**");
    to_slow.to = 1;
    let mut plan = plan(vec![api, slow], vec![to_slow, route("all", "/**")]);
    plan.entrance = bulkhead(2, 5, KeySource::All);
    let rig = Rig::of(&plan, &[&held.stub]);
    rig.up("slow", "1", held.stub.address);
    let mut wires = vec![begin(&rig, "slow/1", ""), begin(&rig, "slow/2", ""), begin(&rig, "slow/3", "")];
    eventually("a queue", || queued(&rig, "services.slow.policy.concurrency") == 2);
    // They hold one of the two common places, not both.
    wires.push(begin(&rig, "other", ""));
    eventually("the other service", || held.order().len() == 2);
    assert_eq!(under_way(&rig, "gateway.concurrency"), 2);
    (0..4).for_each(|_| held.let_go());
    all_served(&mut wires);
}

#[test]
fn what_is_shed_goes_down_the_ladder_and_what_is_too_much_does_not() {
    let held = Held::new();
    let mut plan = with_service(bulkhead(1, 0, KeySource::All));
    plan.routes[0].degrade = vec![DegradeStep::Static { status: 503, json: "{\"later\":true}".to_owned() }];
    let rig = Rig::of(&plan, &[&held.stub]);
    let mut first = begin(&rig, "first", "");
    eventually("the first", || held.order().len() == 1);
    let reply = rig.ask(GET);
    assert_eq!((reply.status, reply.field("degraded")), (503, Some("static")));
    assert_eq!(reply.text(), "{\"later\":true}");
    assert!(reply.field("retry-after").is_some() && reply.proxy_status().contains("limit_reached"));
    held.let_go();
    assert_eq!(first.reply(false).status, 200);

    let stub = Stub::saying("fine");
    let mut limited = with_route(quota(1, Duration::from_hours(1), KeySource::All));
    limited.routes[0].degrade = plan.routes[0].degrade.clone();
    let rig = Rig::of(&limited, &[&stub]);
    assert_eq!(rig.ask(GET).status, 200);
    assert_eq!((rig.ask(GET).status, rig.ask(GET).field("degraded")), (429, None));
}

#[test]
fn what_we_refuse_is_no_failure_of_the_service() {
    let held = Held::new();
    let rig = Rig::of(&with_service(bulkhead(1, 0, KeySource::All)), &[&held.stub]);
    let mut first = begin(&rig, "first", "");
    eventually("the first", || held.order().len() == 1);
    let budget = || rig.gateway.views()[0].budget_balance;
    let before = budget();
    for _ in 0..50 {
        assert_eq!(rig.ask(GET).status, 503);
    }
    // Neither the endpoint nor the budget hears of it, and nothing is tried again.
    let view = rig.gateway.views().remove(0);
    assert_eq!(view.endpoints[0].1.state, "available", "{view:?}");
    assert!(budget() >= before, "{before} {}", budget());
    let attempts =
        |kind: &str| rig.metric(&format!("seaworthy_attempts_total{{edge=\"ingress:api\",kind=\"{kind}\"}}"));
    assert_eq!((attempts("first"), attempts("retry"), attempts("hedge")), (1, 0, 0));
    let (all, told) = (rig.events(), |event: &EventKind| matches!(event, EventKind::SheddingBegan { .. }));
    assert!(all.len() == 1 && all.iter().all(told), "all that is told is that we refuse: {all:?}");
    held.let_go();
    assert_eq!(first.reply(false).status, 200);
}

#[test]
fn the_throttle_spares_a_service_that_refuses() {
    let (stub, healthy) = (Stub::answering(|_| Some(status(503, "full"))), Stub::saying("fine"));
    let with_throttle = || {
        let mut payments = service("payments");
        payments.egress = Some(([127, 0, 0, 1], 0).into());
        // Only the throttle is to be seen.
        payments.pool.guard = seaworthy_policy::pool::Guard::Off;
        let mut config = crate::support::call();
        config.retry = false;
        payments.call = Arc::new(config);
        let throttle = ThrottleConfig { minimum_rps: 0.1, ..ThrottleConfig::default() };
        payments.entrance = EntrancePlan { throttle: Some(throttle), ..EntrancePlan::default() };
        let mut pay = route("pay", "/pay/**");
        pay.call = Arc::clone(&payments.call);
        plan(vec![payments], vec![pay])
    };
    let rig = Rig::of(&with_throttle(), &[&stub]);
    let mut wire = Wire::to(rig.gateway.egress_addresses()["payments"]);
    let replies: Vec<_> = (0..300).map(|_| wire.ask(GET)).collect();
    let ours: Vec<_> = replies.iter().filter(|reply| reply.field("proxy-status").is_some()).collect();
    assert!((200..295).contains(&ours.len()), "nine tenths or so: {}", ours.len());
    assert_eq!(stub.seen().len(), 300 - ours.len());
    for reply in &ours {
        assert_eq!((reply.status, reply.problem().as_str()), (503, "throttled"));
        assert!(reply.field("retry-after").is_some());
        assert!(reply.proxy_status().contains("services.payments.policy.adaptive_throttle"));
    }
    // Clients who come through the gateway are not held back by it.
    let direct = rig.get("/pay/x");
    assert_eq!((direct.status, direct.field("proxy-status")), (503, None));
    // A reset forgets, and a healthy service is never held back.
    rig.gateway.reset();
    assert_eq!(wire.ask(GET).field("proxy-status"), None);
    let rig = Rig::of(&with_throttle(), &[&healthy]);
    let mut wire = Wire::to(rig.gateway.egress_addresses()["payments"]);
    assert!((0..200).all(|_| wire.ask(GET).status == 200));
}

#[test]
fn the_access_log_says_who_waited_and_who_was_refused() {
    let written = Written::default();
    let logs = LogSink::start(vec![Destination::writer(Box::new(written.clone()), Rendering::Json)]).unwrap();
    let held = Held::new();
    let rig = Rig::logging(&with_service(bulkhead(1, 1, KeySource::All)), logs, 1);
    rig.up("api", "1", held.stub.address);
    let mut first = begin(&rig, "first", "");
    eventually("the first", || held.order().len() == 1);
    let mut waiting = begin(&rig, "waiting", "");
    eventually("a queue", || queued(&rig, SERVICE_GATE) == 1);
    assert_eq!(rig.get("/refused").status, 503);
    (0..2).for_each(|_| held.let_go());
    assert_eq!((first.reply(false).status, waiting.reply(false).status), (200, 200));
    let text = || String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    eventually("three lines", || rig.logs.flush() && text().lines().count() == 3);
    let lines: Vec<serde_json::Value> =
        text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = |path: &str| lines.iter().find(|line| line["path"] == path).unwrap();
    let refused = line("/refused");
    assert_eq!((&refused["refused"], &refused["refused_by"]), (&"queue_full".into(), &SERVICE_GATE.into()));
    assert_eq!(refused["proxy_error"], "connection_limit_reached");
    assert!(line("/waiting")["waited_ms"].as_f64().unwrap() > 0.0);
    assert!(line("/first").get("waited_ms").is_none() && line("/first").get("refused").is_none());
}

#[test]
fn what_the_spec_says_is_what_happens() {
    let held = Held::new();
    let spec = format!(
        "seaworthy: v1
name: shop
gateway: {{ listen: 127.0.0.1:0, rate_limit: {{ limit_for_period: 50, limit_refresh_period: 1h, key: all }} }}
admin: {{ listen: 127.0.0.1:0 }}
services:
  api: {{ endpoints: [\"http://{}\"], policy: {{ concurrency: {{ limit: 1, queue: 1 }} }} }}
routes:
  buy: {{ match: /buy/**, to: api, priority: critical_plus }}
  chat: {{ match: /chat/**, to: api, priority: sheddable, rate_limit: {{ limit_for_period: 2, limit_refresh_period: 1h }} }}
",
        held.stub.address
    );
    let outcome = seaworthy_spec::parse("seaworthy.yaml", spec);
    let plan = outcome.plan.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
    let rig = Rig::of(&plan, &[&held.stub]);
    let mut first = begin(&rig, "chat/first", "");
    eventually("the first", || held.order().len() == 1);
    let mut shed = begin(&rig, "chat/shed", "");
    eventually("a queue", || queued(&rig, SERVICE_GATE) == 1);
    let mut buy = begin(&rig, "buy/1", "");
    assert!(shed.reply(false).proxy_status().contains("evicted"));
    let limited = rig.get("/chat/third");
    assert_eq!((limited.status, limited.problem().as_str()), (429, "rate-limited"));
    (0..2).for_each(|_| held.let_go());
    assert_eq!(first.reply(false).status, 200);
    let bought = buy.reply(false);
    assert_eq!(bought.field("ratelimit-policy"), Some("\"gateway\";q=50;w=3600"));
    // The third message was refused by its route's limit before it could use up anything of the gateway's.
    assert!(bought.field("ratelimit").unwrap().starts_with("\"gateway\";r=47;"), "{bought:?}");
}
