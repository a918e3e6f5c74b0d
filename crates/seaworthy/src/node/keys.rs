//! Idempotency keys in the store of this machine, as the gateway sees them.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use seaworthy_observe::{
    EventBus, EventKind, KeyBegin, KeyBegun, KeyKeeper, KeyName, KeyOutcome, KeyToken, KeysError, KeysReply,
};
use seaworthy_spec::plan::{KeysPlan, Plan};
use seaworthy_store::{Begin, Begun, Clock, Embedded, Keys, Options, Outcome, StoreError, Takeover, Token};
use tokio::sync::Notify;

/// The folder of the store in the state folder.
const FOLDER: &str = "store";
/// Room for the fields of an answer, beside its body.
const FIELDS_BYTES_MAX: usize = 1 << 20;

/// What a store that breaks leaves behind.
#[derive(Debug, Default)]
pub(super) struct Broken {
    reason: OnceLock<String>,
    happened: Notify,
}

impl Broken {
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// Resolves when it has happened.
    pub(super) async fn happened(&self) {
        self.happened.notified().await;
    }
}

/// Opens the store, where the plan keeps anything there.
pub(super) fn open(
    plan: &Plan,
    state_dir: &Path,
    bus: &EventBus,
    broken: &Arc<Broken>,
) -> Result<Option<Arc<dyn KeyKeeper>>> {
    let on_routes = plan.routes.iter().filter_map(|route| route.keys.as_ref());
    let reached = plan.services.iter().filter(|service| service.egress.is_some());
    let kept: Vec<&KeysPlan> = on_routes
        .chain(reached.filter_map(|service| service.keys.as_ref()))
        .filter(|keys| keys.keep.is_some())
        .collect();
    let Some(retention) = kept.iter().filter_map(|keys| keys.keep).max() else { return Ok(None) };
    let max_answer = kept.iter().map(|keys| keys.max_answer).max().unwrap_or_default();
    let clock = Clock::system();
    let (bus, broken) = (bus.clone(), Arc::clone(broken));
    let options = Options {
        // One file for all routes: keys are kept for as long as the longest of them asks.
        retention,
        body_max: usize::try_from(max_answer).unwrap_or(usize::MAX).saturating_add(FIELDS_BYTES_MAX),
        clock: clock.clone(),
        on_broken: Some(Arc::new(move |reason: &str| {
            let _ = broken.reason.set(reason.to_owned());
            bus.emit(EventKind::StoreBroken { reason: reason.to_owned() });
            broken.happened.notify_one();
        })),
        ..Options::default()
    };
    let folder = state_dir.join(FOLDER);
    let store = Embedded::open(&folder, &options)
        .with_context(|| format!("opening the store in {}", folder.display()))?;
    Ok(Some(Arc::new(StoredKeys { store, clock })))
}

struct StoredKeys {
    store: Embedded,
    clock: Clock,
}

impl KeyKeeper for StoredKeys {
    fn begin(&self, begin: KeyBegin) -> KeysReply<KeyBegun> {
        let KeyBegin { name: KeyName { scope, key }, fingerprint, lease, resend } = begin;
        let takeover = if resend { Takeover::WhenUnknown } else { Takeover::Never };
        let reply = self.store.begin(Begin { scope, key, fingerprint, lease, takeover });
        let clock = self.clock.clone();
        Box::pin(async move {
            Ok(match reply.await.map_err(error)? {
                Begun::New(Token(token)) => KeyBegun::New(KeyToken(token)),
                Begun::Again(Token(token)) => KeyBegun::Again(KeyToken(token)),
                Begun::InFlight { until } => {
                    let left = Duration::from_millis(until.0.saturating_sub(clock.now().0));
                    KeyBegun::InFlight { left }
                }
                Begun::Done(answer) => KeyBegun::Done(answer),
                Begun::Unknown => KeyBegun::Unknown,
                Begun::Mismatch => KeyBegun::Mismatch,
            })
        })
    }

    fn finish(&self, name: &KeyName, KeyToken(token): KeyToken, outcome: KeyOutcome) -> KeysReply<()> {
        let outcome = match outcome {
            KeyOutcome::Done(answer) => Outcome::Done(answer),
            KeyOutcome::NotExecuted => Outcome::NotExecuted,
            KeyOutcome::Unknown => Outcome::Unknown,
        };
        let reply = self.store.finish(&name.scope, &name.key, Token(token), outcome);
        Box::pin(async move { reply.await.map_err(error) })
    }
}

fn error(error: StoreError) -> KeysError {
    match error {
        StoreError::Full(bound) => KeysError::Full(bound.to_string()),
        StoreError::Stale => KeysError::Overtaken,
        broken => KeysError::Broken(broken.to_string()),
    }
}
