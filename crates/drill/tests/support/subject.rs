//! Subjects, loads, failures and promises in few words.

use std::time::Duration;

use seaworthy_drill::{ReplicaSubject, ServiceSubject, Subject};
use seaworthy_spec::plan::{
    FailurePlan, FaultKind, FaultPlan, IdPath, IdStep, Limit, LoadPlan, Place, Promise, ReadBack, Response,
    Target, Word,
};

pub fn place(line: u32) -> Place {
    Place { line, column: 1 }
}

/// POST of ids that can be read back from `api`.
pub fn writers(rate: f64) -> LoadPlan {
    LoadPlan {
        name: "writers".to_owned(),
        method: "POST".to_owned(),
        path: "/tickets".to_owned(),
        json: Some(r#"{"buyer":"$id"}"#.to_owned()),
        idempotency_key: Some("$id".to_owned()),
        expect: vec![201],
        read_back: vec![ReadBack {
            from: 0,
            get: "/export".to_owned(),
            ids: IdPath(vec![IdStep::Each, IdStep::Member("buyer".to_owned())]),
        }],
        ..readers(rate)
    }
}

pub fn readers(rate: f64) -> LoadPlan {
    LoadPlan {
        name: "readers".to_owned(),
        place: place(10),
        rate,
        method: "GET".to_owned(),
        path: "/events/1".to_owned(),
        headers: vec![("x-load".to_owned(), "$id".to_owned())],
        json: None,
        idempotency_key: None,
        expect: Vec::new(),
        degraded: vec![503],
        timeout: Duration::from_secs(5),
        read_back: Vec::new(),
    }
}

pub fn load_promise(word: Word, limit: Limit) -> Promise {
    Promise { load: Some(0), name: format!("load.{}", word.as_str()), ..promise(word, limit) }
}

pub fn promise(word: Word, limit: Limit) -> Promise {
    Promise { name: word.as_str().to_owned(), word, load: None, during: false, limit, place: place(88) }
}

pub fn at_most(millis: u64) -> Limit {
    Limit::AtMost(Duration::from_millis(millis))
}

pub fn failure(kind: FaultKind, hold_ms: u64, promises: Vec<Promise>) -> FailurePlan {
    let target = Target::Replica { service: 0, replica: None };
    FailurePlan {
        id: "the-failure".to_owned(),
        place: place(80),
        required: "Nobody notices.".to_owned(),
        acceptable: None,
        faults: vec![FaultPlan { kind, target, place: place(81) }],
        likelihood: None,
        impact: None,
        response: Response::Automatic,
        relies_on: Vec::new(),
        every: None,
        hold: Duration::from_millis(hold_ms),
        settle: Duration::from_secs(1),
        promises,
        during: Vec::new(),
    }
}

pub fn subject(loads: Vec<LoadPlan>, failures: Vec<FailurePlan>) -> Subject {
    let replica = ReplicaSubject { id: "a-1".to_owned(), zone: 0, external: None };
    Subject {
        name: "stub".to_owned(),
        file: "seaworthy.yaml".to_owned(),
        sha256: "0".repeat(64),
        zones: vec!["a".to_owned()],
        services: vec![ServiceSubject { name: "api".to_owned(), replicas: vec![replica] }],
        loads,
        failures,
        ablated: Vec::new(),
    }
}
