//! Where a backend keeps its state, and the small files by which its processes and the command line find each other.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What a running node tells about itself in `node.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeFile {
    /// The node's process id.
    pub(crate) pid: u32,
    /// The admin API.
    pub(crate) admin: SocketAddr,
    /// The gateway's ingress, if the spec has one.
    pub(crate) gateway: Option<SocketAddr>,
    /// Egress listeners by service.
    pub(crate) egress: BTreeMap<String, SocketAddr>,
}

/// The state folder of a spec, unless the user named one.
pub(crate) fn of_spec(spec: &Path, chosen: Option<&Path>) -> PathBuf {
    let beside = || spec.parent().unwrap_or(Path::new("")).join(".seaworthy");
    chosen.map_or_else(beside, Path::to_path_buf)
}

/// Creates the folder, for its owner only.
pub(crate) fn create(folder: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("creating {}", folder.display()))?;
    folder.canonicalize().with_context(|| format!("resolving {}", folder.display()))
}

/// Writes a file so that nobody ever reads half of it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, path)
}

/// The secret that everything which changes something asks for; made on first use.
pub(crate) fn token(folder: &Path) -> Result<String> {
    let path = folder.join("token");
    if let Ok(token) = fs::read_to_string(&path) {
        return Ok(token.trim().to_owned());
    }
    let mut random = [0_u8; 24];
    let mut source = fs::File::open("/dev/urandom").context("opening /dev/urandom")?;
    io::Read::read_exact(&mut source, &mut random).context("reading /dev/urandom")?;
    let token = random.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    write_atomically(&path, token.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    Ok(token)
}

/// What a node that runs in this folder told about itself.
pub(crate) fn read_node(folder: &Path) -> Result<NodeFile> {
    let path = folder.join(seaworthy_keeper::READY_FILE);
    let text = fs::read(&path).with_context(|| {
        format!(
            "no backend is running here: {} cannot be read; start one with `seaworthy run`",
            path.display()
        )
    })?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
}
