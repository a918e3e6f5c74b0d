//! Tables for requests.

use std::net::{Ipv4Addr, SocketAddr};

use seaworthy_observe::ports::EndpointId;

use super::*;

fn view(service: &str, replica: &str, zone: u16) -> ProcessView {
    let id = EndpointId { service: service.into(), replica: replica.into(), incarnation: 1 };
    ProcessView { id, pid: 1, zone, address: address(1), ready: true }
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Two replicas of `api`, one of `mail`, a third party `pay`; zone `c` is empty.
fn resolved(request: &str) -> Result<Resolved, String> {
    let mut older = view("api", "b-1", 1);
    older.id.incarnation = 0;
    let processes = [older, view("api", "b-1", 1), view("api", "a-1", 0), view("mail", "b-1", 1)];
    let zones = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let external = BTreeMap::from([("pay".to_owned(), vec![address(2), address(3)])]);
    let world = World { processes: &processes, zones: &zones, external: &external };
    let request: FaultRequest = serde_json::from_str(request).map_err(|error| error.to_string())?;
    resolve(&request, &world).map_err(|error| error.to_string())
}

fn faults(list: &str) -> String {
    format!(r#"{{"faults":[{list}]}}"#)
}

fn refused(rows: Vec<(String, &str)>) {
    for (request, expected) in rows {
        let error = resolved(&request).expect_err(&request);
        assert!(error.starts_with(expected), "{request}\n  {error}\n  {expected}");
    }
}

#[test]
fn nonsense_is_refused_with_the_field_that_is_wrong() {
    let api = r#""target":{"service":"api"}"#;
    let rows: Vec<(String, &str)> = vec![
        (r#"{"faults":[]}"#.to_owned(), "faults: must be 1 to 32 faults"),
        (
            faults(&vec![format!(r#"{{"kind":"kill",{api}}}"#); 33].join(",")),
            "faults: must be 1 to 32 faults",
        ),
        (
            format!(r#"{{"faults":[{{"kind":"kill",{api}}}],"deadline_ms":0}}"#),
            "deadline_ms: must be 1 to 600000",
        ),
        (
            format!(r#"{{"faults":[{{"kind":"kill",{api}}}],"deadline_ms":600001}}"#),
            "deadline_ms: must be 1 to 600000",
        ),
        (
            faults(&format!(r#"{{"kind":"kill",{api},"share":0.5}}"#)),
            "faults[0].share: means nothing for kill",
        ),
        (
            faults(&format!(r#"{{"kind":"refuse",{api},"share":0.5}}"#)),
            "faults[0].share: means nothing for refuse",
        ),
        (
            faults(&format!(r#"{{"kind":"errors",{api},"add_ms":5}}"#)),
            "faults[0].add_ms: means nothing for errors",
        ),
        (
            faults(&format!(r#"{{"kind":"latency",{api},"add_ms":5,"status":500}}"#)),
            "faults[0].status: means",
        ),
        (
            faults(&format!(r#"{{"kind":"latency",{api}}}"#)),
            "faults[0].add_ms: must say by how many milliseconds",
        ),
        (faults(&format!(r#"{{"kind":"latency",{api},"add_ms":0}}"#)), "faults[0].add_ms: must say"),
        (faults(&format!(r#"{{"kind":"latency",{api},"add_ms":600001}}"#)), "faults[0].add_ms: must say"),
        (
            faults(&format!(r#"{{"kind":"errors",{api},"status":302}}"#)),
            "faults[0].status: must be 400 to 599",
        ),
        (faults(&format!(r#"{{"kind":"errors",{api},"share":0}}"#)), "faults[0].share: must be above 0"),
        (faults(&format!(r#"{{"kind":"errors",{api},"share":-0.1}}"#)), "faults[0].share: must be above 0"),
        (faults(&format!(r#"{{"kind":"errors",{api},"share":1.01}}"#)), "faults[0].share: must be above 0"),
        (
            faults(&format!(
                r#"{{"kind":"errors",{api},"share":0.6}},{{"kind":"blackhole",{api},"share":0.5}}"#
            )),
            "faults[1].share: the shares of the faults on api/a-1 add up to more than 1",
        ),
    ];
    refused(rows);
}

#[test]
fn targets_that_are_not_there_or_taken_are_refused() {
    let api = r#""target":{"service":"api"}"#;
    let rows: Vec<(String, &str)> = vec![
        (
            faults(&format!(
                r#"{{"kind":"refuse",{api}}},{{"kind":"errors","target":{{"zone":"a"}},"share":0.5}}"#
            )),
            "faults[1]: the traffic to api/a-1 is already under faults[0]",
        ),
        (
            faults(&format!(r#"{{"kind":"pause",{api}}},{{"kind":"kill","target":{{"zone":1}}}}"#)),
            "faults[1]: the process of api/b-1 is already under faults[0]",
        ),
        (
            faults(r#"{"kind":"kill","target":{"egress":"api"}}"#),
            "faults[0].target: an egress is traffic, not a process",
        ),
        (
            faults(r#"{"kind":"kill","target":{"service":"pay"}}"#),
            "faults[0].target: `pay` runs elsewhere; only its traffic",
        ),
        (
            faults(r#"{"kind":"refuse","target":{"egress":"paid"}}"#),
            "faults[0].target: no replica of a service `paid` runs now; of these some do: api, mail, pay",
        ),
        (
            faults(r#"{"kind":"kill","target":{"replica":{"service":"api","replica":"a-9"}}}"#),
            "faults[0].target: no replica `a-9` of service `api`",
        ),
        (
            faults(r#"{"kind":"refuse","target":{"replica":{"service":"pay","replica":"3"}}}"#),
            "faults[0].target: no replica `3` of service `pay`",
        ),
        (
            faults(r#"{"kind":"kill","target":{"zone":3}}"#),
            "faults[0].target: no zone number 3; there are: a, b, c",
        ),
        (faults(r#"{"kind":"kill","target":{"zone":"c"}}"#), "faults[0].target: nothing runs in zone `c`"),
    ];
    refused(rows);
}

#[test]
fn targets_mean_what_runs_now() {
    let rows = [
        (r#"{"kind":"kill","target":{"service":"api"}}"#, "kill every replica of api", "api/a-1 api/b-1"),
        (r#"{"kind":"pause","target":{"zone":"b"}}"#, "pause zone `b`", "api/b-1 mail/b-1"),
        (r#"{"kind":"refuse","target":{"zone":0}}"#, "refuse zone number 0", "api/a-1"),
        (r#"{"kind":"refuse","target":{"service":"pay"}}"#, "refuse every replica of pay", "pay/1 pay/2"),
        (r#"{"kind":"blackhole","target":{"egress":"pay"}}"#, "blackhole egress:pay", "egress:pay"),
        (
            r#"{"kind":"latency","add_ms":200,"share":0.3,"target":{"egress":"mail"}},
            {"kind":"errors","share":0.005,"target":{"egress":"mail"}}"#,
            "latency +200 ms on 30 % of requests to egress:mail and errors 503 on 0.5 % of requests to egress:mail",
            "egress:mail",
        ),
    ];
    for (list, what, targets) in rows {
        let resolved = resolved(&faults(list)).expect(list);
        assert_eq!((resolved.what.as_str(), resolved.targets.join(" ").as_str()), (what, targets));
        assert_eq!(resolved.limit, DEADLINE_MAX);
    }
    let killed = resolved(&faults(r#"{"kind":"kill","target":{"zone":"b"}}"#)).expect("known");
    assert!(killed.kill.iter().all(|view| view.id.incarnation == 1), "the newest incarnation of each");
}

#[test]
fn shares_on_one_scope_become_one_mix_and_a_share_of_one_hangs() {
    let network = |list: &str| resolved(&faults(list)).expect(list).network;
    let egress = r#""target":{"egress":"mail"}"#;
    let both = network(&format!(
        r#"{{"kind":"blackhole",{egress},"share":0.3}},{{"kind":"errors",{egress},"share":0.05,"status":500}}"#
    ));
    let mut mix = Mix::one(Effect::Swallow, 0.3);
    assert!(mix.merge(&Mix::one(Effect::Answer(500), 0.05)));
    assert_eq!(both.len(), 1);
    assert!(matches!(&both[0].how, NetworkFault::Mix(found, _) if *found == mix), "{both:?}");
    for whole in ["", r#","share":1"#] {
        let hang = network(&format!(r#"{{"kind":"blackhole",{egress}{whole}}}"#));
        assert_eq!(hang[0].how, NetworkFault::Hang);
    }
    let seeds: Vec<u64> = network(r#"{"kind":"errors","target":{"service":"api"},"share":0.5}"#)
        .into_iter()
        .filter_map(|part| if let NetworkFault::Mix(_, seed) = part.how { Some(seed) } else { None })
        .collect();
    assert_eq!(seeds.len(), 2);
    assert_ne!(seeds[0], seeds[1], "replicas do not break in step");
}
