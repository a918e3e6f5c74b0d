//! What a service is told, what becomes of what it says, and which errors stop a start.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::{Bench, kill, need, process, service, stub, supervised, within};
use rustix::process::Signal;
use seaworthy_observe::EventKind;
use seaworthy_spec::plan::{Mechanism, ReplicaPlan};
use seaworthy_supervise::SuperviseError;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test]
async fn services_are_told_who_and_where_they_are() {
    let mut services = vec![service("api", &[]), service("ledger-2", &[])];
    services[0].needs = vec![need(1)];
    let api = supervised(&mut services[0]);
    api.replicas = vec![ReplicaPlan { id: "b-1".to_owned(), zone: 1 }];
    api.environment = [("MINE", "yes"), ("PORT", "1"), ("SEAWORTHY_ZONE", "forged")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let mut bench = Bench::new(services);
    bench.egress.insert("ledger-2".to_owned(), "0.0.0.0:7102".parse().unwrap());
    bench.plan.ablated = vec![Mechanism::Retry, Mechanism::Hedge];
    let supervisor = bench.start_ready().await;
    let state = fs::canonicalize(bench.state("api", "b-1")).unwrap();
    let address = process(&supervisor, "api").address;
    within(supervisor.stop()).await;
    let text = fs::read_to_string(state.join("env")).unwrap();
    let told: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let ours: BTreeMap<&str, &str> =
        told.iter().filter(|(name, _)| name.starts_with("SEAWORTHY_")).map(|(k, v)| (*k, *v)).collect();
    let expected = BTreeMap::from([
        ("SEAWORTHY_SERVICE", "api"),
        ("SEAWORTHY_ZONE", "b"),
        ("SEAWORTHY_REPLICA", "b-1"),
        ("SEAWORTHY_STATE_DIR", state.to_str().unwrap()),
        ("SEAWORTHY_TOKEN", "secret"),
        ("SEAWORTHY_EGRESS_LEDGER_2", "http://127.0.0.1:7102"),
        ("SEAWORTHY_ABLATE", "retry,hedge"),
    ]);
    assert_eq!(ours, expected);
    assert_eq!((told["MINE"], told["PORT"]), ("yes", address.port().to_string().as_str()));
    assert_eq!(told.get("PATH").copied(), std::env::var("PATH").ok().as_deref());
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    let log = format!("{:?}", bench.log());
    assert!(!log.contains("secret"), "the token is in the log");
}

#[tokio::test]
async fn every_line_says_who_wrote_it() {
    let json = r#"{"level":"warn","message":"mine","n":1}"#;
    let bench = Bench::new(vec![service(
        "api",
        &["--print", "plain", "--print", json, "--print-error", "oops", "--flood", "200000"],
    )]);
    let supervisor = bench.start_ready().await;
    within(supervisor.stop()).await;
    let log = bench.log();
    let of_api: Vec<_> = log.iter().filter(|line| line["service"] == "api").collect();
    assert_eq!(of_api.len(), 4, "{of_api:?}");
    assert!(of_api.iter().all(|line| line["replica"] == "1" && line["ts"].is_string()), "{of_api:?}");
    let find = |message: &str| of_api.iter().find(|line| line["message"] == message).expect("it is there");
    assert_eq!(find("plain")["level"], "info");
    assert_eq!((&find("mine")["level"], &find("mine")["n"]), (&"warn".into(), &1.into()));
    find("oops");
    let flood = of_api.iter().find(|line| line["cut"] == true).expect("the flood is cut");
    assert_eq!(flood["message"].as_str().unwrap().len(), 64 * 1024);
}

#[tokio::test]
async fn builds_run_once_before_anything_starts() {
    let mut services = vec![service("api", &[]), service("web", &[])];
    for service in &mut services {
        supervised(service).build = Some(words(&["sh", "-c", "echo built; echo x >> builds"]));
    }
    let bench = Bench::new(services);
    let supervisor = bench.start_ready().await;
    within(supervisor.stop()).await;
    assert_eq!(
        fs::read_to_string(bench.folder.path().join("builds")).unwrap(),
        "x\n",
        "in the spec's folder"
    );
    let kinds: Vec<EventKind> = bench.events().into_iter().map(|event| event.kind).take(3).collect();
    assert_eq!(kinds[0], EventKind::BuildStarted { service: "api".to_owned() });
    assert_eq!(kinds[1], EventKind::BuildEnded { service: "api".to_owned(), ok: true });
    assert!(matches!(kinds[2], EventKind::ProcessStarted { .. }));
    let built = bench.log().into_iter().find(|line| line["message"] == "built").expect("it is in the log");
    assert_eq!((&built["service"], &built["replica"]), (&"api".into(), &"build".into()));
}

#[tokio::test]
async fn what_cannot_start_is_an_error_and_nothing_runs() {
    let broken = |change: fn(&mut seaworthy_spec::plan::ServicePlan)| {
        let mut services = vec![service("web", &[]), service("api", &[]), service("ledger", &[])];
        change(&mut services[1]);
        services
    };
    let build = broken(|api| supervised(api).build = Some(words(&["sh", "-c", "echo no; exit 3"])));
    let program = broken(|api| supervised(api).run = words(&["./missing", "x"]));
    let builder = broken(|api| supervised(api).build = Some(words(&["no-such-builder"])));
    let egress = broken(|api| api.needs = vec![need(2)]);
    let cases = [
        (build, "the build of service `api` failed: `sh -c echo no; exit 3` ended with code 3"),
        (program, "service `api`: cannot start FOLDER/./missing: no such file"),
        (builder, "service `api`: cannot start no-such-builder: not found in PATH"),
        (egress, "service `api` needs `ledger`, which has no egress listener"),
    ];
    for (services, expected) in cases {
        let bench = Bench::new(services);
        let error = within(bench.try_start()).await.err().expect("it cannot start");
        let folder = fs::canonicalize(bench.folder.path()).unwrap();
        let text = error.to_string().replace(folder.to_str().unwrap(), "FOLDER");
        assert!(text.starts_with(expected), "{text}");
        let started = |kind: &EventKind| matches!(kind, EventKind::ProcessStarted { .. });
        assert!(!bench.events().iter().any(|event| started(&event.kind)));
    }
    let mut bench = Bench::new(vec![service("api", &[])]);
    bench.plan.folder = bench.folder.path().join("nowhere");
    let error = bench.try_start().await.err().expect("it cannot start");
    assert!(matches!(error, SuperviseError::Folder { .. }), "{error}");
}

#[tokio::test]
async fn a_program_that_vanishes_later_is_an_event_and_is_tried_again() {
    let bench_folder = tempfile::tempdir().unwrap();
    let copy = bench_folder.path().join("tool");
    fs::copy(stub(), &copy).unwrap();
    let mut api = service("api", &[]);
    supervised(&mut api).run = words(&[copy.to_str().unwrap()]);
    let bench = Bench::new(vec![api]);
    let supervisor = bench.start_ready().await;
    let away = bench_folder.path().join("away");
    fs::rename(&copy, &away).unwrap();
    let before = bench.bus.newest();
    kill(process(&supervisor, "api").pid, Signal::KILL);
    let failed = bench.event(before, |kind| matches!(kind, EventKind::ProcessStartFailed { .. })).await;
    assert!(failed.kind.sentence().contains("No such file"), "{}", failed.kind.sentence());
    fs::rename(&away, &copy).unwrap();
    within(supervisor.all_ready()).await;
    within(supervisor.stop()).await;
}
