//! What can be measured: a batch of calls of one kind.

/// Who is measured.
pub(crate) const OURS: &str = "seaworthy";
pub(crate) const TOWER: &str = "tower";
pub(crate) const RESILIENCE: &str = "tower-resilience";
pub(crate) const FAILSAFE: &str = "failsafe";
pub(crate) const RECLOSER: &str = "recloser";
/// Behind the name of a breaker that is measured as a layer among breakers that are not.
pub(crate) const AS_A_LAYER: &str = ", as a layer";

/// One row of the results.
pub(crate) struct Case {
    /// Which comparison it belongs to.
    pub(crate) group: &'static str,
    /// What is done, within the group.
    pub(crate) what: String,
    /// Whose code it is.
    pub(crate) who: String,
    pub(crate) threads: usize,
    /// Makes this many calls, over all threads.
    pub(crate) run: Box<dyn FnMut(u64)>,
    /// The most calls of one batch, where calls change what is measured.
    pub(crate) calls_max: u64,
    /// Done before each batch, and not measured.
    pub(crate) before: Box<dyn FnMut()>,
}

impl Case {
    pub(crate) fn new(
        group: &'static str,
        what: impl Into<String>,
        who: impl Into<String>,
        run: impl FnMut(u64) + 'static,
    ) -> Self {
        let (run, before) = (Box::new(run), Box::new(|| {}));
        Case { group, what: what.into(), who: who.into(), threads: 1, run, calls_max: u64::MAX, before }
    }

    pub(crate) fn on(self, threads: usize) -> Self {
        Case { threads, ..self }
    }

    pub(crate) fn in_batches_of(self, calls_max: u64, before: impl FnMut() + 'static) -> Self {
        Case { calls_max, before: Box::new(before), ..self }
    }
}
