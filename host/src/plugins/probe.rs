//! The probe: a throwaway process maps a build before the host does, so that a build that ends or hangs its process is
//! refused, and never was in this one.
//!
//! The host starts its own binary again (`framex-host probe`), hands it a request on the standard input, and reads what
//! it saw from the standard output. The process ends with the host, as its standard input closes then.

mod child;
mod process;
mod report;

pub(super) use child::run;
pub(super) use process::probe;
