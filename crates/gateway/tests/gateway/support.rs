//! A gateway with its plan, and a client that sees every byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaworthy_gateway::{Drained, Gateway, GatewayPorts};
use seaworthy_observe::metrics::Registry;
use seaworthy_observe::{
    Clock, DialTable, EndpointChange, EndpointId, EndpointSink, EventBus, EventKind, KeyKeeper, LogSink,
};
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::health::HealthConfig;
use seaworthy_policy::pool::PoolConfig;
use seaworthy_spec::plan::{
    EntrancePlan, Place, Plan, ProbeAction, ProbePlan, RouteMatch, RoutePlan, ServiceKind, ServicePlan,
    TrafficPlan,
};

use crate::stub::{PATIENCE, Stub, fields, read_body, read_head};

const PLACE: Place = Place { line: 1, column: 1 };

/// A service without an egress listener.
pub(crate) fn service(name: &str) -> ServicePlan {
    let readiness = ProbePlan { action: ProbeAction::Tcp, health: HealthConfig::default() };
    ServicePlan {
        name: name.to_owned(),
        place: PLACE,
        kind: ServiceKind::External { endpoints: Vec::new(), readiness },
        needs: Vec::new(),
        egress: None,
        call: Arc::new(call()),
        pool: PoolConfig::default(),
        keyed: false,
        keys: None,
        entrance: EntrancePlan::default(),
        traffic: TrafficPlan::default(),
    }
}

/// Defaults, but nobody waits for endpoints.
pub(crate) fn call() -> CallConfig {
    CallConfig { park: false, ..CallConfig::default() }
}

/// A route to the first service: `GET /x`, `/x/**`.
pub(crate) fn route(name: &str, matches: &str) -> RoutePlan {
    let (method, path) =
        matches.split_once(' ').map_or((None, matches), |(method, path)| (Some(method), path));
    let prefix = path.ends_with("/**");
    let path = path.trim_end_matches("**");
    RoutePlan {
        name: name.to_owned(),
        place: PLACE,
        matcher: RouteMatch { method: method.map(str::to_owned), path: path.to_owned(), prefix },
        to: 0,
        call: Arc::new(call()),
        keyed: false,
        keys: None,
        entrance: EntrancePlan::default(),
        degrade: Vec::new(),
        cache: None,
    }
}

pub(crate) fn plan(services: Vec<ServicePlan>, routes: Vec<RoutePlan>) -> Plan {
    let any = ([127, 0, 0, 1], 0).into();
    Plan {
        name: "test".to_owned(),
        file: PathBuf::new(),
        folder: PathBuf::new(),
        sha256: String::new(),
        listen: Some(any),
        admin: any,
        entrance: EntrancePlan::default(),
        drain: Duration::from_secs(30),
        client_body_timeout: Duration::from_secs(30),
        zones: vec!["a".to_owned(), "b".to_owned()],
        services,
        routes,
        data: Vec::new(),
        loads: Vec::new(),
        failures: Vec::new(),
        settings: Vec::new(),
        ablated: Vec::new(),
        cache: seaworthy_spec::plan::CacheLimits::default(),
        queues: Vec::new(),
        topics: Vec::new(),
    }
}

/// A running gateway.
pub(crate) struct Rig {
    pub(crate) gateway: Gateway,
    pub(crate) bus: EventBus,
    pub(crate) dial: Arc<DialTable>,
    pub(crate) metrics: Registry,
    pub(crate) logs: LogSink,
}

