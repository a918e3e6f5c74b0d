//! What a replica is told by its environment.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use seaworthy_spec::plan::{Plan, ProcessPlan, ReplicaPlan, ServicePlan};

use crate::error::SuperviseError;

/// Variables of ours begin like this; those that the node itself inherited are not passed on, so that a service sees
/// exactly what its own node says.
pub(crate) const PREFIX: &str = "SEAWORTHY_";

/// One replica of one service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) service: &'a ServicePlan,
    pub(crate) process: &'a ProcessPlan,
    pub(crate) replica: &'a ReplicaPlan,
}

/// Everything that stays the same from start to start; only `PORT` is missing. Ours win over the plan's.
pub(crate) fn environment(
    plan: &Plan,
    subject: Subject<'_>,
    egress: &BTreeMap<String, SocketAddr>,
    state_folder: &Path,
    token: &str,
) -> Result<BTreeMap<String, String>, SuperviseError> {
    let Subject { service, process, replica } = subject;
    let mut variables: BTreeMap<String, String> = process.environment.iter().cloned().collect();
    let mut set = |name: &str, value: String| variables.insert(format!("{PREFIX}{name}"), value);
    set("SERVICE", service.name.clone());
    set("ZONE", plan.zones.get(usize::from(replica.zone)).cloned().unwrap_or_default());
    set("REPLICA", replica.id.clone());
    set("STATE_DIR", state_folder.to_string_lossy().into_owned());
    set("TOKEN", token.to_owned());
    for need in &service.needs {
        let needed = &plan.services[need.service].name;
        let Some(address) = egress.get(needed) else {
            return Err(SuperviseError::Egress { service: service.name.clone(), needs: needed.clone() });
        };
        let name = needed.to_uppercase().replace('-', "_");
        set(&format!("EGRESS_{name}"), format!("http://{}", reachable(*address)));
    }
    if !plan.ablated.is_empty() {
        let names: Vec<&str> = plan.ablated.iter().map(|mechanism| mechanism.as_str()).collect();
        set("ABLATE", names.join(","));
    }
    Ok(variables)
}

/// Whoever listens everywhere is reached by the loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_everywhere_is_reached_by_the_loopback() {
        for (address, expected) in
            [("0.0.0.0:7", "127.0.0.1:7"), ("[::]:7", "[::1]:7"), ("10.0.0.1:7", "10.0.0.1:7")]
        {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), expected);
        }
    }
}
