//! The list of codes and the lookup of their explanations.

use std::fmt;

use super::{meaning, paper, shape, stack, syntax};
use crate::diagnostic::Severity;

/// Defines the codes once: the enum and the list of all of them.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal,)+) => {
        /// The kind of a finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name = $number,)+ }

        impl Code {
            /// All codes, by number.
            pub const ALL: &'static [Code] = &[$(Code::$name),+];
        }
    };
}

codes! {
    /// The file cannot be read.
    Unreadable = 1,
    /// Not UTF-8, or control characters.
    NotText = 2,
    /// Nothing in it.
    Empty = 3,
    /// More bytes than are read.
    TooLarge = 4,
    /// Not YAML.
    Syntax = 5,
    /// A tab where spaces belong.
    Tab = 6,
    /// Too many levels.
    TooDeep = 7,
    /// A key given twice.
    DuplicateKey = 8,
    /// An anchor, an alias or a merge key.
    Anchor = 9,
    /// A tag.
    Tag = 10,
    /// `yes`, `no`, `on`, `off` without quotes.
    OldBoolean = 11,
    /// More than one document.
    ManyDocuments = 12,
    /// A key that is not a word.
    KeyNotText = 13,
    /// A key that does not exist there.
    UnknownKey = 101,
    /// A key that must be there.
    MissingKey = 102,
    /// A list where a mapping belongs, and the like.
    WrongType = 103,
    /// A number without its unit, or with a strange one.
    Unit = 104,
    /// A value that cannot be read.
    Malformed = 105,
    /// A value outside its bounds.
    OutOfRange = 106,
    /// A word that is not one of the choices.
    UnknownWord = 107,
    /// A key that will be, and is not yet.
    NotYet = 108,
    /// Keys of which exactly one must be given.
    ExactlyOne = 109,
    /// A name that cannot be one.
    BadName = 110,
    /// Another version of the language.
    Version = 111,
    /// A name that nothing has.
    UnknownName = 201,
    /// Two routes that match the same.
    RouteTie = 202,
    /// A needed service without an egress.
    NeedWithoutEgress = 203,
    /// A guard that does not apply to this service.
    WrongGuard = 204,
    /// A fault that does not fit its target.
    FaultTarget = 205,
    /// Promises or values that contradict each other.
    Contradiction = 206,
    /// A promise that nothing measures.
    Unmeasured = 207,
    /// An idempotency promise that protects nothing.
    Idempotency = 208,
    /// One address for two listeners.
    AddressTaken = 209,
    /// A dataset with one copy.
    SingleCopy = 301,
    /// A required service with one replica.
    SingleReplica = 302,
    /// An inner limit above the outer one.
    TimeoutOrder = 303,
    /// A callee may take longer than its caller waits.
    EgressOutlastsRoute = 304,
    /// Attempts that can never run.
    RetriesNeverRun = 305,
    /// A failure that relies on what nothing provides.
    ReliesOnNothing = 306,
    /// A failure without a promise.
    NoPromise = 307,
    /// A load that no route takes.
    LoadWithoutRoute = 308,
    /// A latency promised above the load's own timeout.
    LatencyAboveTimeout = 309,
    /// A promise that a drill cannot judge.
    CannotBeJudged = 310,
    /// Services that need each other in a circle.
    NeedsCircle = 311,
    /// A service that nothing reaches.
    Unreachable = 312,
    /// A hung attempt outlasts the promised latency.
    AttemptOutlastsPromise = 313,
    /// An attempt may take as long as all of them.
    AttemptNotBelowTotal = 401,
    /// The breaker's window is too short to see two attempts that time out.
    WindowTooShort = 402,
    /// With their waits, some attempts can never run.
    AttemptsDoNotFit = 403,
    /// A timeout around the breaker hides from it what hangs.
    TimeoutOutsideBreaker = 404,
    /// The breaker sees one outcome where there were several attempts.
    BreakerOutsideRetry = 405,
    /// The breaker sees one outcome where there were several attempts at once.
    HedgeInsideBreaker = 406,
    /// Nothing limits extra attempts when everything fails.
    NoBudget = 407,
    /// What must not be executed twice may be.
    NotIdempotent = 408,
    /// Waiting for a place is not limited by the total timeout.
    WaitOutsideDeadline = 409,
    /// Retries multiply.
    NestedRetries = 410,
    /// The total timeout begins anew with every attempt.
    TotalInsideRetry = 411,
}

