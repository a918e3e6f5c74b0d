//! The command line, declared.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use seaworthy_fault::FaultKind;
use seaworthy_policy::breaker::Mode;

/// Keeps a backend afloat through the failures its team has named, and proves it.
#[derive(Debug, Parser)]
#[command(name = "seaworthy", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Start with `seaworthy init`, then `seaworthy check`, then `seaworthy drill`.\n\
Exit codes: 0 good, 1 the verdict is bad, 2 could not judge, 3 clean-up was not clean, 130 interrupted.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write a first spec, with the four classic failures as comments
    Init(InitArgs),
    /// Examine a spec on paper
    Check(CheckArgs),
    /// Print every effective value and who set it
    Plan(PlanArgs),
    /// Run the backend: gateway, supervisor, policies, until SIGTERM or Ctrl-C
    Run(RunArgs),
    /// Break the backend on purpose and judge every promise from the client's side
    Drill(DrillArgs),
    /// Break something in a running backend, and put it back
    #[command(subcommand)]
    Fault(FaultVerb),
    /// Take the place of an edge's circuit breaker in a running backend, and give it back
    #[command(subcommand)]
    Breaker(BreakerVerb),
    /// Show services, replicas, health and why
    Status(StatusArgs),
    /// Check that what must not be lost is whole
    #[command(subcommand)]
    Verify(VerifyVerb),
    /// Explain a diagnostic code
    Explain(ExplainArgs),
    /// Print the JSON Schema of the spec
    Schema,
    /// Print a completion script
    Completions(CompletionsArgs),
    /// (internal) The process that outlives the others
    #[command(hide = true)]
    Keeper(KeeperArgs),
    /// (internal) The process that serves
    #[command(hide = true)]
    Node(NodeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The file to write; an existing one is never overwritten
    #[arg(default_value = "seaworthy.yaml")]
    pub(crate) spec: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[arg(default_value = "seaworthy.yaml")]
    pub(crate) spec: PathBuf,
    /// How to print findings
    #[arg(long, value_enum, default_value_t = CheckFormat::Human)]
    pub(crate) format: CheckFormat,
    /// Treat warnings as errors
    #[arg(long, value_name = "WHAT")]
    pub(crate) deny: Option<Deny>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    Human,
    Json,
    Sarif,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deny {
    Warnings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Human,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DrillFormat {
    Human,
    Json,
    Junit,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[arg(default_value = "seaworthy.yaml")]
    pub(crate) spec: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[arg(default_value = "seaworthy.yaml")]
    pub(crate) spec: PathBuf,
    /// How to print the log on stdout; human on a terminal, json otherwise
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Where state is kept [default: .seaworthy beside the spec]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    #[arg(default_value = "seaworthy.yaml")]
    pub(crate) spec: PathBuf,
    /// Only this failure (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Repeat the choices of an earlier drill: which replica, which requests, which ids
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Exit 2 when any failure was not exercised
    #[arg(long)]
    pub(crate) require_all: bool,
    /// Keep ejections, breakers and budgets from one failure to the next
    #[arg(long)]
    pub(crate) no_reset: bool,
    /// Switch one thing off that the failures rely on; the verdict should then be bad (may be repeated)
    #[arg(long, value_name = "MECHANISM")]
    pub(crate) ablate: Vec<String>,
    /// How to print the verdict
    #[arg(long, value_enum, default_value_t = DrillFormat::Human)]
    pub(crate) format: DrillFormat,
    /// Where state is kept [default: .seaworthy/drill beside the spec]; emptied at the start
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) node: NodeChoice,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// Which running backend is meant.
#[derive(Debug, Args)]
pub(crate) struct NodeChoice {
    /// The spec that it runs
    #[arg(long, default_value = "seaworthy.yaml")]
    pub(crate) spec: PathBuf,
    /// Where it keeps its state [default: .seaworthy beside the spec]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FaultVerb {
    /// Break something; it ends by itself after --for
    Apply(FaultApplyArgs),
    /// What is broken on purpose right now
    List(StatusArgs),
    /// End one fault, or all of them
    Clear(FaultClearArgs),
    /// Put back what a dead backend left broken
    Heal(NodeChoice),
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["replica", "service", "egress", "zone"])))]
pub(crate) struct FaultApplyArgs {
    /// What to do
    #[arg(value_parser = fault_kind())]
    pub(crate) kind: FaultKind,
    /// One replica: a service, or SERVICE/REPLICA
    #[arg(long, value_name = "SERVICE[/ID]")]
    pub(crate) replica: Option<String>,
    /// Every replica of a service
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<String>,
    /// What leaves through the egress listener of a service
    #[arg(long, value_name = "SERVICE")]
    pub(crate) egress: Option<String>,
    /// Every replica in a zone
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// Latency: how much later
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) add: Option<std::time::Duration>,
    /// The share of requests that meet it, such as 30%
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub(crate) share: Option<f64>,
    /// Errors: the status
    #[arg(long, value_name = "CODE")]
    pub(crate) status: Option<u16>,
    /// The longest it may last
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) deadline: std::time::Duration,
    #[command(flatten)]
    pub(crate) node: NodeChoice,
}

/// The words of the fault engine itself, so that each fault it learns can be asked for here.
fn fault_kind() -> impl TypedValueParser<Value = FaultKind> {
    PossibleValuesParser::new(FaultKind::ALL.map(FaultKind::word))
        .try_map(|word| FaultKind::ALL.into_iter().find(|kind| kind.word() == word).ok_or("no such fault"))
}

#[derive(Debug, Args)]
pub(crate) struct FaultClearArgs {
    /// The fault's id, as `fault list` prints it; all faults when left out
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) node: NodeChoice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BreakerVerb {
    /// Decide in its place, until released
    Force(BreakerForceArgs),
    /// Back to what the spec says
    Release(BreakerReleaseArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BreakerForceArgs {
    /// The edge, as `status` names it: `egress:payments`
    pub(crate) edge: String,
    /// What it does from now on
    #[arg(value_parser = PossibleValuesParser::new(Mode::ALL.map(Mode::as_str)))]
    pub(crate) mode: String,
    #[command(flatten)]
    pub(crate) node: NodeChoice,
}

#[derive(Debug, Args)]
pub(crate) struct BreakerReleaseArgs {
    /// The edge, as `status` names it: `egress:payments`
    pub(crate) edge: String,
    #[command(flatten)]
    pub(crate) node: NodeChoice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VerifyVerb {
    /// The store of a backend that is not running: files, tables, and whether they fit together
    Store(StatusArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Such as SW104
    pub(crate) code: String,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct KeeperArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[arg(long)]
    pub(crate) spec: PathBuf,
    #[arg(long)]
    pub(crate) state_dir: PathBuf,
    #[arg(long)]
    pub(crate) only: Vec<String>,
    #[arg(long)]
    pub(crate) ablate: Vec<String>,
    /// Log lines on stdout in this form; otherwise only to the state folder
    #[arg(long, value_enum)]
    pub(crate) log: Option<Format>,
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    seaworthy_spec::duration(text)
}

fn share(text: &str) -> Result<f64, String> {
    seaworthy_spec::share(text)
}
