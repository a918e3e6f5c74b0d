//! A stack that is examined before it is used.
//!
//! **Problem.** Each layer alone is right; the order and the numbers make a stack right or wrong, and a wrong one works
//! until the day it is needed. **Model.** The builder writes down what it is told, from the outside in, and
//! [`PolicyBuilder::build`] refuses what cannot work. What is only unwise comes back as [`Policy::findings`].
//!
//! A policy is both: a Tower layer, and something to [`call`](Policy::call) a function through. Its state (circuit,
//! budget, places) belongs to the policy and is shared by everything made from it and from its clones; so make one per
//! backend, once, and keep it.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::fallback::FallbackConfig;
use seaworthy_policy::keyed::KeyedConfig;
use seaworthy_policy::stack::Severity;
use seaworthy_policy::{AdmissionConfig, BreakerConfig, BudgetConfig, ConfigError, ThrottleConfig};
use tower_layer::{Identity, Layer, Stack};
use tower_service::Service;

use crate::admission::{AdmissionHandle, AdmissionLayer, Alike};
use crate::ambient::Attempt;
use crate::breaker::BreakerLayer;
use crate::budget::SharedBudget;
use crate::classify::FailOnError;
use crate::concurrency::{ConcurrencyConfig, ConcurrencyLimitLayer};
use crate::error::Error;
use crate::fallback::FallbackLayer;
use crate::fallback_service::FallbackServiceLayer;
use crate::hedge::{HedgeConfig, HedgeLayer};
use crate::inner::{Inner, InnerLayer};
use crate::keyed::{CircuitKey, KeyedBreakerLayer, KeyedBreakers};
use crate::observe::{Observer, Watch};
use crate::plain::FnService;
use crate::replay::Idempotent;
use crate::retry::{RetryConfig, RetryLayer};
use crate::stack::{Finding, InvalidStack, Part, examine};
use crate::throttle::ThrottleLayer;
use crate::timeout::TimeoutLayer;

/// A finished stack.
#[derive(Clone, Debug)]
pub struct Policy<L> {
    layers: L,
    findings: Vec<Finding>,
    handles: Handles,
}

/// What of a stack can be looked at from outside.
#[derive(Clone, Debug, Default)]
struct Handles {
    budget: Option<SharedBudget>,
    breaker: Option<crate::GateHandle<crate::Breaker>>,
    /// A `GateHandle<KeyedBreakers<K>>`; whoever asks knows the kind of its keys.
    circuits: Option<Arc<dyn Any + Send + Sync>>,
    throttle: Option<crate::GateHandle<crate::machines::Throttle>>,
    limit: Option<ConcurrencyLimitLayer>,
    admission: Option<AdmissionHandle>,
}

impl Policy<Identity> {
    /// Begins a stack for requests that may be executed twice; name it after its backend.
    pub fn builder(name: &str) -> PolicyBuilder<Identity> {
        let mut watch = Watch::default();
        watch.set_name(name);
        let budget = BudgetConfig::default();
        PolicyBuilder {
            layers: Identity::new(),
            parts: Vec::new(),
            wrong: Vec::new(),
            watch,
            classifier: FailOnError,
            replay: Idempotent,
            budget: SharedBudget::new(budget).expect("the default budget is a valid one"),
            handles: Handles::default(),
        }
    }
}

impl<L> Policy<L> {
    /// What is unwise about this stack.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The budget that retries and hedges share; `None` without either.
    pub fn budget(&self) -> Option<&SharedBudget> {
        self.handles.budget.as_ref()
    }

    /// The circuit; `None` without one.
    pub fn breaker(&self) -> Option<&crate::GateHandle<crate::Breaker>> {
        self.handles.breaker.as_ref()
    }

    /// The circuits by key; `None` without any, or when their keys are of another kind.
    pub fn circuits<K: CircuitKey>(&self) -> Option<&crate::GateHandle<KeyedBreakers<K>>> {
        self.handles.circuits.as_deref()?.downcast_ref()
    }

    /// The throttle; `None` without one.
    pub fn throttle(&self) -> Option<&crate::GateHandle<crate::machines::Throttle>> {
        self.handles.throttle.as_ref()
    }

    /// The concurrency limit; `None` without one.
    pub fn concurrency_limit(&self) -> Option<&ConcurrencyLimitLayer> {
        self.handles.limit.as_ref()
    }

