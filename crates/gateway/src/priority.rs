//! Priorities in the headers of requests: a service that calls another one for a request carries its priority on, and the
//! egress listener believes it. A client's own word is taken away, like its word about deadlines.

use http::{HeaderMap, HeaderName, HeaderValue};
use seaworthy_policy::admission::Priority;

use crate::seen::Seen;

/// How much a request matters, in the words of the spec. Absent means what absent means there.
const PRIORITY: HeaderName = HeaderName::from_static("seaworthy-priority");

/// What a trusted caller says; `None` when it says nothing that can be understood, or two different things.
pub(crate) fn told(headers: &HeaderMap, seen: Seen) -> Option<Priority> {
    if !seen.has(Seen::PRIORITY) {
        return None;
    }
    let mut words = headers.get_all(PRIORITY).iter();
    let priority = words.next().and_then(|word| Priority::of(word.to_str().ok()?.trim()));
    priority.filter(|_| words.next().is_none())
}

/// Takes every word about priorities out of a request, and tells an endpoint that is `ours` what is worth telling.
pub(crate) fn pass_on(headers: &mut HeaderMap, seen: Seen, priority: Priority, ours: bool) {
    if seen.has(Seen::PRIORITY) {
        headers.remove(PRIORITY);
    }
    if ours && priority != Priority::default() {
        headers.insert(PRIORITY, HeaderValue::from_static(priority.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_word_that_exists_counts() {
        for (words, expected) in [
            (&[][..], None),
            (&["sheddable"], Some(Priority::Sheddable)),
            (&[" critical_plus "], Some(Priority::CriticalPlus)),
            (&["Sheddable"], None),
            (&["urgent"], None),
            (&["sheddable", "sheddable"], None),
        ] {
            let mut headers = HeaderMap::new();
            for word in words {
                headers.append(PRIORITY, HeaderValue::from_static(word));
            }
            assert_eq!(told(&headers, Seen::of(&headers)), expected, "{words:?}");
        }
    }
}
