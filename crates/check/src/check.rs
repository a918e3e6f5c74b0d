//! Runs all rules.

use seaworthy_spec::{Diagnostic, Location, Plan};

use crate::rules;

/// Everything that is wrong with a plan on paper, in the order of the spec.
pub fn check(plan: &Plan) -> Vec<Diagnostic> {
    let mut findings: Vec<Diagnostic> = rules::ALL.iter().flat_map(|rule| rule(plan)).collect();
    findings.sort_by_key(|finding| match finding.location {
        Location::At(place) => Some(place),
        Location::Bytes(_) | Location::File => None,
    });
    findings
}
