//! Fleets under load: who is isolated and how soon, who is wrongly suspected, and what each strategy makes of it.

mod isolation;
mod model;
mod strategies;