impl Rig {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self::logging(plan, LogSink::discard(), 1)
    }

    pub(crate) fn logging(plan: &Plan, logs: LogSink, threads: usize) -> Self {
        Self::keeping(plan, logs, threads, None)
    }

    pub(crate) fn keeping(
        plan: &Plan,
        logs: LogSink,
        threads: usize,
        keys: Option<Arc<dyn KeyKeeper>>,
    ) -> Self {
        let bus = EventBus::new(LogSink::discard());
        let (dial, metrics) = (Arc::<DialTable>::default(), Registry::new(threads));
        let ports = GatewayPorts {
            bus: bus.clone(),
            logs: logs.clone(),
            clock: Clock,
            dial: Arc::clone(&dial),
            metrics: metrics.clone(),
            keys,
            threads,
        };
        let gateway = Gateway::start(plan, ports).unwrap();
        Self { gateway, bus, dial, metrics, logs }
    }

    /// A gateway with one service `api` behind `/**`, and these upstreams as its replicas `1`, `2` ...
    pub(crate) fn with(stubs: &[&Stub]) -> Self {
        Self::of(&plan(vec![service("api")], vec![route("all", "/**")]), stubs)
    }

    /// A gateway with these upstreams behind its first service.
    pub(crate) fn of(plan: &Plan, stubs: &[&Stub]) -> Self {
        let rig = Self::new(plan);
        for (index, stub) in stubs.iter().enumerate() {
            rig.up(&plan.services[0].name, &(index + 1).to_string(), stub.address);
        }
        rig
    }

    /// A replica appears and is ready.
    pub(crate) fn up(&self, service: &str, replica: &str, address: SocketAddr) -> EndpointId {
        self.up_in(service, replica, address, 0)
    }

    /// The same, in that zone.
    pub(crate) fn up_in(&self, service: &str, replica: &str, address: SocketAddr, zone: u16) -> EndpointId {
        let id = EndpointId { service: service.into(), replica: replica.into(), incarnation: 1 };
        self.gateway.apply(EndpointChange::Added { id: id.clone(), address, zone });
        self.gateway.apply(EndpointChange::Health { id: id.clone(), ready: true, reason: "passes" });
        id
    }

    pub(crate) fn ingress(&self) -> SocketAddr {
        self.gateway.ingress_address().unwrap()
    }

    /// A connection to the ingress.
    pub(crate) fn connect(&self) -> Wire {
        Wire::to(self.ingress())
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> Reply {
        self.connect().ask(request)
    }

    /// GET on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    pub(crate) fn drain(&self, limit: Duration) -> Drained {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.gateway.drain(limit))
    }

    /// The value of a series that counts something, by the text in front of it.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.starts_with(&format!("{series} ")));
        let line = line.unwrap_or_else(|| panic!("{series} is not in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) fn events(&self) -> Vec<EventKind> {
        self.bus.since(0, usize::MAX).into_iter().map(|event| event.kind).collect()
    }
}

/// Waits until something is true.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A connection on which a test sees every byte.
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask(&mut self, request: &str) -> Reply {
        self.send(request);
        self.reply(request.starts_with("HEAD"))
    }

    /// Reads an answer; `bodyless` = to a HEAD.
    pub(crate) fn reply(&mut self, bodyless: bool) -> Reply {
        let head = read_head(&mut self.0).expect("a whole response head");
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        if bodyless || matches!(status, 100..=199 | 204 | 304) {
            return Reply { status, head, body: Ok(Vec::new()) };
        }
        let body = read_body(&mut self.0, &head, true);
        Reply { status, head, body }
    }

    /// True when the other side has closed; consumes nothing before.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// What there was of it, as an error when it broke off.
    pub(crate) body: Result<Vec<u8>, Vec<u8>>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.body.as_ref().expect("a whole body")).unwrap()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        fields(&self.head, name).first().copied()
    }

    /// The slug of the problem document.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{self:?}");
        let document: serde_json::Value = serde_json::from_str(self.text()).unwrap();
        assert_eq!(document["status"], self.status);
        assert_eq!(document["request_id"], self.field("x-request-id").unwrap());
        let kind = document["type"].as_str().unwrap();
        kind.strip_prefix("urn:seaworthy:problem:").unwrap().to_owned()
    }

    /// Proxy-Status, which must be there.
    pub(crate) fn proxy_status(&self) -> &str {
        self.field("proxy-status").unwrap_or_else(|| panic!("no Proxy-Status: {self:?}"))
    }
}