/// What there is to say about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: Code,
    /// How bad it usually is.
    pub severity: Severity,
    /// The finding in a few words.
    pub title: &'static str,
    /// Why it is one.
    pub cause: &'static str,
    /// A piece of a spec that has it.
    pub example: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl Code {
    /// Its explanation.
    pub fn explanation(self) -> &'static Explanation {
        let tables = [syntax::CODES, shape::CODES, meaning::CODES, paper::CODES, stack::CODES];
        let mut all = tables.into_iter().flatten();
        all.find(|explanation| explanation.code == self)
            .expect("a test sees to it that every code is explained")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (*self as u16).checked_sub(STACK) {
            Some(number) => write!(formatter, "SP{number:02}"),
            None => write!(formatter, "SW{:03}", *self as u16),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, severity, title, cause, example, remedy } = self;
        writeln!(formatter, "{code} ({}): {title}\n\n{cause}\n\nExample:\n", severity.as_str())?;
        for line in example.lines() {
            writeln!(formatter, "    {line}")?;
        }
        write!(formatter, "\nWhat to do: {remedy}")
    }
}

/// Findings about policies that do not fit together are numbered from here on; people read them as `SP01` and on.
const STACK: u16 = 400;

/// The explanation of a code as people write it: `SW104`, `sw104`, `104` or `SP03`.
pub fn explain(code: &str) -> Option<&'static Explanation> {
    let code = code.trim();
    let prefix = code.get(..2).filter(|prefix| prefix.eq_ignore_ascii_case("sw"));
    let of_stack = code.get(..2).filter(|prefix| prefix.eq_ignore_ascii_case("sp"));
    let digits = prefix.or(of_stack).map_or(code, |_| &code[2..]);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u16 = digits.parse().ok()?;
    let number = if of_stack.is_some() { number.checked_add(STACK)? } else { number };
    // A finding about a stack has one name.
    if of_stack.is_none() && number > STACK {
        return None;
    }
    Code::ALL.iter().find(|code| **code as u16 == number).map(|code| code.explanation())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_once_and_in_full() {
        let count: usize = [syntax::CODES, shape::CODES, meaning::CODES, paper::CODES, stack::CODES]
            .iter()
            .map(|codes| codes.len())
            .sum();
        assert_eq!(count, Code::ALL.len(), "one entry per code");
        for code in Code::ALL {
            let Explanation { title, cause, example, remedy, .. } = code.explanation();
            assert!(!title.is_empty() && !title.ends_with('.'), "{code} title");
            assert!(cause.ends_with('.') && remedy.ends_with('.'), "{code}: whole sentences");
            assert!(!example.trim().is_empty(), "{code} has an example");
        }
    }

    #[test]
    fn codes_are_found_as_people_write_them() {
        for (text, found) in [
            ("SW104", Some(Code::Unit)),
            ("sw104", Some(Code::Unit)),
            (" 104 ", Some(Code::Unit)),
            ("SW001", Some(Code::Unreadable)),
            ("SP03", Some(Code::AttemptsDoNotFit)),
            ("sp11", Some(Code::TotalInsideRetry)),
            ("SP12", None),
            ("SW403", None),
            ("SW999", None),
            ("", None),
            ("SW", None),
            ("+104", None),
            ("ünö", None),
        ] {
            assert_eq!(explain(text).map(|explanation| explanation.code), found, "{text:?}");
        }
    }
}
