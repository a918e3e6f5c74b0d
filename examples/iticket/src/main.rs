//! iTicket, the reference backend: one binary, one service per subcommand.
//!
//! ```text
//! iticket api | ledger | payments | cache | chat | analytics | mail
//! ```
//!
//! Everything a process has to know it reads from its environment (see [`config`]); what it has to say it
//! writes to standard output, one JSON object per line.

mod analytics;
mod api;
mod cache;
mod chat;
mod config;
mod http;
mod ledger;
mod log;
mod mail;
mod payments;
mod serve;

use std::process::ExitCode;

use config::{Config, Service};
use serde_json::json;

/// The environment or the command line is wrong, or a file cannot be opened: a restart will not help.
const EXIT_CANNOT_START: u8 = 2;

fn main() -> ExitCode {
    let result = configure().and_then(run);
    if let Err(error) = &result {
        log::error("cannot start", &json!({ "error": error.to_string() }));
    }
    log::flush();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CANNOT_START) }
}

fn configure() -> Result<Config, StartError> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let service = Service::parse(&name)?;
    let config = Config::from_variables(service, std::env::vars())?;
    log::identify(service.name(), &config.zone, &config.replica);
    Ok(config)
}

/// Runs the service on one thread: all of them together share a small machine with what supervises them.
fn run(config: Config) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match config.service {
            Service::Api => api::run(config).await,
            Service::Ledger => ledger::run(config).await,
            Service::Payments => payments::run(config).await,
            Service::Cache => cache::run(config).await,
            Service::Chat => chat::run(config).await,
            Service::Analytics => analytics::run(config).await,
            Service::Mail => mail::run(config).await,
        }
    })
}

/// Why a process could not begin to serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The environment does not say what it has to say.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// A socket, file or runtime could not be opened.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The ledger's database cannot be opened.
    #[error("the ledger's database cannot be opened")]
    Database(#[from] rusqlite::Error),
    /// The journal of charges is damaged before its last line.
    #[error(transparent)]
    Journal(#[from] payments::JournalDamaged),
}
