//! Routes: which requests go where, the most specific first.

use std::cmp::Reverse;

use seaworthy_policy::call::CallConfig;

use super::cache::Rungs;
use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Data, Object, Value};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{KeysPlan, RouteMatch, RoutePlan, ServicePlan};
use crate::source::Span;
use crate::yaml::Name;

impl Resolver<'_> {
    pub(super) fn routes(&mut self, services: &[ServicePlan]) -> Vec<RoutePlan> {
        let root = self.root;
        let mut routes: Vec<(RoutePlan, Span)> = Vec::new();
        for (name, value) in root.map("routes") {
            let Some(object) = value.as_object() else { continue };
            if let Some(route) = self.route(name, object, services) {
                let span = object.get("match").map_or(name.span, |value| value.span);
                self.refuse_tie(&route, span, &routes);
                routes.push((route, span));
            }
        }
        routes.sort_by_key(|(route, _)| specificity(&route.matcher));
        routes.into_iter().map(|(route, _)| route).collect()
    }

    fn route(&mut self, name: &Name, object: &Object, services: &[ServicePlan]) -> Option<RoutePlan> {
        let section = Section::new(format!("routes.{}", name.text), Some(object));
        let matcher = object.get("match").map(|value| (value, &value.data));
        let matcher = match matcher {
            Some((value, Data::Match(matcher))) => {
                let origin = self.origin(value.span);
                self.setting(section.path_of("match"), matcher.to_string(), origin);
                Some(matcher.clone())
            }
            _ => None,
        };
        let to = object.get("to").and_then(|value| {
            let name = value.as_text()?;
            let origin = self.origin(value.span);
            self.setting(section.path_of("to"), name, origin);
            self.service_named(name, value.span)
        });
        let service = to.and_then(|to| services.get(to));
        let default = ServiceDefaults::of(service);
        let policy = section.under("policy");
        let mut call = self.route_call(&policy, &default.name, &default.call);
        let rungs = Rungs { matcher: matcher.as_ref(), to, total_timeout: call.total_timeout };
        let degrade = self.degrade(&section, &rungs);
        let cache = self.route_cache(&section, matcher.as_ref());
        let entrance = self.route_entrance(&section, call.attempt_timeout);
        let keys = self.route_keys(&section, &policy, matcher.as_ref(), default.keys);
        // Clients wait for an endpoint unless there is something better to answer at once.
        call.park = degrade.is_empty() && default.parks;
        Some(RoutePlan {
            name: name.text.clone(),
            place: self.place(name.span),
            matcher: matcher?,
            to: to?,
            call: call.into(),
            keyed: keys.is_some_and(|keys| keys.are_safe()),
            keys,
            entrance,
            degrade,
            cache,
        })
    }

    fn refuse_tie(&mut self, route: &RoutePlan, span: Span, others: &[(RoutePlan, Span)]) {
        let Some((other, first)) = others.iter().find(|(other, _)| other.matcher == route.matcher) else {
            return;
        };
        let message =
            format!("the routes {} and {} match the same requests", quoted(&other.name), quoted(&route.name));
        self.problems.push(
            Diagnostic::new(Code::RouteTie, span, message)
                .label("the same match again")
                .also(*first, "first here")
                .help("make one of them more specific, or remove one")
                .path(format!("routes.{}.match", route.name)),
        );
    }
}

/// What a route takes over from its service.
struct ServiceDefaults {
    name: String,
    call: CallConfig,
    keys: Option<KeysPlan>,
    parks: bool,
}

impl ServiceDefaults {
    fn of(service: Option<&ServicePlan>) -> Self {
        match service {
            Some(service) => Self {
                name: service.name.clone(),
                call: (*service.call).clone(),
                keys: service.keys,
                parks: service.pool.parking.max_requests > 0,
            },
            None => Self { name: String::new(), call: CallConfig::default(), keys: None, parks: true },
        }
    }
}

/// Sorts the most specific first: longest literal path, exact before prefix, one method before any. What is
/// still equal keeps the order of its text, so that the order never depends on the order in the spec.
fn specificity(matcher: &RouteMatch) -> impl Ord + use<> {
    (
        Reverse(matcher.path.len()),
        matcher.prefix,
        matcher.method.is_none(),
        matcher.path.clone(),
        matcher.method.clone(),
    )
}

/// The text of a value for a setting; empty when it has none.
pub(super) fn text_of(value: Option<&Value>) -> String {
    value.and_then(Value::as_text).unwrap_or_default().to_owned()
}