    /// The admission queue; `None` without one.
    pub fn admission(&self) -> Option<&AdmissionHandle> {
        self.handles.admission.as_ref()
    }

    /// Calls a function through the policy, once per attempt.
    ///
    /// The function is cloned per attempt and copy; one that borrows what it needs is cheap to clone.
    pub async fn call<F, Answer, Response, E>(&self, function: F) -> Result<Response, Error<E>>
    where
        F: Fn(Attempt) -> Answer,
        Answer: Future<Output = Result<Response, E>>,
        L: Layer<Inner<FnService<F>>>,
        L::Service: Service<(), Response = Response, Error = Error<E>>,
    {
        self.call_about((), function).await
    }

    /// The same where the policy asks what a call is about: its key, its priority, whether it may be sent twice.
    ///
    /// What it is about is cloned per attempt and copy; a reference is cheap.
    pub async fn call_about<About, F, Answer, Response, E>(
        &self,
        about: About,
        function: F,
    ) -> Result<Response, Error<E>>
    where
        F: Fn(Attempt) -> Answer,
        Answer: Future<Output = Result<Response, E>>,
        L: Layer<Inner<FnService<F>>>,
        L::Service: Service<About, Response = Response, Error = Error<E>>,
    {
        let mut service = self.layer(FnService::new(function));
        poll_fn(|context| service.poll_ready(context)).await?;
        service.call(about).await
    }
}

impl<S, L> Layer<S> for Policy<L>
where
    L: Layer<Inner<S>>,
{
    type Service = L::Service;

    fn layer(&self, service: S) -> Self::Service {
        self.layers.layer(InnerLayer.layer(service))
    }
}

/// A stack in the making: what is named first is outermost.
///
/// The usual order: `fallback`, `total_timeout`, `retry`, `hedge`, `circuit_breaker`, `concurrency_limit`,
/// `attempt_timeout`.
#[derive(Clone, Debug)]
pub struct PolicyBuilder<L, C = FailOnError, P = Idempotent> {
    layers: L,
    parts: Vec<Part>,
    wrong: Vec<Finding>,
    watch: Watch,
    classifier: C,
    replay: P,
    budget: SharedBudget,
    handles: Handles,
}

/// One layer more.
type With<M, L, C, P> = PolicyBuilder<Stack<M, L>, C, P>;

impl<L, C: Clone, P: Clone> PolicyBuilder<L, C, P> {
    /// Reads answers with this classifier, in the layers that follow.
    pub fn classify<D>(self, classifier: D) -> PolicyBuilder<L, D, P> {
        let PolicyBuilder { layers, parts, wrong, watch, replay, budget, handles, .. } = self;
        PolicyBuilder { layers, parts, wrong, watch, classifier, replay, budget, handles }
    }

    /// Asks this about each request before it is sent again, in the layers that follow.
    pub fn replay<Q>(self, replay: Q) -> PolicyBuilder<L, C, Q> {
        let PolicyBuilder { layers, parts, wrong, watch, classifier, budget, handles, .. } = self;
        PolicyBuilder { layers, parts, wrong, watch, classifier, replay, budget, handles }
    }

