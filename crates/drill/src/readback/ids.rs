//! Taking ids out of a JSON document without building the document.
//!
//! A read-back may hold every write of a long run; what does not lie on the path is skipped as it is parsed.

use std::fmt;

use seaworthy_spec::plan::{IdPath, IdStep};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The document is not what the path says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer does not fit `{path}`: {reason}")]
pub struct PathError {
    /// The path as the spec writes it.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// Calls `found` with each id on the path, in the order of the document. Numbers are taken as their digits.
pub fn extract(document: &[u8], path: &IdPath, mut found: impl FnMut(&str)) -> Result<(), PathError> {
    let failed = |error: serde_json::Error| PathError { path: written(path), reason: error.to_string() };
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    Walk { steps: &path.0, found: &mut found }.deserialize(&mut deserializer).map_err(failed)?;
    deserializer.end().map_err(failed)
}

fn written(path: &IdPath) -> String {
    let step = |step: &IdStep| match step {
        IdStep::Each => "[]".to_owned(),
        IdStep::Member(name) => format!(".{name}"),
    };
    path.0.iter().map(step).collect()
}

struct Walk<'a> {
    steps: &'a [IdStep],
    found: &'a mut dyn FnMut(&str),
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.steps.first() {
            Some(IdStep::Each) => formatter.write_str("an array"),
            Some(IdStep::Member(name)) => write!(formatter, "an object with a member `{name}`"),
            None => formatter.write_str("an id: a string or a whole number"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Some((IdStep::Each, rest)) = self.steps.split_first() else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        };
        while elements.next_element_seed(Walk { steps: rest, found: &mut *self.found })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Some((IdStep::Member(name), rest)) = self.steps.split_first() else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        let mut seen = false;
        while let Some(key) = members.next_key::<String>()? {
            if key == *name && !seen {
                seen = true;
                members.next_value_seed(Walk { steps: rest, found: &mut *self.found })?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        if seen { Ok(()) } else { Err(A::Error::custom(format!("an object has no member `{name}`"))) }
    }

    fn visit_str<E: Error>(self, id: &str) -> Result<(), E> {
        if self.steps.is_empty() {
            (self.found)(id);
            return Ok(());
        }
        Err(E::invalid_type(serde::de::Unexpected::Str(id), &self))
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<(), E> {
        if self.steps.is_empty() {
            (self.found)(&id.to_string());
            return Ok(());
        }
        Err(E::invalid_type(serde::de::Unexpected::Unsigned(id), &self))
    }

    fn visit_i64<E: Error>(self, id: i64) -> Result<(), E> {
        if self.steps.is_empty() {
            (self.found)(&id.to_string());
            return Ok(());
        }
        Err(E::invalid_type(serde::de::Unexpected::Signed(id), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> IdPath {
        let steps = text
            .replace("[]", ".[]")
            .split('.')
            .filter(|step| !step.is_empty())
            .map(|step| match step {
                "[]" => IdStep::Each,
                name => IdStep::Member(name.to_owned()),
            })
            .collect();
        IdPath(steps)
    }

    fn ids(document: &str, at: &str) -> Result<Vec<String>, PathError> {
        let mut found = Vec::new();
        extract(document.as_bytes(), &path(at), |id| found.push(id.to_owned())).map(|()| found)
    }

    #[test]
    fn ids_are_taken_from_the_path() {
        for (document, at, expected) in [
            (r#"[{"buyer":"a","x":{"buyer":"no"}},{"buyer":"b"}]"#, "[].buyer", vec!["a", "b"]),
            ("[]", "[].buyer", vec![]),
            (r#"["a",2,-3]"#, "[]", vec!["a", "2", "-3"]),
            (r#"{"items":[{"k":[["x"],["y","z"]]}],"total":9}"#, ".items[].k[][]", vec!["x", "y", "z"]),
            (r#""only""#, "", vec!["only"]),
        ] {
            assert_eq!(ids(document, at).unwrap(), expected, "{document} {at}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_never_no_ids() {
        for (document, at, words) in [
            (r#"[{"name":"a"}]"#, "[].buyer", "no member `buyer`"),
            (r#"{"error":"down"}"#, "[].buyer", "expected an array"),
            ("[1]", "[].buyer", "expected an object with a member `buyer`"),
            (r#"[{"buyer":null}]"#, "[].buyer", "expected an id"),
            (r#"[{"buyer":["a"]}]"#, "[].buyer", "expected an id"),
            (r#"[{"buyer":"a"}"#, "[].buyer", "EOF"),
            (r#"["a"] x"#, "[]", "trailing"),
            ("", "[]", "EOF"),
        ] {
            let error = ids(document, at).unwrap_err().to_string();
            assert!(error.contains(words), "{document}: {error}");
        }
        assert!(ids("{}", "[].a.b").unwrap_err().to_string().contains("`[].a.b`"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = extract(&bytes, &path("[].buyer"), |_| {});
        }
    }
}
