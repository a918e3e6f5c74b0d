//! Reading back what was acknowledged: directly at the services, past policy and faults.

mod ids;
mod reader;

pub use ids::{PathError, extract};
pub use reader::{READ_BACK_BYTES_MAX, ReadBackError, Reader};
