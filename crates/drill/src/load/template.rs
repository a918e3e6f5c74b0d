//! The request of a load with its id still to be filled in.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use seaworthy_spec::plan::LoadPlan;

use super::sender::LoadError;
use crate::id::{PLACEHOLDER, fill};

/// Makes the requests of one load.
#[derive(Debug)]
pub(super) struct Template {
    method: Method,
    path: String,
    host: HeaderValue,
    json: Option<String>,
    headers: Vec<(HeaderName, String)>,
    idempotency_key: Option<String>,
}

impl Template {
    /// Checks once that the load's words make a request, so that sending cannot fail on them later.
    pub(super) fn new(load: &LoadPlan, authority: &str) -> Result<Self, LoadError> {
        let bad = |what: &'static str| LoadError::Request { load: load.name.clone(), what };
        let template = Self {
            method: Method::from_bytes(load.method.as_bytes()).map_err(|_| bad("method"))?,
            path: load.path.clone(),
            host: HeaderValue::from_str(authority).map_err(|_| bad("address"))?,
            json: load.json.clone(),
            headers: headers(load)?,
            idempotency_key: load.idempotency_key.clone(),
        };
        template.try_request("0").map_err(|_| bad("path, header or idempotency key"))?;
        Ok(template)
    }

    /// The request with this id, made of letters, digits and `-`.
    pub(super) fn request(&self, id: &str) -> Request<Full<Bytes>> {
        self.try_request(id).expect("the template was checked with another id of the same letters")
    }

    fn try_request(&self, id: &str) -> Result<Request<Full<Bytes>>, http::Error> {
        let uri = filled(&self.path, id).parse::<Uri>()?;
        let mut request = Request::builder().method(self.method.clone()).uri(uri);
        if let Some(key) = &self.idempotency_key {
            request = request.header("idempotency-key", filled(key, id));
        }
        for (name, value) in &self.headers {
            request = request.header(name, filled(value, id));
        }
        let has = |name: HeaderName| self.headers.iter().any(|(known, _)| *known == name);
        if !has(HOST) {
            request = request.header(HOST, self.host.clone());
        }
        let mut body = Bytes::new();
        if let Some(json) = &self.json {
            if !has(CONTENT_TYPE) {
                request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            body = Bytes::from(filled(json, id));
        }
        request.body(Full::new(body))
    }
}

fn headers(load: &LoadPlan) -> Result<Vec<(HeaderName, String)>, LoadError> {
    let name = |(name, value): &(String, String)| match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Ok((name, value.clone())),
        Err(_) => Err(LoadError::Request { load: load.name.clone(), what: "header" }),
    };
    load.headers.iter().map(name).collect()
}

fn filled(template: &str, id: &str) -> String {
    if template.contains(PLACEHOLDER) { fill(template, id) } else { template.to_owned() }
}
