//! What the decoder made of the text: typed, still with its places, and nothing resolved yet.

use std::net::SocketAddr;
use std::time::Duration;

use crate::keys::{Key, Table};
use crate::plan::{IdPath, RouteMatch};
use crate::source::Span;
use crate::yaml::Name;

/// A typed value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) span: Span,
    pub(crate) data: Data,
}

/// The kinds of values.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    /// Reported already; counts as given, and means nothing.
    Invalid,
    Text(String),
    Word(&'static str),
    True,
    Duration(Duration),
    /// 0 to 1.
    Ratio(f64),
    /// Per second.
    Rate(f64),
    Count(u64),
    /// Above 1.
    Factor(f64),
    Address(SocketAddr),
    Match(RouteMatch),
    Request {
        method: String,
        path: String,
    },
    Delivery {
        method: String,
        service: String,
        path: String,
    },
    Ids(IdPath),
    Json(String),
    Command(Vec<String>),
    Object(Object),
    Map(Vec<(Name, Value)>),
    List(Vec<Value>),
}

/// A mapping with known keys.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) span: Span,
    pub(crate) table: &'static Table,
    /// Known keys in the order of the text.
    pub(crate) entries: Vec<(&'static Key, Name, Value)>,
    /// Keys that the user named.
    pub(crate) rest: Vec<(Name, Value)>,
}

impl Object {
    /// The value of a key, if it was given and could be read.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.given(key).map(|(_, value)| value).filter(|value| !matches!(value.data, Data::Invalid))
    }

    /// A key that was given, whether or not its value could be read.
    pub(crate) fn given(&self, key: &str) -> Option<(&Name, &Value)> {
        debug_assert!(self.table.find(key).is_some(), "{} has no key `{key}`", self.table.what);
        self.entries.iter().find(|(known, ..)| known.name == key).map(|(_, name, value)| (name, value))
    }

    pub(crate) fn object(&self, key: &str) -> Option<&Object> {
        self.get(key).and_then(Value::as_object)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_text)
    }

    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        self.get(key).and_then(Value::as_duration)
    }

    pub(crate) fn ratio(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(Value::as_ratio)
    }

    pub(crate) fn count(&self, key: &str) -> Option<u64> {
        self.get(key).and_then(Value::as_count)
    }

    pub(crate) fn address(&self, key: &str) -> Option<SocketAddr> {
        self.get(key).and_then(Value::as_address)
    }

    /// The entries of a mapping with names of the user's; none when it was not given.
    pub(crate) fn map(&self, key: &str) -> &[(Name, Value)] {
        match self.get(key).map(|value| &value.data) {
            Some(Data::Map(entries)) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none when it was not given.
    pub(crate) fn list(&self, key: &str) -> &[Value] {
        match self.get(key).map(|value| &value.data) {
            Some(Data::List(items)) => items,
            _ => &[],
        }
    }
}

impl Value {
    pub(crate) fn as_object(&self) -> Option<&Object> {
        if let Data::Object(object) = &self.data { Some(object) } else { None }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) | Data::Json(text) => Some(text),
            Data::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(crate) fn as_duration(&self) -> Option<Duration> {
        if let Data::Duration(duration) = self.data { Some(duration) } else { None }
    }

    pub(crate) fn as_ratio(&self) -> Option<f64> {
        if let Data::Ratio(ratio) = self.data { Some(ratio) } else { None }
    }

    pub(crate) fn as_count(&self) -> Option<u64> {
        if let Data::Count(count) = self.data { Some(count) } else { None }
    }

    pub(crate) fn as_factor(&self) -> Option<f64> {
        if let Data::Factor(factor) = self.data { Some(factor) } else { None }
    }

    pub(crate) fn as_address(&self) -> Option<SocketAddr> {
        if let Data::Address(address) = self.data { Some(address) } else { None }
    }
}