    /// Tells this observer about decisions of the layers that follow.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.watch.set_observer(observer);
        self
    }

    /// Pays for the retries and hedges that follow from a budget like this; without it, from one with the defaults.
    #[must_use]
    pub fn budget(mut self, config: BudgetConfig) -> Self {
        match SharedBudget::new(config) {
            Ok(budget) => self.budget = budget,
            Err(error) => self.wrong.push(Finding::invalid_value("budget", error)),
        }
        self
    }

    /// Answers in place of failures; see [`FallbackLayer`].
    pub fn fallback<F>(self, answer: F) -> PolicyBuilder<Stack<FallbackLayer<F, C>, L>, C, P> {
        let layer = FallbackLayer::new(answer).classify(self.classifier.clone()).watched(self.watch.clone());
        self.push(Part::Fallback, layer)
    }

    /// Asks a second service in place of failures; `mark` turns its answers into ones that say so. What may be sent there is for
    /// the builder's [`replay`](PolicyBuilder::replay) to say; see [`FallbackServiceLayer`].
    pub fn fallback_to<B, M>(
        mut self,
        config: FallbackConfig,
        backup: B,
        mark: M,
    ) -> With<FallbackServiceLayer<B, M, C, P>, L, C, P>
    where
        B: Clone,
        M: Clone,
    {
        let make =
            |config| FallbackServiceLayer::new(config, backup.clone(), mark.clone(), self.replay.clone());
        let (valid, default) = (make(config), make(FallbackConfig::default()));
        let layer = self.or_default(valid, "fallback", || default);
        let layer = layer.classify(self.classifier.clone()).watched(self.watch.clone());
        self.push(Part::Fallback, layer)
    }

    /// Limits the whole call.
    pub fn total_timeout(mut self, after: Duration) -> PolicyBuilder<Stack<TimeoutLayer, L>, C, P> {
        let valid = TimeoutLayer::total(after);
        let layer = self.or_default(valid, "total_timeout", || TimeoutLayer::total(Duration::from_secs(15)));
        let layer = layer.watched(self.watch.clone());
        self.push(Part::TotalTimeout(after), layer)
    }

    /// Limits each attempt.
    pub fn attempt_timeout(mut self, after: Duration) -> PolicyBuilder<Stack<TimeoutLayer, L>, C, P> {
        let valid = TimeoutLayer::attempt(after);
        let layer =
            self.or_default(valid, "attempt_timeout", || TimeoutLayer::attempt(Duration::from_secs(5)));
        let layer = layer.watched(self.watch.clone());
        self.push(Part::AttemptTimeout(after), layer)
    }

    /// Sends requests again; see [`RetryLayer`].
    pub fn retry(mut self, config: RetryConfig) -> PolicyBuilder<Stack<RetryLayer<C, P>, L>, C, P> {
        let valid = RetryLayer::new(config, self.replay.clone());
        let replay = self.replay.clone();
        let layer = self.or_default(valid, "retry", || RetryLayer::new(RetryConfig::default(), replay));
        let layer = layer.classify(self.classifier.clone()).budget(self.budget.clone());
        let layer = layer.watched(self.watch.clone());
        self.handles.budget = Some(self.budget.clone());
        self.push(Part::Retry(config), layer)
    }

    /// Sends second copies of slow requests; see [`HedgeLayer`].
    pub fn hedge(mut self, config: HedgeConfig) -> PolicyBuilder<Stack<HedgeLayer<C, P>, L>, C, P> {
        let valid = HedgeLayer::new(config, self.replay.clone());
        let replay = self.replay.clone();
        let layer = self.or_default(valid, "hedge", || HedgeLayer::new(HedgeConfig::default(), replay));
        let layer = layer.classify(self.classifier.clone()).budget(self.budget.clone());
        let layer = layer.watched(self.watch.clone());
        self.handles.budget = Some(self.budget.clone());
        self.push(Part::Hedge(config), layer)
    }

    /// Stops calling a backend that is down; see [`BreakerLayer`].
    pub fn circuit_breaker(
        mut self,
        config: BreakerConfig,
    ) -> PolicyBuilder<Stack<BreakerLayer<C>, L>, C, P> {
        let valid = BreakerLayer::new(config);
        let layer = self.or_default(valid, "circuit_breaker", || BreakerLayer::new(BreakerConfig::default()));
        let layer = layer.classify(self.classifier.clone()).watched(self.watch.clone());
        self.handles.breaker = Some(layer.handle());
        self.push(Part::CircuitBreaker(config), layer)
    }

    /// The same with a circuit per key; `key` is a function from the request to its key. See [`KeyedBreakerLayer`].
    pub fn circuit_breaker_by<Request, K: CircuitKey, F>(
        mut self,
        config: BreakerConfig,
        keys: KeyedConfig,
        key: F,
    ) -> PolicyBuilder<Stack<KeyedBreakerLayer<K, F, C>, L>, C, P>
    where
        F: Fn(&Request) -> K + Clone,
    {
        let valid = KeyedBreakerLayer::new(config, keys, key.clone());
        let layer = self.or_default(valid, "circuit_breaker", || {
            KeyedBreakerLayer::new(BreakerConfig::default(), KeyedConfig::default(), key)
        });
        let layer = layer.classify(self.classifier.clone()).watched(self.watch.clone());
        self.handles.circuits = Some(Arc::new(layer.handle()));
        self.push(Part::CircuitBreaker(config), layer)
    }

    /// Sends less to a backend that refuses; see [`ThrottleLayer`].
    pub fn throttle(self, config: ThrottleConfig) -> PolicyBuilder<Stack<ThrottleLayer<C>, L>, C, P> {
        self.throttle_by(config, Alike)
    }

    /// The same, where this says how much each request matters: a function from the request to its
    /// [`Priority`](crate::Priority). The least important are held back first.
    pub fn throttle_by<Q>(
        mut self,
        config: ThrottleConfig,
        priorities: Q,
    ) -> PolicyBuilder<Stack<ThrottleLayer<C, Q>, L>, C, P> {
        let valid = ThrottleLayer::new(config);
        let layer = self.or_default(valid, "throttle", || ThrottleLayer::new(ThrottleConfig::default()));
        let layer = layer.classify(self.classifier.clone()).prioritize(priorities);
        let layer = layer.watched(self.watch.clone());
        self.handles.throttle = Some(layer.handle());
        self.push(Part::Throttle, layer)
    }

    /// Limits the calls under way; see [`ConcurrencyLimitLayer`].
    pub fn concurrency_limit(
        mut self,
        config: ConcurrencyConfig,
    ) -> PolicyBuilder<Stack<ConcurrencyLimitLayer, L>, C, P> {
        let valid = ConcurrencyLimitLayer::new(config);
        let layer = self.or_default(valid, "concurrency_limit", || {
            ConcurrencyLimitLayer::new(ConcurrencyConfig::default())
        });
        let layer = layer.watched(self.watch.clone());
        self.handles.limit = Some(layer.clone());
        self.push(Part::ConcurrencyLimit(config), layer)
    }

    /// Limits the calls under way to what the backend bears, and lets the others wait; see [`AdmissionLayer`].
    pub fn admission(self, config: AdmissionConfig) -> PolicyBuilder<Stack<AdmissionLayer<C>, L>, C, P> {
        self.admission_by(config, Alike)
    }

    /// The same, where this says how much each request matters: a function from the request to its
    /// [`Priority`](crate::Priority), or a [`Prioritize`](crate::Prioritize) that knows fairness keys too.
    pub fn admission_by<Q: Clone>(
        mut self,
        config: AdmissionConfig,
        priorities: Q,
    ) -> PolicyBuilder<Stack<AdmissionLayer<C, Q>, L>, C, P> {
        let valid = AdmissionLayer::new(config);
        let layer = self.or_default(valid, "admission", || AdmissionLayer::new(AdmissionConfig::default()));
        let layer = layer.classify(self.classifier.clone()).prioritize(priorities);
        let layer = layer.watched(self.watch.clone());
        self.handles.admission = Some(layer.handle());
        self.push(Part::Admission(config), layer)
    }

    /// Any other layer whose services fail with [`Error`], such as a [`GateLayer`](crate::GateLayer).
    pub fn layer<M>(self, layer: M) -> PolicyBuilder<Stack<M, L>, C, P> {
        self.push(Part::Other, layer)
    }

    /// Examines the stack. What cannot work is an error; what is unwise stays with the policy as a warning.
    pub fn build(self) -> Result<Policy<L>, InvalidStack> {
        let mut findings = self.wrong;
        // Numbers that no layer accepts say nothing about the order.
        if findings.is_empty() {
            findings = examine(&self.parts);
        }
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(InvalidStack { findings });
        }
        Ok(Policy { layers: self.layers, findings, handles: self.handles })
    }

    /// The layer, or a stand-in so that the builder can go on and `build` can report everything at once.
    fn or_default<M>(
        &mut self,
        layer: Result<M, ConfigError>,
        part: &'static str,
        default: impl FnOnce() -> Result<M, ConfigError>,
    ) -> M {
        layer.unwrap_or_else(|error| {
            self.wrong.push(Finding::invalid_value(part, error));
            default().expect("the defaults are valid")
        })
    }

    fn push<M>(mut self, part: Part, layer: M) -> PolicyBuilder<Stack<M, L>, C, P> {
        self.parts.push(part);
        let PolicyBuilder { layers, parts, wrong, watch, classifier, replay, budget, handles } = self;
        let layers = Stack::new(layer, layers);
        PolicyBuilder { layers, parts, wrong, watch, classifier, replay, budget, handles }
    }
}
