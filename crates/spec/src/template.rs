//! What `init` writes.

/// A spec to start from: valid as it stands, with the four classic failures as comments.
pub fn template() -> &'static str {
    include_str!("template.yaml")
}
