//! What policies are known to get wrong, tried on each: measured, not read.
pub(crate) fn all() -> Vec<serde_json::Value> {
    Vec::new()
}
